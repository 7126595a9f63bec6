#ifndef FARM_WORKER_FETCH_FILE_STEP_H_
#define FARM_WORKER_FETCH_FILE_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// FetchFileOperation: a layer of one file. What the server says is unchanged gives the layer that
// the step names, and no bytes are moved.
//   INVALID_ARGUMENT  the server does not give it, or gives more than sources.bytes_max, or another
//                     checksum; see SourceClient::Get()
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteFetchFile(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_FETCH_FILE_STEP_H_
