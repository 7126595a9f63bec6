#ifndef FARM_WORKER_BLOB_FEED_H_
#define FARM_WORKER_BLOB_FEED_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cas/blob_store.h"

namespace farm {

// Reads many small blobs at once, in any order, and calls `receive` for each with its bytes or what
// went wrong with it. The bytes need not be verified.
using GetBlobs = std::function<absl::Status(
    absl::Span<const Digest> digests,
    const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive)>;

// One by one, for stores that have no better way.
GetBlobs GetBlobsOneByOne(BlobStore& blobs);

// The blobs of many files, in the order in which they are asked for. Small ones are fetched ahead
// in batches, up to 32 MiB; larger ones stream from the store to where they go. WriteNext() is for
// one thread.
class BlobFeed {
 public:
  // Borrows all. With `verify` no bytes come from files of the store, which does not look at them.
  BlobFeed(BlobStore& blobs, const GetBlobs& get_blobs, std::vector<Digest> in_order,
           CancelToken& cancel, bool verify = false);
  ~BlobFeed();

  struct Written {
    // False if the bytes come from a file of the store, which does not look at them.
    bool verified = true;
  };
  // Writes the next blob into a file that was just made.
  //   FAILED_PRECONDITION  the store lacks it
  //   DATA_LOSS            what it has are other bytes
  absl::StatusOr<Written> WriteNext(int fd);

 private:
  struct Item {
    bool ready = false;
    absl::Status status;
    std::string bytes;
    UniqueFd file;
  };
  // Of items that are fetched together: first and one behind the last.
  struct Batch {
    size_t begin;
    size_t end;
  };

  void Fetch();
  std::optional<Batch> TakeBatch();
  void FetchBatch(const Batch& batch);
  bool IsSmall(size_t index) const;

  BlobStore& blobs_;
  const GetBlobs& get_blobs_;
  CancelToken& cancel_;
  const std::vector<Digest> digests_;
  const bool verify_;

  Mutex mu_;
  std::condition_variable changed_;
  std::vector<Item> items_;  // an item belongs to who fetches it until it is ready
  size_t next_fetched_ FARM_GUARDED_BY(mu_) = 0;  // first that is in no batch yet
  size_t next_written_ FARM_GUARDED_BY(mu_) = 0;
  int64_t ahead_bytes_ FARM_GUARDED_BY(mu_) = 0;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace farm

#endif  // FARM_WORKER_BLOB_FEED_H_
