#ifndef FARM_CAS_HOST_BLOB_STORE_H_
#define FARM_CAS_HOST_BLOB_STORE_H_

#include <string>
#include <vector>

#include "cas/blob_store.h"
#include "cas/small_blob_store.h"

namespace farm {

// The coordinator's blobs for a program on its own host: large ones by the directory that both have
// open, so that they move by rename and open() and no byte is copied; small ones, which live in the
// coordinator's index, by asking it.
class HostBlobStore final : public BlobStore {
 public:
  struct Options {
    int64_t small_bytes_max = kSmallBlobBytesMax;  // as in the coordinator's SmallBlobStore
  };

  // `remote` asks the coordinator; `shared` is its blob directory.
  HostBlobStore(BlobStore& remote, BlobStore& shared) : HostBlobStore(remote, shared, Options()) {}
  HostBlobStore(BlobStore& remote, BlobStore& shared, Options options)
      : remote_(remote), shared_(shared), options_(options) {}

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;

 private:
  BlobStore& HomeOf(const Digest& digest) {
    return digest.size_bytes() <= options_.small_bytes_max ? remote_ : shared_;
  }

  BlobStore& remote_;
  BlobStore& shared_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_CAS_HOST_BLOB_STORE_H_
