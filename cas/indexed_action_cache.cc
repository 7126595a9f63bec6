#include "cas/indexed_action_cache.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "proto/farm/v1/record.pb.h"

namespace farm {

absl::StatusOr<v1::ActionRecord> IndexedActionCache::Get(absl::string_view domain,
                                                         const Digest& key) {
  absl::StatusOr<std::string> bytes =
      index_.Get(IndexTable::kAction, IndexKey({domain, key.raw()}));
  v1::ActionRecord record;
  if (bytes.ok() && !record.ParseFromString(*bytes)) {
    bytes = absl::DataLossError("not an ActionRecord");
  }
  if (absl::IsDataLoss(bytes.status())) {
    LogWarning("action record is damaged", {{"domain", std::string(domain)},
                                            {"step", key.hex()},
                                            {"reason", LogText(bytes.status())}});
    return absl::NotFoundError(absl::StrCat("the record of step ", key.hex(), " is damaged"));
  }
  RETURN_IF_ERROR(bytes.status()) << "step " << key.hex();
  return record;
}

absl::Status IndexedActionCache::Put(absl::string_view domain, const Digest& key,
                                     const v1::ActionRecord& record) {
  IndexBatch batch;
  batch.Put(IndexTable::kAction, IndexKey({domain, key.raw()}), record.SerializeAsString());
  RETURN_IF_ERROR(index_.Apply(batch, Index::Durability::kSynced)) << "step " << key.hex();
  return absl::OkStatus();
}

}  // namespace farm
