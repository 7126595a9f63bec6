// The root file system of a step: layers below, the step's changes on top.
//
//   ASSIGN_OR_RETURN(std::unique_ptr<Snapshot> snapshot,
//                    snapshotter.Prepare({app_layer, base_layer}, "/var/lib/farm/steps/l17"));
//   ... run something in snapshot->root_fd(), or write files through it ...
//   ... read the changes from snapshot->upper_fd() ...
//   RETURN_IF_ERROR(snapshot->Commit("/var/lib/farm/layers/3f2a"));
#ifndef FARM_WORKER_SNAPSHOTTER_H_
#define FARM_WORKER_SNAPSHOTTER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace farm {

// A prepared root. Destroying it removes it, unless it was committed. Not safe for concurrent
// calls.
class Snapshot {
 public:
  virtual ~Snapshot() = default;

  // The root directory of a detached mount: it has no path and vanishes with its last descriptor.
  // Use it with openat2(RESOLVE_IN_ROOT), or give it to a Sandbox. Opening device nodes through it
  // gives EACCES (nodev), making them works.
  virtual int root_fd() const = 0;

  // The directory of changes, in overlayfs' form: a character device 0:0 is a whiteout, the xattr
  // trusted.overlay.opaque=y hides what is below a directory; other trusted.overlay.* xattrs mean
  // nothing. Complete once nothing runs in the root any more.
  virtual int upper_fd() const = 0;

  // Ends the mount and renames the directory of changes to `path`, which must not exist and must be
  // on the file system of the step directory; the rest of the step directory goes to the trash.
  // Nothing is synced to disk. Call it once.
  virtual absl::Status Commit(const std::string& path) = 0;
};

// Safe for concurrent calls.
class Snapshotter {
 public:
  virtual ~Snapshotter() = default;

  // Mounts `layer_dirs` (unpacked layers, topmost first; none gives an empty root) under a fresh
  // directory of changes. `step_dir` must not exist; it is made, and holds all of the snapshot.
  // The layer directories are only read, and must stay while the snapshot lives.
  //   ALREADY_EXISTS       `step_dir` exists
  //   NOT_FOUND            a layer directory is missing
  //   FAILED_PRECONDITION  more layers than this kernel can stack; the message says how many it can
  virtual absl::StatusOr<std::unique_ptr<Snapshot>> Prepare(
      const std::vector<std::string>& layer_dirs, const std::string& step_dir) = 0;
};

}  // namespace farm

#endif  // FARM_WORKER_SNAPSHOTTER_H_
