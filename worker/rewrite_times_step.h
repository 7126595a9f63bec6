#ifndef FARM_WORKER_REWRITE_TIMES_STEP_H_
#define FARM_WORKER_REWRITE_TIMES_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// RewriteTimesOperation: a layer with the files of another one and earlier times.
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteRewriteTimes(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_REWRITE_TIMES_STEP_H_
