#ifndef FARM_WORKER_GIT_STEPS_H_
#define FARM_WORKER_GIT_STEPS_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// ResolveGitOperation: which commit a reference is. A branch goes before a tag of its name; an
// annotated tag is the commit that it names.
// FetchGitOperation: a layer of the commit's files, their times those of the checkout, and of its
// submodules' if they are wanted.
//
// Both by the host's git (worker/git_command.h), which connects only to an address that
// worker/source_client.h found allowed.
//   INVALID_ARGUMENT     the repository can't be had, has no such reference, commit or directory,
//                        or is over sources.bytes_max or the limits of worker/git_checkout.h
//   UNAVAILABLE          this host has no git, or one that is too old
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteResolveGit(const StepTools& tools, const StepRun& run);
absl::StatusOr<v1::StepResult> ExecuteFetchGit(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_GIT_STEPS_H_
