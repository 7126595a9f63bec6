#include "worker/local_step_executor.h"

#include "worker/compress_step.h"
#include "worker/copy_step.h"
#include "worker/fetch_file_step.h"
#include "worker/flatten_step.h"
#include "worker/git_steps.h"
#include "worker/make_directory_step.h"
#include "worker/push_step.h"
#include "worker/rewrite_times_step.h"
#include "worker/run_step.h"
#include "worker/unpack_step.h"

namespace farm {

absl::StatusOr<v1::StepResult> LocalStepExecutor::Execute(const StepRun& run) {
  switch (run.spec.identity().operation_case()) {
    case v1::StepIdentity::kRun:
      return ExecuteRun(tools_, run);
    case v1::StepIdentity::kCopy:
      return ExecuteCopy(tools_, run);
    case v1::StepIdentity::kMakeDirectory:
      return ExecuteMakeDirectory(tools_, run);
    case v1::StepIdentity::kUnpack:
      return ExecuteUnpack(tools_, run);
    case v1::StepIdentity::kCompress:
      return ExecuteCompress(tools_, run);
    case v1::StepIdentity::kPush:
      return ExecutePush(tools_, run);
    case v1::StepIdentity::kFlatten:
      return ExecuteFlatten(tools_, run);
    case v1::StepIdentity::kRewriteTimes:
      return ExecuteRewriteTimes(tools_, run);
    case v1::StepIdentity::kFetchFile:
      return ExecuteFetchFile(tools_, run);
    case v1::StepIdentity::kResolveGit:
      return ExecuteResolveGit(tools_, run);
    case v1::StepIdentity::kFetchGit:
      return ExecuteFetchGit(tools_, run);
    case v1::StepIdentity::OPERATION_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("the step has no operation that this worker knows");
}

}  // namespace farm
