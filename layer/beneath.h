// What stays beneath a root, whatever names a tar has. For applier.cc alone.
#ifndef FARM_LAYER_BENEATH_H_
#define FARM_LAYER_BENEATH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "layer/table.h"

namespace farm {

// A name from a tar as a path beneath the root, symlinks not looked at.
//   INVALID_ARGUMENT    it leads out of the root
//   RESOURCE_EXHAUSTED  over a limit, which is named
absl::StatusOr<std::string> CleanName(absl::string_view name, const TableLimits& limits);

// Opens a directory beneath the root that is reached without any symlink, with the flags of
// open(2). -1 and errno if it is not.
int OpenBeneath(int root_fd, absl::string_view path, uint64_t flags);

// Removes a file, or a directory with all that is in it. `depth_max` bounds descriptors and stack:
// RESOURCE_EXHAUSTED; else ErrnoStatus().
absl::Status RemoveTree(int parent_fd, const std::string& name, int64_t depth_max);

}  // namespace farm

#endif  // FARM_LAYER_BENEATH_H_
