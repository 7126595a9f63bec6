// Paths as a process inside a root would resolve them: "/" and ".." end at the root, symbolic links
// stay inside. The root's contents are hostile; nothing here ever leaves it.
#ifndef FARM_WORKER_ROOT_PATH_H_
#define FARM_WORKER_ROOT_PATH_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace farm {

// openat2(2) beneath `root_fd`, magic links (/proc/self/fd/N) refused. `flags` as in open(2),
// O_CLOEXEC is added. Errors as ErrnoStatus with the path.
absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags,
                                    uint32_t mode = 0);

// All of a regular file. NOT_FOUND; RESOURCE_EXHAUSTED over `bytes_max`; INVALID_ARGUMENT if it is
// no regular file (a FIFO would block for ever).
absl::StatusOr<std::string> ReadFileInRoot(int root_fd, const std::string& path, int64_t bytes_max);

}  // namespace farm

#endif  // FARM_WORKER_ROOT_PATH_H_
