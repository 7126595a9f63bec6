#ifndef FARM_WORKER_TESTING_SCRIPTED_SANDBOX_H_
#define FARM_WORKER_TESTING_SCRIPTED_SANDBOX_H_

#include <functional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "worker/sandbox.h"

namespace farm {

// A sandbox whose runs do what the test says, and nothing in namespaces.
class ScriptedSandbox final : public Sandbox {
 public:
  using Script =
      std::function<absl::StatusOr<ExitState>(const SandboxSpec&, LogSink&, CancelToken&)>;

  // By default every run succeeds and changes nothing.
  explicit ScriptedSandbox(Script script = [](const SandboxSpec&, LogSink&,
                                              CancelToken&) -> absl::StatusOr<ExitState> {
    return ExitState();
  })
      : script_(std::move(script)) {}

  absl::StatusOr<ExitState> Run(const SandboxSpec& spec, LogSink& log,
                                CancelToken& cancel) override {
    {
      MutexLock lock(mu_);
      runs_.push_back(spec);
    }
    return script_(spec, log, cancel);
  }

  void set_script(Script script) { script_ = std::move(script); }
  std::vector<SandboxSpec> runs() const {
    MutexLock lock(mu_);
    return runs_;
  }

 private:
  Script script_;
  mutable Mutex mu_;
  std::vector<SandboxSpec> runs_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_WORKER_TESTING_SCRIPTED_SANDBOX_H_
