#include "worker/make_directory_step.h"

#include <memory>

#include "base/status_macros.h"
#include "worker/copy_target.h"
#include "worker/layer_output.h"
#include "worker/user_database.h"

namespace farm {

absl::StatusOr<v1::StepResult> ExecuteMakeDirectory(const StepTools& tools, const StepRun& run) {
  const v1::MakeDirectoryOperation& operation = run.spec.identity().make_directory();
  run.enter_phase(StepPhase::kFetching);
  InputFetcher::Errand errand(run.spec, run.cancel);
  ASSIGN_OR_RETURN(const LayerStack root,
                   tools.inputs.FetchLayers(run.spec.inputs().root(), errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot,
                   tools.snapshotter.Prepare(root.directories(), tools.StepDir(run.id)));

  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  ASSIGN_OR_RETURN(const ResolvedUser user, ResolveOwner(snapshot->root_fd(), operation.user()));
  CopyTarget target(snapshot->root_fd(), {.owner = Owner{user.uid, user.gid}, .mode = {}});
  RETURN_IF_ERROR(target.MakeDirectories(operation.path()).status());
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  v1::StepResult result;
  result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
  RETURN_IF_ERROR(StoreLayer(tools, run, *snapshot, root, {}, times, result));
  return result;
}

}  // namespace farm
