#include "layer/lower_view.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "layer/directory.h"
#include "layer/paths.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

// The path itself, symlinks not followed; nullopt if there is nothing.
absl::StatusOr<std::optional<struct stat>> StatIn(int layer_fd, const std::string& path) {
  struct stat stat;
  const int flags = AT_SYMLINK_NOFOLLOW | (path.empty() ? AT_EMPTY_PATH : 0);
  if (fstatat(layer_fd, path.c_str(), &stat, flags) == 0) return stat;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return ErrnoStatus(errno, absl::StrCat("lower layer: ", path));
}

absl::StatusOr<UniqueFd> OpenIn(int layer_fd, const std::string& path) {
  UniqueFd fd(openat(layer_fd, path.empty() ? "." : path.c_str(),
                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("lower layer: ", path));
  return fd;
}

absl::StatusOr<bool> IsOpaqueIn(int layer_fd, const std::string& path) {
  ASSIGN_OR_RETURN(const UniqueFd fd, OpenIn(layer_fd, path));
  return HasOpaqueMark(fd.get());
}

}  // namespace

absl::StatusOr<std::optional<LowerEntry>> LowerDirectory::Stat(absl::string_view name) const {
  std::string path = JoinPath(path_, name);
  for (const int layer_fd : layer_fds_) {
    ASSIGN_OR_RETURN(const std::optional<struct stat> stat, StatIn(layer_fd, path));
    if (!stat.has_value()) continue;
    if (IsWhiteoutDevice(*stat)) return std::nullopt;
    return LowerEntry{*stat, layer_fd, std::move(path)};
  }
  return std::nullopt;
}

absl::StatusOr<LowerDirectory> LowerDirectory::Open(absl::string_view name) const {
  LowerDirectory directory;
  directory.path_ = JoinPath(path_, name);
  for (const int layer_fd : layer_fds_) {
    ASSIGN_OR_RETURN(const std::optional<struct stat> stat, StatIn(layer_fd, directory.path_));
    if (!stat.has_value()) continue;
    if (!S_ISDIR(stat->st_mode)) break;  // It hides what is further down.
    directory.layer_fds_.push_back(layer_fd);
    ASSIGN_OR_RETURN(const bool opaque, IsOpaqueIn(layer_fd, directory.path_));
    if (opaque) break;
  }
  return directory;
}

absl::StatusOr<std::vector<std::string>> LowerDirectory::List() const {
  std::vector<std::string> names;
  absl::flat_hash_set<std::string> decided;  // By a layer further up.
  for (const int layer_fd : layer_fds_) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenIn(layer_fd, path_));
    ASSIGN_OR_RETURN(std::vector<DirectoryItem> items, ListDirectory(fd.get()));
    for (DirectoryItem& item : items) {
      if (!decided.insert(item.name).second) continue;
      if (item.may_be(DT_CHR)) {
        ASSIGN_OR_RETURN(const std::optional<struct stat> stat,
                         StatIn(layer_fd, JoinPath(path_, item.name)));
        if (stat.has_value() && IsWhiteoutDevice(*stat)) continue;
      }
      names.push_back(std::move(item.name));
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<LowerEntry> LowerDirectory::StatSelf() const {
  ASSIGN_OR_RETURN(const std::optional<struct stat> stat, StatIn(layer_fds_.front(), path_));
  if (!stat.has_value()) return absl::NotFoundError(absl::StrCat("lower layer: ", path_));
  return LowerEntry{*stat, layer_fds_.front(), path_};
}

absl::StatusOr<std::vector<UniqueFd>> LowerDirectory::OpenLayers() const {
  std::vector<UniqueFd> fds;
  for (const int layer_fd : layer_fds_) {
    fds.emplace_back(openat(layer_fd, path_.empty() ? "." : path_.c_str(),
                            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fds.back().valid()) return ErrnoStatus(errno, absl::StrCat("lower layer: ", path_));
  }
  return fds;
}

LowerView::LowerView(std::vector<int> layer_dirfds_topmost_first)
    : layer_fds_(std::move(layer_dirfds_topmost_first)) {}

LowerDirectory LowerView::Root() const {
  LowerDirectory root;
  root.layer_fds_ = layer_fds_;
  return root;
}

absl::StatusOr<LowerDirectory> LowerView::Open(absl::string_view path) const {
  LowerDirectory directory = Root();
  while (!path.empty() && !directory.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    ASSIGN_OR_RETURN(directory, directory.Open(path.substr(0, slash)));
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return directory;
}

absl::StatusOr<std::optional<LowerEntry>> LowerView::Stat(absl::string_view path) const {
  LowerDirectory directory = Root();
  while (!directory.empty()) {
    if (path.empty()) {
      ASSIGN_OR_RETURN(LowerEntry self, directory.StatSelf());
      return self;
    }
    const size_t slash = path.find('/');
    if (slash == absl::string_view::npos) return directory.Stat(path);
    ASSIGN_OR_RETURN(directory, directory.Open(path.substr(0, slash)));
    path.remove_prefix(slash + 1);
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::string>> LowerView::List(absl::string_view path) const {
  ASSIGN_OR_RETURN(const LowerDirectory directory, Open(path));
  return directory.List();
}

}  // namespace farm
