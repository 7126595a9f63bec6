#ifndef FARM_BASE_STATE_DIR_H_
#define FARM_BASE_STATE_DIR_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace farm {

// Takes `dir` for one process of `program` ("coordinator"): makes it if it is missing, for its
// owner alone (0700; parents 0755), and locks DIR/PROGRAM.lock for as long as the result lives. A
// process that dies, however, holds nothing.
//   FAILED_PRECONDITION  another process has it
//   and errors of the file system
absl::StatusOr<UniqueFd> LockStateDir(const std::string& dir, absl::string_view program);

}  // namespace farm

#endif  // FARM_BASE_STATE_DIR_H_
