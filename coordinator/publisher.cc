#include "coordinator/publisher.h"

#include <algorithm>
#include <vector>

#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cas/small_blob_store.h"

namespace farm {
namespace {

constexpr int kConflictsMax = 16;

template <typename Record>
absl::StatusOr<Record> GetRecord(Index& index, IndexTable table, const std::string& key) {
  ASSIGN_OR_RETURN(const std::string bytes, index.Get(table, key));
  Record record;
  if (!record.ParseFromString(bytes)) {
    return absl::DataLossError("a record of the index does not parse");
  }
  return record;
}

// By its hash: an alias has the text of an instruction in it, which may be a script of any length.
std::string AliasKey(absl::string_view domain, absl::string_view alias) {
  return IndexKey({domain, DigestOf(alias).raw()});
}

std::vector<Digest> BlobsOf(const v1::StepResult& result) {
  std::vector<Digest> blobs;
  const auto add = [&blobs](const v1::Digest& digest) {
    if (absl::StatusOr<Digest> value = DigestFromProto(digest); value.ok()) blobs.push_back(*value);
  };
  if (result.has_layer()) {
    add(result.layer().table());
    add(result.layer().form().digest());
  }
  if (result.has_blob()) add(result.blob().digest());
  return blobs;
}

void PutLastRun(const Publisher::Entry& entry, IndexBatch& batch) {
  v1::ActionRecord last = entry.record;
  const int exit_code = last.result().exit_code();
  last.clear_result();
  if (exit_code != 0) last.mutable_result()->set_exit_code(exit_code);
  for (const std::string& alias : entry.aliases) {
    batch.Put(IndexTable::kDuration, AliasKey(entry.domain, alias), last.SerializeAsString());
  }
}

}  // namespace

absl::StatusOr<v1::StepResult> Publisher::FindEqualLayer(absl::string_view domain,
                                                         const Digest& parent_chain_id,
                                                         const Digest& canonical) {
  ASSIGN_OR_RETURN(
      v1::StepResult known,
      GetRecord<v1::StepResult>(index_, IndexTable::kAdoption,
                                IndexKey({domain, parent_chain_id.raw(), canonical.raw()})));
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing(BlobsOf(known)));
  if (!missing.empty()) return absl::NotFoundError("the equal layer's blobs are gone");
  return known;
}

absl::Status Publisher::Publish(const Entry& entry) {
  const v1::StepResult& result = entry.record.result();
  std::vector<Digest> to_sync = BlobsOf(result);
  // Small blobs are in the index itself, whose log keeps the order of what is written.
  std::erase_if(to_sync, [](const Digest& d) { return d.size_bytes() <= kSmallBlobBytesMax; });
  if (!to_sync.empty()) {
    RETURN_IF_ERROR(blobs_.Sync(to_sync)) << "syncing the step's layer";
  }
  if (result.has_layer()) {
    v1::LayerRecord layer;
    *layer.mutable_diff_id() = result.layer().diff_id();
    *layer.mutable_table() = result.layer().table();
    *layer.mutable_canonical() = result.layer().canonical();
    *layer.add_forms() = result.layer().form();
    RETURN_IF_ERROR(AddLayer(entry.domain, layer));
  }
  IndexBatch batch;
  if (entry.parent_chain_id.has_value() && result.has_layer()) {
    ASSIGN_OR_RETURN(const Digest canonical, DigestFromProto(result.layer().canonical()));
    batch.Put(IndexTable::kAdoption,
              IndexKey({entry.domain, entry.parent_chain_id->raw(), canonical.raw()}),
              result.SerializeAsString());
  }
  PutLastRun(entry, batch);
  if (!batch.writes().empty()) {
    RETURN_IF_ERROR(index_.Apply(batch, Index::Durability::kOrdered));
  }
  return actions_.Put(entry.domain, entry.key, entry.record);
}

absl::Status Publisher::PublishFailure(const Entry& entry) {
  IndexBatch batch;
  PutLastRun(entry, batch);
  if (batch.writes().empty()) return absl::OkStatus();
  return index_.Apply(batch, Index::Durability::kOrdered);
}

absl::StatusOr<v1::LayerRecord> Publisher::FindLayer(absl::string_view domain,
                                                     const Digest& diff_id) {
  return GetRecord<v1::LayerRecord>(index_, IndexTable::kLayer, IndexKey({domain, diff_id.raw()}));
}

absl::Status Publisher::AddLayer(absl::string_view domain, const v1::LayerRecord& layer) {
  ASSIGN_OR_RETURN(const Digest diff_id, DigestFromProto(layer.diff_id()));
  const std::string key = IndexKey({domain, diff_id.raw()});
  for (int i = 0; i < kConflictsMax; ++i) {
    std::optional<std::string> before;
    absl::StatusOr<std::string> bytes = index_.Get(IndexTable::kLayer, key);
    if (bytes.ok()) {
      before = *std::move(bytes);
    } else if (!absl::IsNotFound(bytes.status())) {
      return bytes.status();
    }
    v1::LayerRecord record;
    if (before.has_value() && !record.ParseFromString(*before)) record.Clear();
    *record.mutable_diff_id() = layer.diff_id();
    if (layer.has_table()) *record.mutable_table() = layer.table();
    if (layer.has_canonical()) *record.mutable_canonical() = layer.canonical();
    for (const v1::Descriptor& form : layer.forms()) {
      const bool known = std::any_of(
          record.forms().begin(), record.forms().end(),
          [&](const v1::Descriptor& f) { return f.digest().hash() == form.digest().hash(); });
      if (!known) *record.add_forms() = form;
    }
    const std::string after = record.SerializeAsString();
    if (before == after) return absl::OkStatus();
    IndexBatch batch;
    batch.Expect(IndexTable::kLayer, key, before).Put(IndexTable::kLayer, key, after);
    const absl::Status status = index_.Apply(batch, Index::Durability::kOrdered);
    if (!absl::IsAborted(status)) return status;
  }
  return absl::AbortedError("the layer's record is changed too often at once");
}

absl::StatusOr<v1::ActionRecord> Publisher::FindLastRun(absl::string_view domain,
                                                        absl::string_view alias) {
  return GetRecord<v1::ActionRecord>(index_, IndexTable::kDuration, AliasKey(domain, alias));
}

}  // namespace farm
