#ifndef FARM_CAS_MEMORY_BLOB_STORE_H_
#define FARM_CAS_MEMORY_BLOB_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "cas/blob_store.h"

namespace farm {

// Blobs that are gone with the process: for tests, and for programs that keep nothing. PutFile()
// reads and verifies the file. It has no files to open.
class MemoryBlobStore final : public CollectableBlobStore {
 public:
  struct Options {
    int64_t blob_bytes_max = 1 << 30;
  };

  explicit MemoryBlobStore(Clock& clock) : MemoryBlobStore(clock, Options()) {}
  MemoryBlobStore(Clock& clock, Options options) : clock_(clock), options_(options) {}

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;
  absl::Status ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) override;
  absl::StatusOr<bool> DeleteIfUnusedSince(const Digest& digest, absl::Time time) override;
  void NoteUsesSince(absl::Time time) override { notes_.NoteSince(time); }

  // For tests: flips a bit of the stored bytes, which must not be empty.
  void Damage(const Digest& digest);

 private:
  struct Blob {
    std::shared_ptr<const std::string> bytes;  // Shared with readers, who hold no lock.
    absl::Time last_use;
  };

  // The blob's bytes, used now; null if there are none.
  std::shared_ptr<const std::string> Use(const Digest& digest);

  Clock& clock_;
  const Options options_;
  UseNotes notes_{kLastUseResolution};
  Mutex mu_;
  std::map<Digest, Blob> blobs_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_CAS_MEMORY_BLOB_STORE_H_
