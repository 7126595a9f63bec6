#ifndef FARM_CAS_SMALL_BLOB_STORE_H_
#define FARM_CAS_SMALL_BLOB_STORE_H_

#include <string>
#include <vector>

#include "base/clock.h"
#include "cas/blob_store.h"
#include "cas/index.h"

namespace farm {

// Up to this size a blob lives in the index: most files of a context do, and a record costs some
// microseconds where a file costs an inode, a rename and a directory entry.
inline constexpr int64_t kSmallBlobBytesMax = 64 * 1024;

// Keeps small blobs in the index (table kBlob) and hands larger ones to `large`. All blobs of one
// size must always have gone the same way: `small_bytes_max` is not to be changed for a given
// index.
class SmallBlobStore final : public CollectableBlobStore {
 public:
  struct Options {
    int64_t small_bytes_max = kSmallBlobBytesMax;
    absl::Duration last_use_resolution = kLastUseResolution;  // see LastUseResolutionFor()
  };

  SmallBlobStore(Clock& clock, Index& index, CollectableBlobStore& large)
      : SmallBlobStore(clock, index, large, Options()) {}
  SmallBlobStore(Clock& clock, Index& index, CollectableBlobStore& large, Options options)
      : clock_(clock), index_(index), large_(large), options_(options) {}

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  // Small blobs are synced with the whole index, in one go.
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;
  absl::Status ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) override;
  absl::StatusOr<bool> DeleteIfUnusedSince(const Digest& digest, absl::Time time) override;
  void NoteUsesSince(absl::Time time) override {
    notes_.NoteSince(time);
    large_.NoteUsesSince(time);
  }

 private:
  bool IsSmall(const Digest& digest) const {
    return digest.size_bytes() <= options_.small_bytes_max;
  }
  // Whether the small blob is there; its use is noted.
  absl::StatusOr<bool> Use(const Digest& digest);

  Clock& clock_;
  Index& index_;
  CollectableBlobStore& large_;
  const Options options_;
  UseNotes notes_{options_.last_use_resolution};
};

}  // namespace farm

#endif  // FARM_CAS_SMALL_BLOB_STORE_H_
