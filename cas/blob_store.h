#ifndef FARM_CAS_BLOB_STORE_H_
#define FARM_CAS_BLOB_STORE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "base/unique_fd.h"

namespace farm {

// Stores bytes under the SHA-256 of their content. Safe for concurrent calls. The blob of no bytes
// (EmptyBlobDigest()) is always there, without being stored.
//
// Every implementation passes tests/contract/blob_store_contract.h.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Stores the `digest.size_bytes()` bytes of `source`. A blob that is there already is a no-op
  // (`source` may then be left unread). A reader never sees a part of a blob.
  //   INVALID_ARGUMENT    the bytes do not hash to `digest`, or are more or fewer; nothing is kept
  //   RESOURCE_EXHAUSTED  over the store's blob_bytes_max, or the disk is full
  //   UNAVAILABLE         the store can't be reached
  virtual absl::Status Put(const Digest& digest, ByteSource& source) = 0;

  // The same for a file that the caller gives away: on success it has been moved or removed, on an
  // error it stays. `digest` is believed only if the store says so (DiskBlobStore on its own host).
  virtual absl::Status PutFile(const Digest& digest, const std::string& path) = 0;

  // Writes the blob's bytes from `offset` on into `sink`.
  //   NOT_FOUND     no such blob
  //   OUT_OF_RANGE  `offset` lies behind its end
  //   DATA_LOSS     what is stored does not hash to `digest` (found when read from offset 0 to the
  //                 end); the store has put it aside, and the blob counts as missing from now on
  // Bytes may have reached the sink before an error: a caller uses them only after OK.
  virtual absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) = 0;

  // A descriptor to read the blob from, at offset 0, where the store has it as a file on this host.
  // The bytes are not verified. NOT_FOUND if it is missing or not a file: use Get() then.
  virtual absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) = 0;

  // Those of `digests` that are not stored, in the order given, each once.
  virtual absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) = 0;

  // Returns when the blobs, stored before, survive a power cut. NOT_FOUND if one is missing.
  virtual absl::Status Sync(absl::Span<const Digest> digests) = 0;

  // Removes a blob; OK if there is none.
  virtual absl::Status Delete(const Digest& digest) = 0;
};

// A store that says what it holds and since when it is idle, for the garbage collector.
//
// The last use of a blob is the last Put, Get, OpenFile or FindMissing that met it, kept to
// kLastUseResolution: most uses write nothing.
class CollectableBlobStore : public BlobStore {
 public:
  struct BlobInfo {
    Digest digest;
    absl::Time last_use;
  };

  // Calls `visit` for each blob, in no particular order, until it returns false. Blobs stored or
  // removed meanwhile, by `visit` too, may or may not be seen. Memory does not grow with the number
  // of blobs.
  virtual absl::Status ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) = 0;

  // Deletes the blob if its last use was before `time`; says if it did. A use that comes at the
  // same moment either finds the blob missing or keeps it.
  virtual absl::StatusOr<bool> DeleteIfUnusedSince(const Digest& digest, absl::Time time) = 0;

  // From now on a use is also written down if the last one known was before `time`, however young
  // it is: for who wants to delete what is not used from then on.
  virtual void NoteUsesSince(absl::Time time) = 0;
};

// A use is written down only if the last one known is older than this.
inline constexpr absl::Duration kLastUseResolution = absl::Hours(1);

// For those who write a CollectableBlobStore: which uses to write down. Safe for concurrent calls.
class UseNotes {
 public:
  explicit UseNotes(absl::Duration resolution) : resolution_(resolution) {}

  void NoteSince(absl::Time time) { since_ns_ = absl::ToUnixNanos(time); }
  bool IsWanted(absl::Time now, absl::Time last_use) const {
    return now - last_use >= resolution_ || absl::ToUnixNanos(last_use) < since_ns_;
  }

 private:
  const absl::Duration resolution_;
  std::atomic<int64_t> since_ns_ = std::numeric_limits<int64_t>::min();
};

// SHA-256 and size of no bytes.
const Digest& EmptyBlobDigest();

// The whole of a small blob. RESOURCE_EXHAUSTED if it is longer than `bytes_max`.
absl::StatusOr<std::string> GetBytes(BlobStore& store, const Digest& digest,
                                     int64_t bytes_max = 256 << 20);

// Stores `bytes` and returns their digest.
absl::StatusOr<Digest> PutBytes(BlobStore& store, absl::string_view bytes);

// For those who write a BlobStore: the errors of its contract, in one wording.
//
// All of `source`, checked against `digest`: INVALID_ARGUMENT as Put() has it. Holds the bytes in
// memory, so the caller bounds digest.size_bytes() first.
absl::StatusOr<std::string> ReadBlob(const Digest& digest, ByteSource& source);
absl::Status CheckBlobDigest(const Digest& expected, const Digest& actual);  // INVALID_ARGUMENT
absl::Status CheckBlobOffset(const Digest& digest, int64_t offset);          // OUT_OF_RANGE
absl::Status CheckBlobSize(const Digest& digest, int64_t blob_bytes_max);    // RESOURCE_EXHAUSTED
absl::Status BlobNotFound(const Digest& digest);                             // NOT_FOUND

}  // namespace farm

#endif  // FARM_CAS_BLOB_STORE_H_
