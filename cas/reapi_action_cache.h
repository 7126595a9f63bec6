#ifndef FARM_CAS_REAPI_ACTION_CACHE_H_
#define FARM_CAS_REAPI_ACTION_CACHE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "cas/blob_store.h"
#include "cas/index.h"

namespace build::bazel::remote::execution::v2 {
class ActionResult;
}  // namespace build::bazel::remote::execution::v2

namespace farm {

// Results that REAPI clients uploaded, in table kReapi: by trust domain and Action digest. Nothing
// but the ActionCache service reads it. Safe for concurrent calls.
class ReapiActionCache {
 public:
  using ActionResult = build::bazel::remote::execution::v2::ActionResult;

  // A result is at most this large.
  static constexpr int64_t kResultBytesMax = 4 << 20;

  ReapiActionCache(Index& index, BlobStore& blobs) : index_(index), blobs_(blobs) {}

  // NOT_FOUND if there is none, or a blob that it names is gone: output files, trees of output
  // directories with all their files, stdout and stderr.
  absl::StatusOr<ActionResult> Get(absl::string_view domain, const Digest& action);
  // RESOURCE_EXHAUSTED over kResultBytesMax.
  absl::Status Put(absl::string_view domain, const Digest& action, const ActionResult& result);

 private:
  Index& index_;
  BlobStore& blobs_;
};

}  // namespace farm

#endif  // FARM_CAS_REAPI_ACTION_CACHE_H_
