#ifndef FARM_WORKER_LOCAL_STEP_EXECUTOR_H_
#define FARM_WORKER_LOCAL_STEP_EXECUTOR_H_

#include <utility>

#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// Does steps on this host: each operation has a file of its own, run_step.h and so on.
class LocalStepExecutor final : public StepExecutor {
 public:
  explicit LocalStepExecutor(StepTools tools) : tools_(std::move(tools)) {}

  absl::StatusOr<v1::StepResult> Execute(const StepRun& run) override;

 private:
  const StepTools tools_;
};

}  // namespace farm

#endif  // FARM_WORKER_LOCAL_STEP_EXECUTOR_H_
