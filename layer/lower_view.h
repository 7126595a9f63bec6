// The merged file system of unpacked layer directories, read without mounting it.
#ifndef FARM_LAYER_LOWER_VIEW_H_
#define FARM_LAYER_LOWER_VIEW_H_

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace farm {

// Where an entry of the view really is.
struct LowerEntry {
  struct stat stat;
  int layer_fd = -1;  // Borrowed: the layer's directory...
  std::string path;   // ...and the path in it; no component before the last is a symlink.
};

// One directory of the view: the layers that contribute to it. Stepping down name by name costs one
// look-up a layer, where LowerView::Stat() costs one a layer and component.
class LowerDirectory {
 public:
  // The entry `name`, symlinks not followed; nullopt if no layer has it or a whiteout hides it.
  absl::StatusOr<std::optional<LowerEntry>> Stat(absl::string_view name) const;
  // The directory `name`; one without layers if that is no directory.
  absl::StatusOr<LowerDirectory> Open(absl::string_view name) const;
  // All names, sorted bytewise.
  absl::StatusOr<std::vector<std::string>> List() const;
  // True if no layer has this directory.
  bool empty() const { return layer_fds_.empty(); }
  // The directory itself. Only of one that is not empty().
  absl::StatusOr<LowerEntry> StatSelf() const;
  // What each layer has of it (O_PATH), topmost first: stacked by overlayfs they are this
  // directory.
  absl::StatusOr<std::vector<UniqueFd>> OpenLayers() const;

 private:
  friend class LowerView;

  std::vector<int> layer_fds_;  // Topmost first.
  std::string path_;            // Of the directory, the same in all of them.
};

// Layer directories in overlay form: whiteouts are char devices 0:0, opaque directories carry
// trusted.overlay.opaque=y. Borrows the descriptors; the directories must not change meanwhile.
// Safe for concurrent calls.
class LowerView {
 public:
  LowerView() = default;  // Nothing below.
  explicit LowerView(std::vector<int> layer_dirfds_topmost_first);

  LowerDirectory Root() const;
  // The directory `path`; one without layers if that is no directory. Symlinks are not followed.
  absl::StatusOr<LowerDirectory> Open(absl::string_view path) const;
  // `path` as in layer/table.h; "" is the root. Symlinks are not followed: under one there is
  // nothing.
  absl::StatusOr<std::optional<LowerEntry>> Stat(absl::string_view path) const;
  // Names in directory `path`, sorted bytewise; none if it is no directory.
  absl::StatusOr<std::vector<std::string>> List(absl::string_view path) const;

 private:
  std::vector<int> layer_fds_;
};

}  // namespace farm

#endif  // FARM_LAYER_LOWER_VIEW_H_
