#include "worker/push_step.h"

#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "oci/descriptor.h"
#include "oci/reference.h"
#include "worker/blob_reader.h"
#include "worker/layer_output.h"
#include "worker/owned_file_source.h"

namespace farm {
namespace {

// Opens a blob of the CAS at any offset: uploads are resumed.
BlobOpener OpenerFor(BlobStore& blobs) {
  return [&blobs](const Descriptor& blob,
                  int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
    if (absl::StatusOr<UniqueFd> file = blobs.OpenFile(blob.digest); file.ok()) {
      if (lseek(file->get(), offset, SEEK_SET) < 0) return ErrnoStatus(errno, blob.digest.oci());
      return std::make_unique<OwnedFileSource>(*std::move(file));
    }
    return ReadWhileProduced([&blobs, digest = blob.digest, offset](ByteSink& sink) {
      return blobs.Get(digest, offset, sink);
    });
  };
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecutePush(const StepTools& tools, const StepRun& run) {
  const v1::PushOperation& operation = run.spec.identity().push();
  Descriptor blob;
  blob.media_type = operation.blob().media_type();
  ASSIGN_OR_RETURN(blob.digest, DigestFromProto(operation.blob().digest()), _ << "blob");
  ASSIGN_OR_RETURN(const Reference repository, Reference::Parse(operation.repository()));

  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  InputFetcher::Errand errand(run.spec, run.cancel, &run.log);
  const RegistryCall call = errand.registry_call();
  bool mounted = false;
  if (!operation.mount_from().empty()) {
    ASSIGN_OR_RETURN(const Reference from, Reference::Parse(operation.mount_from()));
    ASSIGN_OR_RETURN(mounted, tools.registry.MountBlob(repository, blob, from, call));
  }
  if (!mounted) {
    ASSIGN_OR_RETURN(const bool there, tools.registry.HasBlob(repository, blob, call));
    mounted = there;
  }
  if (!mounted) {
    RETURN_IF_ERROR(tools.inputs.EnsureInCas(blob.digest, errand));
    RETURN_IF_ERROR(tools.registry.PushBlob(repository, blob, OpenerFor(tools.blobs), call));
  }
  times.finished = tools.clock.Now();
  v1::StepResult result;
  SetTimes(times, result);
  return result;
}

}  // namespace farm
