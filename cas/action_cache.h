#ifndef FARM_CAS_ACTION_CACHE_H_
#define FARM_CAS_ACTION_CACHE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace farm::v1 {
class ActionRecord;
}  // namespace farm::v1

namespace farm {

// Results of steps that succeeded, by trust domain and StepKey. Safe for concurrent calls.
class ActionCache {
 public:
  virtual ~ActionCache() = default;

  // A record whose blobs can all be had now. NOT_FOUND otherwise.
  virtual absl::StatusOr<v1::ActionRecord> Get(absl::string_view domain, const Digest& key) = 0;

  // Replaces what was there. The caller has made the record's blobs durable before (blob before
  // index: an entry without its blobs would be served as a hit after a power cut).
  virtual absl::Status Put(absl::string_view domain, const Digest& key,
                           const v1::ActionRecord& record) = 0;
};

}  // namespace farm

#endif  // FARM_CAS_ACTION_CACHE_H_
