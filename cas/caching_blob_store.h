#ifndef FARM_CAS_CACHING_BLOB_STORE_H_
#define FARM_CAS_CACHING_BLOB_STORE_H_

#include <string>
#include <vector>

#include "cas/blob_store.h"

namespace farm {

// Reads from `local`, or else from `remote` and keeps a copy. `remote` has the truth: FindMissing()
// and Sync() ask it, and Put() stores there. Two readers who miss at once may both fetch.
class CachingBlobStore final : public BlobStore {
 public:
  struct Options {
    std::string temporary_dir;  // for blobs on their way to `local`; best on its file system
  };
  CachingBlobStore(BlobStore& local, BlobStore& remote, Options options)
      : local_(local), remote_(remote), options_(std::move(options)) {}

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  // A blob that is damaged in `local` is fetched again, unless bytes of it have reached the sink.
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;

 private:
  absl::Status Fetch(const Digest& digest);

  BlobStore& local_;
  BlobStore& remote_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_CAS_CACHING_BLOB_STORE_H_
