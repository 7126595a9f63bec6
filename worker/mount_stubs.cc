#include "worker/mount_stubs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/root_path.h"

namespace farm {
namespace {

constexpr int kLinksMax = 40;  // As the kernel has it.

bool Same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

void SetMtime(int dir_fd, const timespec& mtime) {
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, mtime};
  if (futimens(dir_fd, times) != 0) {
    LogWarning("mtime not put back", {{"error", LogText(ErrnoStatus(errno, "futimens"))}});
  }
}

std::deque<std::string> Components(absl::string_view path) {
  return absl::StrSplit(path, '/', absl::SkipEmpty());
}

}  // namespace

absl::Status MountStubs::Add(const std::string& path, bool directory) {
  if (OpenInRoot(root_fd_, path, O_PATH).ok()) return absl::OkStatus();

  // Walk down by hand: links are followed by text, so that `real` never contains one and ".." can
  // be taken back lexically.
  std::deque<std::string> todo = Components(path);
  std::vector<std::string> real;
  int links = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      if (!real.empty()) real.pop_back();
      continue;
    }
    const absl::StatusOr<UniqueFd> parent =
        OpenInRoot(root_fd_, absl::StrCat("/", absl::StrJoin(real, "/")), O_RDONLY | O_DIRECTORY);
    if (!parent.ok()) return absl::InvalidArgumentError(parent.status().message());
    struct stat info;
    if (fstatat(parent->get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != ENOENT) return ErrnoStatus(errno, path);
      RETURN_IF_ERROR(Make(*parent, name, directory || !todo.empty())) << path;
    } else if (S_ISLNK(info.st_mode)) {
      if (++links > kLinksMax) return absl::InvalidArgumentError(path + ": too many links");
      char link[PATH_MAX];
      const ssize_t length = readlinkat(parent->get(), name.c_str(), link, sizeof(link));
      if (length < 0) return ErrnoStatus(errno, path);
      const absl::string_view target(link, static_cast<size_t>(length));
      if (!target.empty() && target[0] == '/') real.clear();
      const std::deque<std::string> more = Components(target);
      todo.insert(todo.begin(), more.begin(), more.end());
      continue;
    }
    real.push_back(name);
  }
  return absl::OkStatus();
}

absl::Status MountStubs::Make(const UniqueFd& parent, const std::string& name, bool directory) {
  struct stat before, made, after;
  if (fstat(parent.get(), &before) != 0) return ErrnoStatus(errno, name);
  if (directory) {
    if (mkdirat(parent.get(), name.c_str(), 0755) != 0) return ErrnoStatus(errno, name);
  } else {
    UniqueFd file(
        openat(parent.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
    if (!file.valid()) return ErrnoStatus(errno, name);
  }
  UniqueFd dir(fcntl(parent.get(), F_DUPFD_CLOEXEC, 0));
  if (!dir.valid() || fstat(dir.get(), &after) != 0 ||
      fstatat(dir.get(), name.c_str(), &made, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, name);
  }
  stubs_.push_back({.parent = std::move(dir),
                    .name = name,
                    .directory = directory,
                    .inode = made.st_ino,
                    .parent_mtime_before = before.st_mtim,
                    .parent_mtime_after = after.st_mtim});
  return absl::OkStatus();
}

void MountStubs::Remove() {
  for (; !stubs_.empty(); stubs_.pop_back()) {
    const Stub& stub = stubs_.back();
    struct stat info, parent;
    if (fstatat(stub.parent.get(), stub.name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        fstat(stub.parent.get(), &parent) != 0) {
      continue;  // The step removed it.
    }
    const bool ours = info.st_ino == stub.inode && S_ISDIR(info.st_mode) == stub.directory &&
                      (stub.directory || (S_ISREG(info.st_mode) && info.st_size == 0));
    if (!ours) continue;
    if (unlinkat(stub.parent.get(), stub.name.c_str(), stub.directory ? AT_REMOVEDIR : 0) != 0) {
      if (errno != ENOTEMPTY && errno != EEXIST) {
        LogWarning("mount stub not removed", {{"error", LogText(ErrnoStatus(errno, stub.name))}});
      }
      continue;
    }
    // Unchanged since we made the stub: as if it never was. Else the step's own time stays.
    SetMtime(stub.parent.get(), Same(parent.st_mtim, stub.parent_mtime_after)
                                    ? stub.parent_mtime_before
                                    : parent.st_mtim);
  }
}

}  // namespace farm
