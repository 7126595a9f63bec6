#include "worker/remove_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "base/errno_status.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

// Directories deeper than this are moved up to the top and deleted from there.
constexpr int kDepthMax = 64;

// Deletes the contents of directories; remembers the first error and goes on.
class TreeRemover {
 public:
  explicit TreeRemover(int top_fd) : top_fd_(top_fd) {}

  absl::Status RemoveContents() {
    // Moving deep directories up fills the top anew: repeat until nothing moves.
    do {
      moved_up_ = false;
      RemoveContents(top_fd_, 0);
    } while (moved_up_ && first_error_ == 0);
    return first_error_ == 0 ? absl::OkStatus() : ErrnoStatus(first_error_, first_error_name_);
  }

 private:
  void RemoveContents(int dir_fd, int depth) {
    const int scan_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = scan_fd < 0 ? nullptr : fdopendir(scan_fd);
    if (dir == nullptr) return Remember(errno, ".");
    while (const dirent* entry = readdir(dir)) {
      const char* name = entry->d_name;
      if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
      if (entry->d_type == DT_DIR) {
        RemoveDirectory(dir_fd, name, depth);
      } else if (!Unlink(dir_fd, name, 0)) {
        if (errno == EISDIR) {
          RemoveDirectory(dir_fd, name, depth);
        } else {
          Remember(errno, name);
        }
      }
    }
    closedir(dir);
  }

  void RemoveDirectory(int dir_fd, const char* name, int depth) {
    if (Unlink(dir_fd, name, AT_REMOVEDIR)) return;
    if (errno != ENOTEMPTY && errno != EEXIST) return Remember(errno, name);
    if (depth == kDepthMax) return MoveUp(dir_fd, name);
    open_how how{};
    how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH;
    UniqueFd child(static_cast<int>(syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))));
    if (!child.valid()) return Remember(errno, name);
    RemoveContents(child.get(), depth + 1);
    // Still full if some of it was moved or could not be deleted; that is remembered already.
    if (!Unlink(dir_fd, name, AT_REMOVEDIR) && errno != ENOTEMPTY) Remember(errno, name);
  }

  void MoveUp(int dir_fd, const char* name) {
    for (;;) {
      char target[32];
      snprintf(target, sizeof(target), "deep-%llu", static_cast<unsigned long long>(next_name_++));
      if (renameat2(dir_fd, name, top_fd_, target, RENAME_NOREPLACE) == 0) {
        moved_up_ = true;
        return;
      }
      if (errno == EPERM && ClearFlags(dir_fd, name)) continue;
      if (errno != EEXIST) return Remember(errno, name);
    }
  }

  // unlinkat(2); where it is refused, once more without the flags that forbid it.
  bool Unlink(int dir_fd, const char* name, int flags) {
    if (unlinkat(dir_fd, name, flags) == 0) return true;
    if (errno != EPERM) return false;
    if (!ClearFlags(dir_fd, name)) {
      errno = EPERM;
      return false;
    }
    return unlinkat(dir_fd, name, flags) == 0;
  }

  // Clears "immutable" and "append only" of the entry and of its directory. False if neither had
  // one, so that callers do not repeat for ever.
  bool ClearFlags(int dir_fd, const char* name) {
    bool cleared = ClearFlagsOf(dir_fd);
    struct stat info;
    if (fstatat(dir_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
        (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
      UniqueFd fd(openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
      cleared |= fd.valid() && ClearFlagsOf(fd.get());
    }
    return cleared;
  }

  static bool ClearFlagsOf(int fd) {
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return false;
    const int wanted = flags & ~(FS_IMMUTABLE_FL | FS_APPEND_FL);
    return wanted != flags && ioctl(fd, FS_IOC_SETFLAGS, &wanted) == 0;
  }

  void Remember(int error, const char* name) {
    if (error == ENOENT || first_error_ != 0) return;
    first_error_ = error;
    first_error_name_ = name;
  }

  const int top_fd_;
  uint64_t next_name_ = 0;
  bool moved_up_ = false;
  int first_error_ = 0;
  std::string first_error_name_;
};

}  // namespace

absl::Status RemoveTree(const std::string& path) {
  UniqueFd top(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top.valid()) {
    if (errno == ENOENT) return absl::OkStatus();
    if (errno != ENOTDIR && errno != ELOOP) return ErrnoStatus(errno, path);
    return unlink(path.c_str()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, path);
  }
  absl::Status removed = TreeRemover(top.get()).RemoveContents();
  if (!removed.ok())
    return ErrnoStatus(ENOTEMPTY, path + " (" + std::string(removed.message()) + ")");
  // ENOENT: somebody else deletes it too.
  if (rmdir(path.c_str()) != 0 && errno != ENOENT) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

}  // namespace farm
