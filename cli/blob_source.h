#ifndef FARM_CLI_BLOB_SOURCE_H_
#define FARM_CLI_BLOB_SOURCE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "cas/blob_store.h"

namespace farm {

// A blob of `store`, which must outlive the result, to be read from `offset` on. It comes through a
// pipe while it is read. The read that would give the end gives the store's error instead if there
// was one (NOT_FOUND, DATA_LOSS, ...), so all bytes are good once the end was seen.
absl::StatusOr<std::unique_ptr<ByteSource>> OpenBlob(BlobStore& store, const Digest& digest,
                                                     int64_t offset = 0);

}  // namespace farm

#endif  // FARM_CLI_BLOB_SOURCE_H_
