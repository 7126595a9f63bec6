#ifndef FARM_WORKER_DISK_USAGE_H_
#define FARM_WORKER_DISK_USAGE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/cancel_token.h"

namespace farm {

// Directories within directories that DiskUsage() goes into; each holds a descriptor.
inline constexpr int kDiskUsageDepthMax = 512;

// About how many bytes what is in an open directory takes on its disk: the blocks of its files, and
// something for each entry. A file of several names counts once, if all are in there. What is
// changed meanwhile counts or not.
//   RESOURCE_EXHAUSTED  more than kDiskUsageDepthMax deep, or a directory of more than
//                       kDirectoryEntriesMax entries (layer/directory.h)
//   CANCELLED
absl::StatusOr<int64_t> DiskUsage(int dir_fd, const CancelToken& cancel);

}  // namespace farm

#endif  // FARM_WORKER_DISK_USAGE_H_
