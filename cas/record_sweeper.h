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
    // Of the records with their keys.
    int64_t reapi_bytes_max = int64_t{1} << 30;       // results of REAPI clients
    int64_t last_runs_bytes_max = int64_t{64} << 20;  // what steps' keys were made of
  };
  RecordSweeper(Index& index, BlobStore& blobs) : RecordSweeper(index, blobs, Options()) {}
  RecordSweeper(Index& index, BlobStore& blobs, Options options)
      : index_(index), blobs_(blobs), options_(options) {}

  // Removes the records that are worth nothing without the blobs of `removed`, which were just
  // removed: action and adoption entries that name one of them, and records of layers of which no
  // form is left.
  absl::Status Sweep(const absl::flat_hash_set<Digest>& removed);

  // Brings the records that name no blob of ours down to their limits, if they are over them.
  // Whichever: they have no time, and what is missing is a miss, or a step that --explain calls
  // new.
  absl::Status Bound();

 private:
  absl::Status BoundTable(IndexTable table, int64_t bytes_max);

  Index& index_;
  BlobStore& blobs_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_CAS_RECORD_SWEEPER_H_
