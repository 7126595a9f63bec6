#ifndef FARM_WORKER_STEP_EXECUTOR_H_
#define FARM_WORKER_STEP_EXECUTOR_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel_token.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/sandbox.h"

namespace farm {

enum class StepPhase { kFetching, kRunning, kStoring };

// One execution of a step; borrows all that it names.
struct StepRun {
  // Names the step's directory and cgroup: [A-Za-z0-9_.-]+, unique among all runs of this worker.
  std::string id;
  const v1::StepSpec& spec;
  LogSink& log;  // what the command writes, and our own remarks
  CancelToken& cancel;
  std::function<void(StepPhase)> enter_phase;  // called on the executing thread
  // Has the ssh agent `id`, one of StepExecution.ssh_agents, answer a message of its protocol. Safe
  // for concurrent calls, which block. UNAVAILABLE: nobody answers.
  std::function<absl::StatusOr<std::string>(const std::string& id, absl::string_view question,
                                            CancelToken& cancel)>
      ask_ssh_agent = nullptr;
};

// Does steps. Safe for concurrent calls.
class StepExecutor {
 public:
  virtual ~StepExecutor() = default;

  // Brings the inputs, does the step, stores the output in the CAS. When it returns, in whatever
  // way, no process, mount or file of the step is left, but for caches (worker/layer_cache.h,
  // worker/cache_directories.h).
  // A command that fails is a result with its exit code.
  //   INVALID_ARGUMENT     what is asked for can't be done, here or elsewhere: an unknown user, a
  //   COPY
  //                        of a file over a directory, an archive that is none
  //   PERMISSION_DENIED    this worker's configuration does not allow it
  //   FAILED_PRECONDITION  an input can't be had; DATA_LOSS: it is damaged
  //   RESOURCE_EXHAUSTED   a limit of this worker
  //   DEADLINE_EXCEEDED, CANCELLED
  //   UNAVAILABLE          CAS, registry or disk: another try, or another worker, may do better
  virtual absl::StatusOr<v1::StepResult> Execute(const StepRun& run) = 0;
};

}  // namespace farm

#endif  // FARM_WORKER_STEP_EXECUTOR_H_
