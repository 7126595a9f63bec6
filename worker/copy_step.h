#ifndef FARM_WORKER_COPY_STEP_H_
#define FARM_WORKER_COPY_STEP_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// CopyOperation: COPY and ADD. No process runs: files are written by this one, as copy_target.h
// says. Owners are those of the source (contexts have 0:0) unless --chown gives one.
// See StepExecutor::Execute().
absl::StatusOr<v1::StepResult> ExecuteCopy(const StepTools& tools, const StepRun& run);

}  // namespace farm

#endif  // FARM_WORKER_COPY_STEP_H_
