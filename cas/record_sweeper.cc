#include "cas/record_sweeper.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "proto/farm/v1/record.pb.h"

namespace farm {
namespace {

struct Entry {
  std::string key;
  std::string value;
  std::vector<Digest> blobs;  // that it needs: all, or of a layer one
};

void Add(const v1::Digest& proto, std::vector<Digest>& blobs) {
  if (absl::StatusOr<Digest> digest = DigestFromProto(proto); digest.ok()) blobs.push_back(*digest);
}

void AddResult(const v1::StepResult& result, std::vector<Digest>& blobs) {
  if (result.has_layer()) {
    Add(result.layer().table(), blobs);
    Add(result.layer().form().digest(), blobs);
  }
  if (result.has_blob()) Add(result.blob().digest(), blobs);
}

// Empty for what does not parse, too: who reads it takes it for absent.
std::vector<Digest> BlobsOf(IndexTable table, const std::string& value) {
  std::vector<Digest> blobs;
  if (table == IndexTable::kAction) {
    v1::ActionRecord record;
    if (record.ParseFromString(value)) AddResult(record.result(), blobs);
  } else if (table == IndexTable::kAdoption) {
    v1::StepResult result;
    if (result.ParseFromString(value)) AddResult(result, blobs);
  } else {
    v1::LayerRecord record;
    if (!record.ParseFromString(value)) return blobs;
    for (const v1::Descriptor& form : record.forms()) Add(form.digest(), blobs);
  }
  return blobs;
}

absl::Status Remove(Index& index, IndexTable table, const std::string& key,
                    const std::string& value) {
  IndexBatch batch;
  batch.Expect(table, key, value).Delete(table, key);
  const absl::Status status = index.Apply(batch, Index::Durability::kOrdered);
  return absl::IsAborted(status) ? absl::OkStatus() : status;
}

}  // namespace

absl::Status RecordSweeper::Sweep(const absl::flat_hash_set<Digest>& removed) {
  if (removed.empty()) return absl::OkStatus();
  for (const IndexTable table : {IndexTable::kAction, IndexTable::kAdoption, IndexTable::kLayer}) {
    std::vector<Entry> entries;
    RETURN_IF_ERROR(index_.Scan(table, "", "", [&](absl::string_view key, absl::string_view value) {
      Entry entry{.key = std::string(key), .value = std::string(value), .blobs = {}};
      entry.blobs = BlobsOf(table, entry.value);
      const bool is_hit =
          std::any_of(entry.blobs.begin(), entry.blobs.end(),
                      [&removed](const Digest& blob) { return removed.contains(blob); });
      if (is_hit) entries.push_back(std::move(entry));
      return true;
    }));
    for (const Entry& entry : entries) {
      // It may have come back. Only these are asked for, since asking is a use.
      ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing(entry.blobs));
      const bool is_useless = table == IndexTable::kLayer
                                  ? std::all_of(entry.blobs.begin(), entry.blobs.end(),
                                                [&missing](const Digest& blob) {
                                                  return std::find(missing.begin(), missing.end(),
                                                                   blob) != missing.end();
                                                })
                                  : !missing.empty();
      if (!is_useless) continue;
      RETURN_IF_ERROR(Remove(index_, table, entry.key, entry.value));
    }
  }
  return absl::OkStatus();
}

absl::Status RecordSweeper::Bound() {
  RETURN_IF_ERROR(BoundTable(IndexTable::kReapi, options_.reapi_bytes_max));
  return BoundTable(IndexTable::kDuration, options_.last_runs_bytes_max);
}

absl::Status RecordSweeper::BoundTable(IndexTable table, int64_t bytes_max) {
  const auto bytes_of = [](absl::string_view key, absl::string_view value) {
    return static_cast<int64_t>(key.size() + value.size());
  };
  int64_t bytes = 0;
  RETURN_IF_ERROR(index_.Scan(table, "", "", [&](absl::string_view key, absl::string_view value) {
    bytes += bytes_of(key, value);
    return true;
  }));
  if (bytes <= bytes_max) return absl::OkStatus();
  // Evenly over all of them.
  const double share = 1 - static_cast<double>(bytes_max) / static_cast<double>(bytes);
  int64_t seen_bytes = 0, removed_bytes = 0;
  absl::Status status;
  RETURN_IF_ERROR(index_.Scan(table, "", "", [&](absl::string_view key, absl::string_view value) {
    seen_bytes += bytes_of(key, value);
    if (static_cast<double>(removed_bytes) >= share * static_cast<double>(seen_bytes)) {
      return true;
    }
    removed_bytes += bytes_of(key, value);
    status = Remove(index_, table, std::string(key), std::string(value));
    return status.ok();
  }));
  return status;
}

}  // namespace farm
