#include "layer/directory.h"

#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 32 * 1024;

// As getdents64(2) lays out its records.
struct Record {
  uint64_t inode;
  int64_t offset;
  uint16_t record_bytes;
  unsigned char type;
  char name[];
};

}  // namespace

absl::StatusOr<std::vector<DirectoryItem>> ListDirectory(int dirfd, int64_t entries_max) {
  if (lseek(dirfd, 0, SEEK_SET) < 0) return ErrnoStatus(errno, "rewind directory");
  std::vector<DirectoryItem> items;
  alignas(Record) char buffer[kBufferBytes];
  while (true) {
    // Not readdir(): that needs a descriptor and a buffer of its own for each directory.
    const long count = syscall(SYS_getdents64, dirfd, buffer, sizeof(buffer));
    if (count < 0) return ErrnoStatus(errno, "read directory");
    if (count == 0) break;
    for (long at = 0; at < count;) {
      const auto* record = reinterpret_cast<const Record*>(buffer + at);
      at += record->record_bytes;
      const absl::string_view name = record->name;
      if (name == "." || name == "..") continue;
      if (static_cast<int64_t>(items.size()) >= entries_max) {
        return absl::ResourceExhaustedError(
            absl::StrCat("a directory of more than entries_max ", entries_max, " names"));
      }
      items.push_back({std::string(name), record->type});
    }
  }
  std::sort(items.begin(), items.end(), [](const DirectoryItem& a, const DirectoryItem& b) {
    return a.name < b.name;  // std::string compares as unsigned bytes.
  });
  return items;
}

bool IsWhiteoutDevice(const struct stat& stat) {
  return S_ISCHR(stat.st_mode) && stat.st_rdev == makedev(0, 0);
}

}  // namespace farm
