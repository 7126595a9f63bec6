// Making directories inside a hostile root. Without the C++ library: the farm-sandbox helper uses
// it as well as the worker.
#ifndef FARM_WORKER_ROOT_DIRECTORY_H_
#define FARM_WORKER_ROOT_DIRECTORY_H_

#include <stdint.h>

namespace farm {

// Opens (O_PATH) the directory `path` of the root `root_fd`, as a process inside would resolve it.
// What is missing of it is made with mode 0755 and owned by uid:gid, as BuildKit does for WORKDIR.
// -1 with errno on an error.
int OpenOrMakeDirectory(int root_fd, const char* path, uint32_t uid, uint32_t gid);

}  // namespace farm

#endif  // FARM_WORKER_ROOT_DIRECTORY_H_
