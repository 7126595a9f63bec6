#include "layer/beneath.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/directory.h"
#include "layer/paths.h"

namespace farm {

absl::StatusOr<std::string> CleanName(absl::string_view name, const TableLimits& limits) {
  if (static_cast<int64_t>(name.size()) > limits.path_bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a name of ", name.size(), " bytes, over path_bytes_max ", limits.path_bytes_max));
  }
  std::vector<absl::string_view> components;
  for (const absl::string_view component : absl::StrSplit(name, '/')) {
    if (component.empty() || component == ".") continue;
    if (component == "..") {
      if (components.empty()) {
        return absl::InvalidArgumentError(absl::StrCat(ShownPath(name), " leads out of the root"));
      }
      components.pop_back();
      continue;
    }
    if (component.size() > static_cast<size_t>(kNameBytesMax)) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a name of ", component.size(), " bytes, more than ", kNameBytesMax));
    }
    components.push_back(component);
  }
  if (static_cast<int64_t>(components.size()) > limits.path_depth_max) {
    return absl::ResourceExhaustedError(absl::StrCat("a path of ", components.size(),
                                                     " components, over path_depth_max ",
                                                     limits.path_depth_max));
  }
  return absl::StrJoin(components, "/");
}

int OpenBeneath(int root_fd, absl::string_view path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const std::string name = path.empty() ? "." : std::string(path);
  return static_cast<int>(syscall(SYS_openat2, root_fd, name.c_str(), &how, sizeof(how)));
}

absl::Status RemoveTree(int parent_fd, const std::string& name, int64_t depth_max) {
  if (unlinkat(parent_fd, name.c_str(), 0) == 0) return absl::OkStatus();
  if (errno != EISDIR) return ErrnoStatus(errno, "remove");
  if (depth_max == 0) return absl::ResourceExhaustedError("what it replaces is too deep a tree");
  {
    const UniqueFd fd(
        openat(parent_fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, "open");
    ASSIGN_OR_RETURN(const std::vector<DirectoryItem> items, ListDirectory(fd.get()));
    for (const DirectoryItem& item : items) {
      RETURN_IF_ERROR(RemoveTree(fd.get(), item.name, depth_max - 1));
    }
  }
  if (unlinkat(parent_fd, name.c_str(), AT_REMOVEDIR) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, "remove directory");
}

}  // namespace farm
