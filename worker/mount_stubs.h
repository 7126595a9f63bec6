#ifndef FARM_WORKER_MOUNT_STUBS_H_
#define FARM_WORKER_MOUNT_STUBS_H_

#include <sys/types.h>
#include <time.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace farm {

// Mount points that a root does not have. They are made before a run and taken away after it, with
// their parents' times put back, so that they are in no layer. Not safe for concurrent calls.
//
// A step may have moved or replaced things meanwhile, so a stub is remembered as an open directory
// and an inode, never as a path that is looked up again.
class MountStubs {
 public:
  // Borrows the root.
  explicit MountStubs(int root_fd) : root_fd_(root_fd) {}
  // Removes what is left, if Remove() was not called.
  ~MountStubs() { Remove(); }
  MountStubs(const MountStubs&) = delete;
  MountStubs& operator=(const MountStubs&) = delete;

  // Makes `path` and its missing parents if it does not exist: directories of mode 0755, or an
  // empty file at the end. The final component may be a symbolic link; what it points to is made.
  //   INVALID_ARGUMENT  a parent is no directory, or a link leads nowhere sensible
  absl::Status Add(const std::string& path, bool directory);

  // Call it when nothing runs in the root any more. Stubs that a step has filled or replaced stay.
  // Errors are logged.
  void Remove();

 private:
  struct Stub {
    UniqueFd parent;
    std::string name;
    bool directory;
    ino_t inode;
    timespec parent_mtime_before, parent_mtime_after;
  };

  absl::Status Make(const UniqueFd& parent, const std::string& name, bool directory);

  const int root_fd_;
  std::vector<Stub> stubs_;  // In the order they were made.
};

}  // namespace farm

#endif  // FARM_WORKER_MOUNT_STUBS_H_
