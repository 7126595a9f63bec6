#ifndef FARM_WORKER_COMPRESS_STEP_H_
#define FARM_WORKER_COMPRESS_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// CompressOperation: the compressed form of a layer's tar.
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteCompress(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_COMPRESS_STEP_H_
