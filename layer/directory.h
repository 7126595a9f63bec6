// Reading directories, and what overlayfs writes in them.
#ifndef FARM_LAYER_DIRECTORY_H_
#define FARM_LAYER_DIRECTORY_H_

#include <dirent.h>
#include <sys/stat.h>

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

// All of an open directory but "." and "..", sorted bytewise by name. Reads from the start.
absl::StatusOr<std::vector<DirectoryItem>> ListDirectory(int dirfd);

// How overlayfs marks a name that is gone: a char device 0:0.
bool IsWhiteoutDevice(const struct stat& stat);

}  // namespace farm

#endif  // FARM_LAYER_DIRECTORY_H_
