// What starting programs takes besides posix_spawn: pipes to them, and their end.
#ifndef FARM_BASE_CHILD_PROCESS_H_
#define FARM_BASE_CHILD_PROCESS_H_

#include <sys/types.h>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace farm {

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

// Both ends are closed on exec.
absl::StatusOr<Pipe> MakePipe();

// Of a child that cannot be waited for: it is none, or whoever started us has SIGCHLD ignored.
inline constexpr int kExitStatusUnknown = 255;

// Waits for the end of a child and reaps it. Its exit status as a shell gives it: 128 + N if signal
// N has ended it.
int ReapChild(pid_t pid);

}  // namespace farm

#endif  // FARM_BASE_CHILD_PROCESS_H_
