#ifndef FARM_WORKER_GIT_CHECKOUT_H_
#define FARM_WORKER_GIT_CHECKOUT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

inline constexpr int64_t kGitFilesMax = 1'000'000;  // of a commit, with its submodules'
inline constexpr int kGitSubmodulesMax = 1000;      // with those of submodules

// Writes the files of `operation`, which has passed the checks of its fields, somewhere below the
// directory `dir`; returns where. Each submodule is a repository that is reached, fetched and
// written as the first one is, by the commit that the repository above it names; the secrets of the
// first one's origin are sent to that alone.
//   INVALID_ARGUMENT  a repository can't be had, has no such commit or directory, or all is over
//                     sources.bytes_max or the limits above; a submodule has no URL that is of use
// UNAVAILABLE, DEADLINE_EXCEEDED, CANCELLED as RunGit()
absl::StatusOr<std::string> CheckOutGit(const StepTools& tools, const StepRun& run,
                                        const v1::FetchGitOperation& operation,
                                        const std::string& dir);

}  // namespace farm

#endif  // FARM_WORKER_GIT_CHECKOUT_H_
