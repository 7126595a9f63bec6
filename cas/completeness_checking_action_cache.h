#ifndef FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_
#define FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_

#include "cas/action_cache.h"
#include "cas/blob_store.h"

namespace farm {

// Gives a record only while everything that it names can be had; else NOT_FOUND. The record stays:
// its blobs may come back.
//
//   a blob (compress, flatten)  is in the CAS
//   a layer's table             is in the CAS
//   a layer's bytes             are in the CAS in the form that the record names: who reads the
//                               result learns of no other
//
// The look counts as a use of the blobs, so the collector leaves them alone for a while.
class CompletenessCheckingActionCache final : public ActionCache {
 public:
  CompletenessCheckingActionCache(ActionCache& inner, BlobStore& blobs)
      : inner_(inner), blobs_(blobs) {}

  absl::StatusOr<v1::ActionRecord> Get(absl::string_view domain, const Digest& key) override;
  absl::Status Put(absl::string_view domain, const Digest& key,
                   const v1::ActionRecord& record) override;

 private:
  absl::Status CheckBlob(const Digest& digest);

  ActionCache& inner_;
  BlobStore& blobs_;
};

}  // namespace farm

#endif  // FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_
