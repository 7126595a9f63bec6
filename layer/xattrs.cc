#include "layer/xattrs.h"

#include <linux/limits.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr char kCapability[] = "security.capability";
constexpr char kAccessAcl[] = "system.posix_acl_access";
constexpr char kOpaque[] = "trusted.overlay.opaque";

// Of the kernel's struct vfs_ns_cap_data: the revision is the highest byte of the first word.
constexpr size_t kCapabilityV2Bytes = 20;
constexpr size_t kCapabilityV3Bytes = 24;  // Version 2 and a root id.

std::string CapabilityV2(std::string value) {
  if (value.size() != kCapabilityV3Bytes || value[3] != 3) return value;
  value.resize(kCapabilityV2Bytes);
  value[3] = 2;
  return value;
}

absl::StatusOr<std::string> ReadXattr(int fd, const char* name) {
  const ssize_t size = fgetxattr(fd, name, nullptr, 0);
  if (size < 0) return ErrnoStatus(errno, absl::StrCat("read xattr ", name));
  std::string value(static_cast<size_t>(size), '\0');
  if (size > 0 && fgetxattr(fd, name, value.data(), value.size()) != size) {
    return ErrnoStatus(errno, absl::StrCat("read xattr ", name));
  }
  return value;
}

// Calls `visit` with each name.
template <typename Visit>
absl::Status ForEachName(int fd, const Visit& visit) {
  char short_names[512];
  std::string long_names;
  char* names = short_names;
  ssize_t size = flistxattr(fd, names, sizeof(short_names));
  if (size < 0 && errno == ERANGE) {
    long_names.resize(XATTR_LIST_MAX);
    names = long_names.data();
    size = flistxattr(fd, names, long_names.size());
  }
  if (size < 0 && errno == ENOTSUP) return absl::OkStatus();
  if (size < 0) return ErrnoStatus(errno, "list xattrs");
  for (const char* name = names; name < names + size; name += strlen(name) + 1) {
    RETURN_IF_ERROR(visit(name));
  }
  return absl::OkStatus();
}

absl::Status AddLayerXattr(int fd, const char* name, Xattrs& xattrs) {
  if (!IsLayerXattr(name)) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string value, ReadXattr(fd, name));
  if (absl::string_view(name) == kCapability) value = CapabilityV2(std::move(value));
  xattrs.emplace(name, std::move(value));
  return absl::OkStatus();
}

// What overlayfs and the host's security modules keep; no step can set it.
bool IsHosts(absl::string_view name) {
  return absl::StartsWith(name, "trusted.overlay.") ||
         (absl::StartsWith(name, "security.") && name != kCapability);
}

absl::Status Remove(int fd, const char* name) {
  if (fremovexattr(fd, name) == 0 || errno == ENODATA) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("remove xattr ", name));
}

}  // namespace

bool IsLayerXattr(absl::string_view name) {
  if (name == kCapability) return true;
  if (absl::StrContains(name, '=')) return false;
  return absl::StartsWith(name, "user.") && !absl::StartsWith(name, "user.overlay.");
}

absl::StatusOr<Xattrs> ReadLayerXattrs(int fd) {
  Xattrs xattrs;
  RETURN_IF_ERROR(
      ForEachName(fd, [&](const char* name) { return AddLayerXattr(fd, name, xattrs); }));
  return xattrs;
}

absl::StatusOr<Xattrs> KeepLayerXattrs(int fd) {
  Xattrs xattrs;
  RETURN_IF_ERROR(ForEachName(fd, [&](const char* name) {
    return IsHosts(name) || IsLayerXattr(name) ? AddLayerXattr(fd, name, xattrs) : Remove(fd, name);
  }));
  return xattrs;
}

absl::Status KeepOverlayXattrs(int fd) {
  return ForEachName(
      fd, [fd](const char* name) { return IsHosts(name) ? absl::OkStatus() : Remove(fd, name); });
}

absl::Status DropAclAt(int dirfd, const std::string& name) {
  const std::string path = absl::StrCat("/proc/self/fd/", dirfd, "/", name);
  if (lremovexattr(path.c_str(), kAccessAcl) == 0 || errno == ENODATA || errno == ENOTSUP) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "remove ACL");
}

absl::Status WriteLayerXattrs(int fd, const Xattrs& xattrs) {
  for (const auto& [name, value] : xattrs) {
    if (!IsLayerXattr(name)) continue;
    if (fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == ENOTSUP && absl::StartsWith(name, "user.")) continue;
    if (errno == EINVAL || errno == ERANGE || errno == E2BIG) {
      return absl::InvalidArgumentError(
          absl::StrCat("xattr ", name, " of ", value.size(), " bytes is none that Linux has"));
    }
    return ErrnoStatus(errno, absl::StrCat("set xattr ", name));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> HasOpaqueMark(int dirfd) {
  char value = 0;
  const ssize_t size = fgetxattr(dirfd, kOpaque, &value, 1);
  if (size == 1) return value == 'y';
  // ERANGE: some longer value, which overlayfs does not take for the mark.
  if (size == 0 || errno == ENODATA || errno == ENOTSUP || errno == ERANGE) return false;
  return ErrnoStatus(errno, "read the mark of an opaque directory");
}

absl::Status SetOpaqueMark(int dirfd) {
  if (fsetxattr(dirfd, kOpaque, "y", 1, 0) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "mark a directory opaque");
}

}  // namespace farm
