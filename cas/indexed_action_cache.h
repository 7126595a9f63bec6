#ifndef FARM_CAS_INDEXED_ACTION_CACHE_H_
#define FARM_CAS_INDEXED_ACTION_CACHE_H_

#include "cas/action_cache.h"
#include "cas/index.h"

namespace farm {

// Action records in table kAction of an index. Put() is synced. A record that can't be read is as
// good as none, and logged. Does not look whether a record's blobs are there: wrap it in a
// CompletenessCheckingActionCache.
class IndexedActionCache final : public ActionCache {
 public:
  explicit IndexedActionCache(Index& index) : index_(index) {}

  absl::StatusOr<v1::ActionRecord> Get(absl::string_view domain, const Digest& key) override;
  absl::Status Put(absl::string_view domain, const Digest& key,
                   const v1::ActionRecord& record) override;

 private:
  Index& index_;
};

}  // namespace farm

#endif  // FARM_CAS_INDEXED_ACTION_CACHE_H_
