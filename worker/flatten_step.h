#ifndef FARM_WORKER_FLATTEN_STEP_H_
#define FARM_WORKER_FLATTEN_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// FlattenOperation: the merged root as one tar.
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteFlatten(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_FLATTEN_STEP_H_
