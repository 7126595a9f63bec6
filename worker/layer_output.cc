#include "worker/layer_output.h"

#include <fcntl.h>
#include <stdio.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "base/unique_fd.h"
#include "layer/differ.h"
#include "oci/descriptor.h"
#include "worker/spool.h"

namespace farm {
namespace {

absl::Status CheckUnverified(const KnownFiles& known, const Table& table) {
  for (const auto& [path, digest] : known.unverified) {
    const TableEntry* entry = table.Find(path);
    // Absent if a later item of the same COPY replaced it by something else.
    if (entry != nullptr && entry->type == EntryType::kFile && entry->content != digest) {
      return absl::DataLossError(absl::StrCat("blob ", digest.oci(), " of /", path,
                                              " is damaged: its bytes hash to ",
                                              entry->content.oci()));
    }
  }
  return absl::OkStatus();
}

// The tar and table of a layer.
absl::Status StorePacked(const StepTools& tools, const PackedLayer& packed, Spool& spool,
                         const StepTimes& times, v1::StepResult& result) {
  RETURN_IF_ERROR(spool.Store(packed.diff_id, tools.blobs)) << "layer";
  v1::Descriptor form;
  form.set_media_type(kOciLayerType);
  *form.mutable_digest() = DigestToProto(packed.diff_id);
  RETURN_IF_ERROR(StoreTable(tools, packed.diff_id, packed.table, form, times, result));
  v1::ResourceUsage& usage = *result.mutable_usage();
  usage.set_stored_bytes(usage.stored_bytes() + packed.diff_id.size_bytes());
  return absl::OkStatus();
}

}  // namespace

void SetTimes(const StepTimes& times, v1::StepResult& result) {
  *result.mutable_started() = TimeToProto(times.started);
  *result.mutable_finished() = TimeToProto(times.finished);
}

absl::Status StoreTable(const StepTools& tools, const Digest& diff_id, const Table& table,
                        const v1::Descriptor& form, const StepTimes& times,
                        v1::StepResult& result) {
  const std::string encoded = table.Encode();
  // Else nobody could read it, the next worker above all.
  if (static_cast<int64_t>(encoded.size()) > TableLimits().table_bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat("a layer whose table has ", encoded.size(),
                                                     " bytes, over table_bytes_max ",
                                                     TableLimits().table_bytes_max));
  }
  ASSIGN_OR_RETURN(const Digest table_digest, PutBytes(tools.blobs, encoded), _ << "table");
  v1::LayerResult& layer = *result.mutable_layer();
  *layer.mutable_diff_id() = DigestToProto(diff_id);
  *layer.mutable_table() = DigestToProto(table_digest);
  *layer.mutable_canonical() = DigestToProto(table.CanonicalDigest(times.started, times.finished));
  *layer.mutable_form() = form;
  v1::ResourceUsage& usage = *result.mutable_usage();
  usage.set_stored_bytes(usage.stored_bytes() + static_cast<int64_t>(encoded.size()));
  SetTimes(times, result);
  return absl::OkStatus();
}

absl::Status StoreLayer(const StepTools& tools, const StepRun& run, Snapshot& snapshot,
                        const LayerStack& below, const KnownFiles& known, const StepTimes& times,
                        v1::StepResult& result) {
  PackOptions options;
  options.known_files = &known.verified;
  options.cancel = &run.cancel;
  Spool spool(tools.tmp_dir);
  ASSIGN_OR_RETURN(const PackedLayer packed,
                   PackLayer(snapshot.upper_fd(), below.view(), options, spool));
  RETURN_IF_ERROR(CheckUnverified(known, packed.table));
  RETURN_IF_ERROR(StorePacked(tools, packed, spool, times, result));

  // Bound to what is below: overlayfs has copied up directories that are not in the layer. If the
  // same layer is here already, the snapshot is simply dropped.
  return tools.layers
      .Acquire({.diff_id = packed.diff_id, .below = below.chain_id()}, run.cancel,
               [&](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
                 RETURN_IF_ERROR(snapshot.Commit(path));
                 return LayerCache::Made{.size_bytes = UnpackedBytes(packed.table.entries()),
                                         .bound = true};
               })
      .status();
}

absl::Status StoreTree(const StepTools& tools, const StepRun& run, const std::string& path,
                       const KnownFiles& known, const StepTimes& times, v1::StepResult& result) {
  PackOptions options;
  options.known_files = &known.verified;
  options.cancel = &run.cancel;
  Spool spool(tools.tmp_dir);
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const PackedLayer packed, PackTree(directory.get(), options, spool));
  RETURN_IF_ERROR(StorePacked(tools, packed, spool, times, result));
  return tools.layers
      .Acquire({.diff_id = packed.diff_id, .below = {}}, run.cancel,
               [&](const std::string& to) -> absl::StatusOr<LayerCache::Made> {
                 if (rename(path.c_str(), to.c_str()) != 0) return ErrnoStatus(errno, to);
                 return LayerCache::Made{.size_bytes = UnpackedBytes(packed.table.entries()),
                                         .bound = false};
               })
      .status();
}

}  // namespace farm
