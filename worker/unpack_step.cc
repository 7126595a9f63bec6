#include "worker/unpack_step.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "layer/compression.h"
#include "oci/descriptor.h"
#include "worker/layer_output.h"
#include "worker/spool.h"

namespace farm {
namespace {

// Passes on what it reads, and keeps a copy.
class KeepingSource final : public ByteSource {
 public:
  KeepingSource(ByteSource& source, ByteSink& copy) : source_(source), copy_(copy) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t got, source_.Read(buffer, size));
    RETURN_IF_ERROR(copy_.Write(absl::string_view(buffer, got)));
    return got;
  }

 private:
  ByteSource& source_;
  ByteSink& copy_;
};

// True if every entry's parents are entries. Else overlayfs would need their metadata from the
// layers below, which are not known here.
bool HasAllParents(const Table& table) {
  for (const TableEntry& entry : table.entries()) {
    const size_t slash = entry.path.rfind('/');
    if (slash != std::string::npos && table.Find(entry.path.substr(0, slash)) == nullptr) {
      return false;
    }
  }
  return true;
}

// How images name a layer so compressed; "" if they can't.
absl::string_view LayerType(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return kOciLayerType;
    case Compression::kGzip:
      return kOciLayerGzipType;
    case Compression::kZstd:
      return kOciLayerZstdType;
    case Compression::kBzip2:
    case Compression::kXz:
      return "";
  }
  return "";
}

struct Unpacked {
  AppliedLayer layer;
  v1::Descriptor form;
};

absl::StatusOr<Unpacked> UnpackBlob(const StepTools& tools, const StepRun& run,
                                    const std::string& path, InputFetcher::Errand& errand) {
  const v1::UnpackOperation& operation = run.spec.identity().unpack();
  ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(operation.blob().digest()), _ << "blob");
  ApplyOptions options;
  options.cancel = &run.cancel;
  options.tar_bytes_max = tools.unpack.bytes_max;
  std::optional<Digest> expected;
  if (!operation.diff_id().empty()) {
    ASSIGN_OR_RETURN(expected, Digest::FromOci(operation.diff_id(), 0), _ << "diff id");
    options.expected_diff_id = &*expected;
  }
  // With an expected diffID the tar is verified: no need to hash the blob, too.
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> blob,
                   tools.inputs.OpenBlob(digest, /*trust_file=*/expected.has_value(), errand));
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, path);
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> tar, NewDecompressor(*blob, tools.unpack));

  const absl::string_view type = LayerType(tar->compression());
  if (!type.empty()) {
    ASSIGN_OR_RETURN(AppliedLayer layer, ApplyLayer(*tar, directory.get(), options));
    RETURN_IF_ERROR(ReadToEnd(*blob));
    v1::Descriptor form = operation.blob();
    if (form.media_type().empty()) form.set_media_type(std::string(type));
    return Unpacked{.layer = std::move(layer), .form = std::move(form)};
  }
  // No image can refer to such a blob: its tar becomes the layer's form.
  Spool spool(tools.tmp_dir);
  KeepingSource kept(*tar, spool);
  ASSIGN_OR_RETURN(AppliedLayer layer, ApplyLayer(kept, directory.get(), options));
  RETURN_IF_ERROR(ReadToEnd(*blob));
  RETURN_IF_ERROR(spool.Store(layer.diff_id, tools.blobs)) << "layer";
  v1::Descriptor form;
  form.set_media_type(kOciLayerType);
  *form.mutable_digest() = DigestToProto(layer.diff_id);
  return Unpacked{.layer = std::move(layer), .form = std::move(form)};
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteUnpack(const StepTools& tools, const StepRun& run) {
  run.enter_phase(StepPhase::kFetching);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  InputFetcher::Errand errand(run.spec, run.cancel, &run.log);
  const std::string path = tools.StepDir(run.id);
  const absl::Cleanup drop = [&] { tools.trash.Throw(path).IgnoreError(); };  // It logs.
  absl::StatusOr<Unpacked> made = UnpackBlob(tools, run, path, errand);
  if (absl::IsResourceExhausted(made.status()) && tools.layers.MakeRoom(path)) {
    made = UnpackBlob(tools, run, path, errand);
  }
  ASSIGN_OR_RETURN(const Unpacked unpacked, std::move(made));
  times.finished = tools.clock.Now();

  run.enter_phase(StepPhase::kStoring);
  v1::StepResult result;
  result.mutable_usage()->set_fetched_bytes(errand.fetched_bytes);
  const AppliedLayer& layer = unpacked.layer;
  RETURN_IF_ERROR(StoreTable(tools, layer.diff_id, layer.table, unpacked.form, times, result));
  if (!HasAllParents(layer.table)) return result;  // It is unpacked again where it is needed.
  RETURN_IF_ERROR(tools.layers
                      .Acquire({.diff_id = layer.diff_id, .below = {}}, run.cancel,
                               [&](const std::string& to) -> absl::StatusOr<LayerCache::Made> {
                                 if (rename(path.c_str(), to.c_str()) != 0)
                                   return ErrnoStatus(errno, to);
                                 return LayerCache::Made{
                                     .size_bytes = UnpackedBytes(layer.table.entries()),
                                     .bound = false};
                               })
                      .status());
  return result;
}

}  // namespace farm
