#ifndef FARM_CAS_RECORD_SWEEPER_H_
#define FARM_CAS_RECORD_SWEEPER_H_

#include <cstdint>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/digest.h"
#include "cas/blob_store.h"
#include "cas/index.h"

namespace farm {

// Keeps the index from growing for ever: removes records that are of no use any more. Each is
// removed only if it is still what was read, so that nothing written meanwhile is lost. Calls block
// on the disk. Safe for concurrent calls.
class RecordSweeper {
 public:
  struct Options {
    int64_t reapi_bytes_max = int64_t{1} << 30;  // of the results of REAPI clients, with their keys
  };
  RecordSweeper(Index& index, BlobStore& blobs) : RecordSweeper(index, blobs, Options()) {}
  RecordSweeper(Index& index, BlobStore& blobs, Options options)
      : index_(index), blobs_(blobs), options_(options) {}

  // Removes the records that are worth nothing without the blobs of `removed`, which were just
  // removed: action and adoption entries that name one of them, and records of layers of which no
  // form is left.
  absl::Status Sweep(const absl::flat_hash_set<Digest>& removed);

  // Brings the results of REAPI clients down to their limit, if they are over it. Whichever: they
  // have no time, and what is missing is a miss.
  absl::Status BoundReapi();

 private:
  Index& index_;
  BlobStore& blobs_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_CAS_RECORD_SWEEPER_H_
