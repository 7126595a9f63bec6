#ifndef FARM_WORKER_UNPACK_STEP_H_
#define FARM_WORKER_UNPACK_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// UnpackOperation: a layer of a blob, which is brought into the CAS if only a registry has it.
// DATA_LOSS if its tar has not the expected diffID.
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteUnpack(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_UNPACK_STEP_H_
