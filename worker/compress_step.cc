#include "worker/compress_step.h"

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/compression.h"
#include "oci/descriptor.h"
#include "worker/layer_output.h"
#include "worker/layer_tar.h"
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

absl::StatusOr<absl::string_view> MediaType(absl::string_view compression_id) {
  if (compression_id == CompressionName(Compression::kNone)) return kOciLayerType;
  if (absl::StartsWith(compression_id, "gzip")) return kOciLayerGzipType;
  if (absl::StartsWith(compression_id, "zstd")) return kOciLayerZstdType;
  return absl::InvalidArgumentError(absl::StrCat("unknown compression \"", compression_id, "\""));
}

// Compresses `tar` into `out`; the digest of what was written.
absl::StatusOr<Digest> CompressTar(const std::string& compression_id, ByteSource& tar,
                                   ByteSink& out) {
  HashingSink written(out);
  if (compression_id == CompressionName(Compression::kNone)) {
    RETURN_IF_ERROR(CopyBytes(tar, written).status());
  } else {
    ASSIGN_OR_RETURN(const std::unique_ptr<Compressor> compressor,
                     NewCompressor(compression_id, written));
    RETURN_IF_ERROR(CopyBytes(tar, *compressor).status());
    RETURN_IF_ERROR(compressor->Finish());
  }
  return written.Finish();
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteCompress(const StepTools& tools, const StepRun& run) {
  const v1::CompressOperation& operation = run.spec.identity().compress();
  ASSIGN_OR_RETURN(const absl::string_view media_type, MediaType(operation.compression()));
  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  InputFetcher::Errand errand(run.spec, run.cancel);
  std::optional<Spool> spool;
  Digest blob;
  RETURN_IF_ERROR(
      ReadLayerTar(tools, run, operation.diff_id(), errand, [&](ByteSource& tar) -> absl::Status {
        spool.emplace(tools.tmp_dir);
        ASSIGN_OR_RETURN(blob, CompressTar(operation.compression(), tar, *spool));
        return absl::OkStatus();
      }));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  RETURN_IF_ERROR(spool->Store(blob, tools.blobs));
  v1::StepResult result;
  result.mutable_blob()->set_media_type(std::string(media_type));
  *result.mutable_blob()->mutable_digest() = DigestToProto(blob);
  result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
  result.mutable_usage()->set_stored_bytes(blob.size_bytes());
  SetTimes(times, result);
  return result;
}

}  // namespace farm
