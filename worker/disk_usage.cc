#include "worker/disk_usage.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/directory.h"

namespace farm {
namespace {

constexpr int64_t kBytesOfBlock = 512;   // of st_blocks
constexpr int64_t kBytesOfEntry = 1024;  // an inode and a name, about

// Adds to `bytes`. Errors are passed up as they are, not through the macros: they would gather a
// place in the source for each level.
absl::Status AddBelow(int dir_fd, int depth, const CancelToken& cancel, int64_t& bytes) {
  if (cancel.cancelled()) return absl::CancelledError("while a directory was measured");
  if (depth > kDiskUsageDepthMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("directories are more than ", kDiskUsageDepthMax, " deep"));
  }
  ASSIGN_OR_RETURN(const std::vector<DirectoryItem> items, ListDirectory(dir_fd));
  for (const DirectoryItem& item : items) {
    struct stat info;
    if (fstatat(dir_fd, item.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return ErrnoStatus(errno, item.name);
    }
    const bool is_directory = S_ISDIR(info.st_mode);
    const int64_t names = is_directory ? 1 : std::max<int64_t>(info.st_nlink, 1);
    bytes += kBytesOfEntry + info.st_blocks * kBytesOfBlock / names;
    if (!is_directory) continue;
    const UniqueFd child(
        openat(dir_fd, item.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child.valid()) {
      if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) continue;
      return ErrnoStatus(errno, item.name);
    }
    if (absl::Status below = AddBelow(child.get(), depth + 1, cancel, bytes); !below.ok()) {
      return below;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> DiskUsage(int dir_fd, const CancelToken& cancel) {
  int64_t bytes = 0;
  RETURN_IF_ERROR(AddBelow(dir_fd, 0, cancel, bytes));
  return bytes;
}

}  // namespace farm
