#include "worker/flatten_step.h"

#include <fcntl.h>

#include <memory>

#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/differ.h"
#include "oci/descriptor.h"
#include "worker/layer_output.h"
#include "worker/root_path.h"
#include "worker/spool.h"

namespace farm {

absl::StatusOr<v1::StepResult> ExecuteFlatten(const StepTools& tools, const StepRun& run) {
  run.enter_phase(StepPhase::kFetching);
  InputFetcher::Errand errand(run.spec, run.cancel);
  ASSIGN_OR_RETURN(const LayerStack root,
                   tools.inputs.FetchLayers(run.spec.inputs().root(), errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot,
                   tools.snapshotter.Prepare(root.directories(), tools.StepDir(run.id)));

  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  PackOptions options;
  options.cancel = &run.cancel;
  Spool spool(tools.tmp_dir);
  ASSIGN_OR_RETURN(const UniqueFd directory,
                   OpenInRoot(snapshot->root_fd(), "/", O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(const PackedLayer packed, PackTree(directory.get(), options, spool));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  RETURN_IF_ERROR(spool.Store(packed.diff_id, tools.blobs));
  v1::StepResult result;
  result.mutable_blob()->set_media_type(kOciLayerType);
  *result.mutable_blob()->mutable_digest() = DigestToProto(packed.diff_id);
  result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
  result.mutable_usage()->set_stored_bytes(packed.diff_id.size_bytes());
  SetTimes(times, result);
  return result;
}

}  // namespace farm
