// Writing what COPY and ADD copy into a root file system, as BuildKit writes it:
//  - Missing parents are made with mode 0755 and the owner that --chown asks for (else 0:0).
//  - Directories merge. One that was there before gets owner, mode and time of the copied one.
//  - A file, symlink or device replaces what is there, unless that is a directory.
#ifndef FARM_WORKER_COPY_TARGET_H_
#define FARM_WORKER_COPY_TARGET_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/symbolic_mode.h"
#include "base/unique_fd.h"
#include "layer/paths.h"
#include "layer/table.h"

namespace farm {

struct Owner {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

// What is written of an entry besides its bytes. Borrows the xattrs.
struct EntryMetadata {
  uint32_t mode = 0;  // 07777
  Owner owner;
  absl::Time mtime;  // written in whole seconds, as layers have it
  const std::map<std::string, std::string>* xattrs = nullptr;  // null: none
};

// Not safe for concurrent calls; nothing else may write into the root meanwhile.
class CopyTarget {
 public:
  struct Options {
    std::optional<Owner> owner;  // --chown: for all that is written; unset: each entry's own
    // --chmod, at most one of both: for all that is written but symlinks. The first is 07777.
    std::optional<uint32_t> mode;
    std::optional<SymbolicMode> mode_change;
  };

  // A directory of the root. `path` is where it really is ("usr/lib"; "" is the root), symlinks
  // resolved.
  struct Directory {
    UniqueFd fd;
    std::string path;
  };
  // A name in a directory.
  struct Place {
    Directory directory;
    std::string name;     // "": the directory itself
    bool exists = false;  // as something other than a directory, if `name` is not ""
  };

  // Borrows the root.
  CopyTarget(int root_fd, Options options) : root_fd_(root_fd), options_(std::move(options)) {}

  // The directory `path`; what is missing is made. Symlinks are followed within the root.
  //   INVALID_ARGUMENT  something on the way is no directory ("mkdir /a/b: not a directory")
  absl::StatusOr<Directory> MakeDirectories(absl::string_view path);

  // Where `path` is: the directory itself if it is one, else the name in its directory, which is
  // made if it is missing. Symlinks are followed, the last one too.
  absl::StatusOr<Place> Locate(absl::string_view path);

  // The directory `name` of `parent`, made or as it is. INVALID_ARGUMENT "cannot copy to
  // non-directory: /path". Finish() it after its contents, which change its time.
  absl::StatusOr<Directory> EnterDirectory(const Directory& parent, absl::string_view name);
  // An empty file, replacing what is there. INVALID_ARGUMENT "cannot replace to directory /path
  // with file", as for all below.
  absl::StatusOr<UniqueFd> CreateFile(const Directory& parent, absl::string_view name);
  // Sets metadata of an open file or directory.
  absl::Status Finish(int fd, const EntryMetadata& metadata);
  // Sets only the time of a directory.
  absl::Status SetTime(const Directory& directory, absl::Time mtime);

  absl::Status CreateSymlink(const Directory& parent, absl::string_view name,
                             const std::string& link_target, const EntryMetadata& metadata);
  // A device or FIFO.
  absl::Status CreateNode(const Directory& parent, absl::string_view name, EntryType type,
                          uint32_t device_major, uint32_t device_minor,
                          const EntryMetadata& metadata);
  // One more name for a file that was created before, at `existing` (relative to the root).
  absl::Status CreateLink(const Directory& parent, absl::string_view name,
                          const std::string& existing);

 private:
  absl::StatusOr<Place> Walk(absl::string_view path, bool last_is_directory);
  uint32_t ModeOf(const EntryMetadata& metadata, bool is_directory) const;
  template <typename Create>
  absl::Status CreateReplacing(const Directory& parent, const std::string& name,
                               const Create& create);

  const int root_fd_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_WORKER_COPY_TARGET_H_
