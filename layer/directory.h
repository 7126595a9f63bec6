// Reading directories, and what overlayfs writes in them.
#ifndef FARM_LAYER_DIRECTORY_H_
#define FARM_LAYER_DIRECTORY_H_

#include <dirent.h>
#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace farm {

struct DirectoryItem {
  std::string name;
  unsigned char type = DT_UNKNOWN;  // DT_*, as the file system says.

  // False only if the item surely is of another type.
  bool may_be(unsigned char wanted) const { return type == wanted || type == DT_UNKNOWN; }
};

// What a directory of a layer has at most: as much as a table (TableLimits::entries_max).
inline constexpr int64_t kDirectoryEntriesMax = 1'000'000;

// All of an open directory but "." and "..", sorted bytewise by name. Reads from the start.
//   RESOURCE_EXHAUSTED  more than `entries_max`
absl::StatusOr<std::vector<DirectoryItem>> ListDirectory(
    int dirfd, int64_t entries_max = kDirectoryEntriesMax);

// Of a directory that a layer's tar lacks, its root above all; with owner 0:0 and time 0.
inline constexpr mode_t kImpliedDirectoryMode = 0755;

// How overlayfs marks a name that is gone: a char device 0:0.
bool IsWhiteoutDevice(const struct stat& stat);

}  // namespace farm

#endif  // FARM_LAYER_DIRECTORY_H_
