#ifndef FARM_WORKER_REMOVE_TREE_H_
#define FARM_WORKER_REMOVE_TREE_H_

#include <string>

#include "absl/status/status.h"

namespace farm {

// Deletes `path` and all beneath it, whatever a step left there: trees of any depth (in bounded
// descriptors and stack), names of any bytes, immutable and append-only files. Symbolic links are
// deleted, not followed; another file system mounted beneath is an error and is left alone.
// OK if `path` does not exist. On an error as much as possible has been deleted.
absl::Status RemoveTree(const std::string& path);

}  // namespace farm

#endif  // FARM_WORKER_REMOVE_TREE_H_
