#include "worker/compress_step.h"

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/compression.h"
#include "oci/descriptor.h"
#include "worker/layer_output.h"
#include "worker/spool.h"

namespace farm {
namespace {

class HashingSink final : public ByteSink {
 public:
  explicit HashingSink(ByteSink& sink) : sink_(sink) {}
  absl::Status Write(absl::string_view bytes) override {
    hash_.Update(bytes);
    return sink_.Write(bytes);
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  ByteSink& sink_;
  Sha256 hash_;
};

// Reads until the step is cancelled, and hashes on the way.
class HashingSource final : public ByteSource {
 public:
  HashingSource(ByteSource& source, CancelToken& cancel) : source_(source), cancel_(cancel) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (cancel_.cancelled()) return absl::CancelledError("while a layer was compressed");
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

absl::StatusOr<absl::string_view> MediaType(absl::string_view compression_id) {
  if (compression_id == CompressionName(Compression::kNone)) return kOciLayerType;
  if (absl::StartsWith(compression_id, "gzip")) return kOciLayerGzipType;
  if (absl::StartsWith(compression_id, "zstd")) return kOciLayerZstdType;
  return absl::InvalidArgumentError(absl::StrCat("unknown compression \"", compression_id, "\""));
}

// Compresses the tar that is in `form` into `out`; the digest of what was written.
absl::StatusOr<Digest> Recompress(const StepTools& tools, const StepRun& run, const Digest& form,
                                  const Digest& diff_id, InputFetcher::Errand& errand,
                                  ByteSink& out) {
  const std::string& id = run.spec.identity().compress().compression();
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> blob,
                   tools.inputs.OpenBlob(form, /*trust_file=*/true, errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> decompressor, NewDecompressor(*blob, {}));
  HashingSource tar(*decompressor, run.cancel);
  HashingSink written(out);
  if (id == CompressionName(Compression::kNone)) {
    RETURN_IF_ERROR(CopyBytes(tar, written).status());
  } else {
    ASSIGN_OR_RETURN(const std::unique_ptr<Compressor> compressor, NewCompressor(id, written));
    RETURN_IF_ERROR(CopyBytes(tar, *compressor).status());
    RETURN_IF_ERROR(compressor->Finish());
  }
  if (const Digest got = tar.Finish(); got.hash() != diff_id.hash()) {
    return absl::DataLossError(absl::StrCat("layer ", diff_id.oci(), ": the tar in blob ",
                                            form.oci(), " hashes to ", got.oci()));
  }
  return written.Finish();
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteCompress(const StepTools& tools, const StepRun& run) {
  const v1::CompressOperation& operation = run.spec.identity().compress();
  ASSIGN_OR_RETURN(const absl::string_view media_type, MediaType(operation.compression()));
  ASSIGN_OR_RETURN(const Digest diff_id, Digest::FromOci(operation.diff_id(), 0), _ << "diff id");
  if (run.spec.inputs().root_size() != 1) {
    return absl::InvalidArgumentError("one layer is compressed at a time");
  }
  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  InputFetcher::Errand errand(run.spec, run.cancel);
  absl::Status problem =
      absl::FailedPreconditionError(absl::StrCat("no form of layer ", diff_id.oci(), " is known"));
  for (const v1::Descriptor& form : run.spec.inputs().root(0).forms()) {
    ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(form.digest()), _ << "form of a layer");
    Spool spool(tools.tmp_dir);
    const absl::StatusOr<Digest> blob = Recompress(tools, run, digest, diff_id, errand, spool);
    problem = blob.status();
    // Another form may do better where this one is missing or damaged.
    if (absl::IsFailedPrecondition(problem) || absl::IsDataLoss(problem)) continue;
    RETURN_IF_ERROR(problem);
    run.enter_phase(StepPhase::kStoring);
    RETURN_IF_ERROR(spool.Store(*blob, tools.blobs));
    times.finished = tools.clock.Now();
    v1::StepResult result;
    result.mutable_blob()->set_media_type(std::string(media_type));
    *result.mutable_blob()->mutable_digest() = DigestToProto(*blob);
    result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
    result.mutable_usage()->set_stored_bytes(blob->size_bytes());
    SetTimes(times, result);
    return result;
  }
  return problem;
}

}  // namespace farm
