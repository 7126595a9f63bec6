#ifndef FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_
#define FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_

#include "cas/action_cache.h"
#include "cas/blob_store.h"
#include "cas/index.h"

namespace farm {

// Gives a record only while everything that it names can be had; else NOT_FOUND. The record stays:
// its blobs may come back.
//
//   a blob (compress, flatten)  is in the CAS
//   a layer's table             is in the CAS
//   a layer's bytes             are in the CAS in the record's form, or in another one that the
//                               layer's LayerRecord names, or a registry has them according to it
//
// The look counts as a use of the blobs, so the collector leaves them alone for a while.
class CompletenessCheckingActionCache final : public ActionCache {
 public:
  CompletenessCheckingActionCache(ActionCache& inner, BlobStore& blobs, Index& index)
      : inner_(inner), blobs_(blobs), index_(index) {}

  absl::StatusOr<v1::ActionRecord> Get(absl::string_view domain, const Digest& key) override;
  absl::Status Put(absl::string_view domain, const Digest& key,
                   const v1::ActionRecord& record) override;

 private:
  absl::Status CheckBlob(const Digest& digest);
  absl::Status CheckLayerBytes(absl::string_view domain, const Digest& diff_id, const Digest& form);

  ActionCache& inner_;
  BlobStore& blobs_;
  Index& index_;
};

}  // namespace farm

#endif  // FARM_CAS_COMPLETENESS_CHECKING_ACTION_CACHE_H_
