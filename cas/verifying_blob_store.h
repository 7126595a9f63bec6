#ifndef FARM_CAS_VERIFYING_BLOB_STORE_H_
#define FARM_CAS_VERIFYING_BLOB_STORE_H_

#include <string>
#include <vector>

#include "cas/blob_store.h"

namespace farm {

// Hashes what `inner` gives, so that a store that does not verify itself (one behind a network)
// keeps the promise of Get(): DATA_LOSS where bytes read from offset 0 to the end are others than
// the digest says. It can't put the blob aside; a store that can should have done so itself.
class VerifyingBlobStore final : public BlobStore {
 public:
  explicit VerifyingBlobStore(BlobStore& inner) : inner_(inner) {}

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;

 private:
  BlobStore& inner_;
};

}  // namespace farm

#endif  // FARM_CAS_VERIFYING_BLOB_STORE_H_
