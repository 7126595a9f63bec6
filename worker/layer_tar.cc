#include "worker/layer_tar.h"

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/compression.h"

namespace farm {
namespace {

// Reads until the step is cancelled, and hashes on the way.
class HashingSource final : public ByteSource {
 public:
  HashingSource(ByteSource& source, CancelToken& cancel) : source_(source), cancel_(cancel) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (cancel_.cancelled()) return absl::CancelledError("while a layer was read");
    ASSIGN_OR_RETURN(const size_t got, source_.Read(buffer, size));
    hash_.Update(absl::string_view(buffer, got));
    return got;
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  ByteSource& source_;
  CancelToken& cancel_;
  Sha256 hash_;
};

absl::Status ReadForm(const StepTools& tools, const StepRun& run, const Digest& form,
                      const Digest& diff_id, InputFetcher::Errand& errand,
                      const std::function<absl::Status(ByteSource& tar)>& read) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> blob,
                   tools.inputs.OpenBlob(form, /*trust_file=*/true, errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> decompressor, NewDecompressor(*blob, {}));
  HashingSource tar(*decompressor, run.cancel);
  RETURN_IF_ERROR(read(tar));
  if (const Digest got = tar.Finish(); got.hash() != diff_id.hash()) {
    return absl::DataLossError(absl::StrCat("layer ", diff_id.oci(), ": the tar in blob ",
                                            form.oci(), " hashes to ", got.oci()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadLayerTar(const StepTools& tools, const StepRun& run, const std::string& diff_id,
                          InputFetcher::Errand& errand,
                          const std::function<absl::Status(ByteSource& tar)>& read) {
  ASSIGN_OR_RETURN(const Digest expected, Digest::FromOci(diff_id, 0), _ << "diff id");
  if (run.spec.inputs().root_size() != 1) {
    return absl::InvalidArgumentError("one layer is read at a time");
  }
  absl::Status problem =
      absl::FailedPreconditionError(absl::StrCat("no form of layer ", diff_id, " is known"));
  for (const v1::Descriptor& form : run.spec.inputs().root(0).forms()) {
    ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(form.digest()), _ << "form of a layer");
    problem = ReadForm(tools, run, digest, expected, errand, read);
    // Another form may do better where this one is missing or damaged.
    if (!absl::IsFailedPrecondition(problem) && !absl::IsDataLoss(problem)) break;
  }
  return problem;
}

}  // namespace farm
