#include "worker/copy_target.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

constexpr int kSymlinksMax = 40;  // As the kernel has it.
constexpr size_t kLinkBytesMax = 4096;

timespec WholeSeconds(absl::Time time) {
  return {.tv_sec = absl::ToUnixSeconds(time), .tv_nsec = 0};
}

// Components of `path` in front of those that are still to come.
void Prepend(absl::string_view path, std::vector<std::string>& reversed) {
  const std::vector<std::string> parts = absl::StrSplit(path, '/', absl::SkipEmpty());
  reversed.insert(reversed.end(), parts.rbegin(), parts.rend());
}

absl::StatusOr<std::string> ReadLink(int directory_fd, const std::string& name) {
  std::string target(kLinkBytesMax, '\0');
  const ssize_t size = readlinkat(directory_fd, name.c_str(), target.data(), target.size());
  if (size < 0) return ErrnoStatus(errno, name);
  target.resize(static_cast<size_t>(size));
  return target;
}

UniqueFd OpenDirectory(int parent_fd, const std::string& name) {
  return UniqueFd(openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

}  // namespace

absl::StatusOr<CopyTarget::Directory> CopyTarget::MakeDirectories(absl::string_view path) {
  ASSIGN_OR_RETURN(Place place, Walk(path, /*last_is_directory=*/true));
  return std::move(place.directory);
}

absl::StatusOr<CopyTarget::Place> CopyTarget::Locate(absl::string_view path) {
  return Walk(path, /*last_is_directory=*/false);
}

absl::StatusOr<CopyTarget::Place> CopyTarget::Walk(absl::string_view path, bool last_is_directory) {
  std::vector<Directory> stack(1);
  stack[0].fd.Reset(openat(root_fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!stack[0].fd.valid()) return ErrnoStatus(errno, "root");
  std::vector<std::string> rest;  // Next component last.
  Prepend(path, rest);
  int symlinks = 0;
  while (!rest.empty()) {
    const std::string name = std::move(rest.back());
    rest.pop_back();
    if (name == ".") continue;
    if (name == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    const Directory& top = stack.back();
    const std::string here = JoinPath(top.path, name);
    UniqueFd fd = OpenDirectory(top.fd.get(), name);
    if (!fd.valid() && errno == ENOENT) {
      if (rest.empty() && !last_is_directory) {
        return Place{.directory = std::move(stack.back()), .name = name, .exists = false};
      }
      if (mkdirat(top.fd.get(), name.c_str(), 0755) != 0) return ErrnoStatus(errno, "/" + here);
      fd = OpenDirectory(top.fd.get(), name);
      if (!fd.valid()) return ErrnoStatus(errno, "/" + here);
      const Owner owner = options_.owner.value_or(Owner{});
      // Again the mode: the umask has had its say in mkdir.
      if (fchown(fd.get(), owner.uid, owner.gid) != 0 || fchmod(fd.get(), 0755) != 0) {
        return ErrnoStatus(errno, "/" + here);
      }
    }
    if (fd.valid()) {
      if (static_cast<int64_t>(stack.size()) > TableLimits().path_depth_max) {
        return absl::ResourceExhaustedError(absl::StrCat(
            "a destination deeper than path_depth_max ", TableLimits().path_depth_max));
      }
      stack.push_back({.fd = std::move(fd), .path = here});
      continue;
    }
    if (errno != ENOTDIR && errno != ELOOP) return ErrnoStatus(errno, "/" + here);
    struct stat info;
    if (fstatat(top.fd.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoStatus(errno, "/" + here);
    }
    if (!S_ISLNK(info.st_mode)) {
      if (rest.empty() && !last_is_directory) {
        return Place{.directory = std::move(stack.back()), .name = name, .exists = true};
      }
      return absl::InvalidArgumentError(absl::StrCat("mkdir /", here, ": not a directory"));
    }
    if (++symlinks > kSymlinksMax) {
      return absl::InvalidArgumentError(absl::StrCat("/", here, ": too many levels of symlinks"));
    }
    ASSIGN_OR_RETURN(const std::string target, ReadLink(top.fd.get(), name));
    if (absl::StartsWith(target, "/")) stack.resize(1);
    Prepend(target, rest);
  }
  return Place{.directory = std::move(stack.back()), .name = "", .exists = true};
}

absl::StatusOr<CopyTarget::Directory> CopyTarget::EnterDirectory(const Directory& parent,
                                                                 absl::string_view name_view) {
  const std::string name(name_view);
  Directory directory{.fd = {}, .path = JoinPath(parent.path, name)};
  if (mkdirat(parent.fd.get(), name.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "/" + directory.path);
  }
  directory.fd = OpenDirectory(parent.fd.get(), name);
  if (!directory.fd.valid()) {
    if (errno != ENOTDIR && errno != ELOOP) return ErrnoStatus(errno, "/" + directory.path);
    return absl::InvalidArgumentError(
        absl::StrCat("cannot copy to non-directory: /", directory.path));
  }
  return directory;
}

// `create` returns 0 or -1 with errno; it is called again once what is in the way is gone.
template <typename Create>
absl::Status CopyTarget::CreateReplacing(const Directory& parent, const std::string& name,
                                         const Create& create) {
  if (create() == 0) return absl::OkStatus();
  const std::string path = "/" + JoinPath(parent.path, name);
  if (errno != EEXIST) return ErrnoStatus(errno, path);
  if (unlinkat(parent.fd.get(), name.c_str(), 0) != 0) {
    if (errno != EISDIR && errno != EPERM) return ErrnoStatus(errno, path);
    return absl::InvalidArgumentError(
        absl::StrCat("cannot replace to directory ", path, " with file"));
  }
  if (create() != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> CopyTarget::CreateFile(const Directory& parent,
                                                absl::string_view name_view) {
  const std::string name(name_view);
  UniqueFd fd;
  RETURN_IF_ERROR(CreateReplacing(parent, name, [&] {
    fd.Reset(openat(parent.fd.get(), name.c_str(),
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    return fd.valid() ? 0 : -1;
  }));
  return fd;
}

uint32_t CopyTarget::ModeOf(const EntryMetadata& metadata, bool is_directory) const {
  if (options_.mode_change.has_value()) {
    return options_.mode_change->Apply(metadata.mode, is_directory);
  }
  return options_.mode.value_or(metadata.mode);
}

absl::Status CopyTarget::Finish(int fd, const EntryMetadata& metadata) {
  const Owner owner = options_.owner.value_or(metadata.owner);
  // Mode after owner: changing the owner takes the set-id bits away. Xattrs after both, for the
  // same reason (security.capability); the time last.
  if (fchown(fd, owner.uid, owner.gid) != 0) return ErrnoStatus(errno, "chown");
  struct stat info;
  const bool is_directory = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
  if (fchmod(fd, ModeOf(metadata, is_directory)) != 0) return ErrnoStatus(errno, "chmod");
  if (metadata.xattrs != nullptr) {
    RETURN_IF_ERROR(WriteLayerXattrs(fd, *metadata.xattrs));
  }
  const timespec time = WholeSeconds(metadata.mtime);
  const timespec times[2] = {time, time};
  if (futimens(fd, times) != 0) return ErrnoStatus(errno, "time");
  return absl::OkStatus();
}

absl::Status CopyTarget::SetTime(const Directory& directory, absl::Time mtime) {
  const timespec time = WholeSeconds(mtime);
  const timespec times[2] = {time, time};
  if (futimens(directory.fd.get(), times) != 0) return ErrnoStatus(errno, "/" + directory.path);
  return absl::OkStatus();
}

absl::Status CopyTarget::CreateSymlink(const Directory& parent, absl::string_view name_view,
                                       const std::string& link_target,
                                       const EntryMetadata& metadata) {
  const std::string name(name_view);
  RETURN_IF_ERROR(CreateReplacing(
      parent, name, [&] { return symlinkat(link_target.c_str(), parent.fd.get(), name.c_str()); }));
  const Owner owner = options_.owner.value_or(metadata.owner);
  const timespec time = WholeSeconds(metadata.mtime);
  const timespec times[2] = {time, time};
  if (fchownat(parent.fd.get(), name.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
      utimensat(parent.fd.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, "/" + JoinPath(parent.path, name));
  }
  return absl::OkStatus();
}

absl::Status CopyTarget::CreateNode(const Directory& parent, absl::string_view name_view,
                                    EntryType type, uint32_t device_major, uint32_t device_minor,
                                    const EntryMetadata& metadata) {
  const std::string name(name_view);
  const mode_t kind = type == EntryType::kCharDevice    ? S_IFCHR
                      : type == EntryType::kBlockDevice ? S_IFBLK
                                                        : S_IFIFO;
  const dev_t device = type == EntryType::kFifo ? 0 : makedev(device_major, device_minor);
  RETURN_IF_ERROR(CreateReplacing(
      parent, name, [&] { return mknodat(parent.fd.get(), name.c_str(), kind | 0600, device); }));
  const Owner owner = options_.owner.value_or(metadata.owner);
  const timespec time = WholeSeconds(metadata.mtime);
  const timespec times[2] = {time, time};
  // By name: opening a device is refused here, and a FIFO would block.
  if (fchownat(parent.fd.get(), name.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) != 0 ||
      fchmodat(parent.fd.get(), name.c_str(), ModeOf(metadata, /*is_directory=*/false), 0) != 0 ||
      utimensat(parent.fd.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) {
    return ErrnoStatus(errno, "/" + JoinPath(parent.path, name));
  }
  return absl::OkStatus();
}

absl::Status CopyTarget::CreateLink(const Directory& parent, absl::string_view name_view,
                                    const std::string& existing) {
  const std::string name(name_view);
  return CreateReplacing(parent, name, [&] {
    return linkat(root_fd_, existing.c_str(), parent.fd.get(), name.c_str(), 0);
  });
}

}  // namespace farm
