#ifndef FARM_WORKER_SECCOMP_FILTER_H_
#define FARM_WORKER_SECCOMP_FILTER_H_

#include <string>

#include "absl/status/statusor.h"

namespace farm {

// The system calls that Docker's default profile allows under its default capabilities, as a BPF
// program (an array of struct sock_filter) for this machine. Others fail with EPERM; those newer
// than this profile with ENOSYS, so that C libraries fall back. Takes some 20 ms: do it once.
//   INTERNAL  libseccomp refused
absl::StatusOr<std::string> BuildSeccompFilter();

}  // namespace farm

#endif  // FARM_WORKER_SECCOMP_FILTER_H_
