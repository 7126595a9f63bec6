#ifndef FARM_LAYER_ARCHIVE_H_
#define FARM_LAYER_ARCHIVE_H_

#include "absl/status/statusor.h"
#include "base/byte_stream.h"

namespace farm {

// True if ADD unpacks this file: it begins, decompressed if need be, with the header of a tar entry
// (as docker decides it: by content, whatever the name). Reads no more than the beginning. An empty
// tar is none. Errors are those of the source alone.
absl::StatusOr<bool> IsArchive(ByteSource& file);

}  // namespace farm

#endif  // FARM_LAYER_ARCHIVE_H_
