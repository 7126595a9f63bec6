#ifndef FARM_WORKER_NAMESPACE_SANDBOX_H_
#define FARM_WORKER_NAMESPACE_SANDBOX_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/cgroup.h"
#include "worker/helper_pool.h"
#include "worker/sandbox.h"

namespace farm {

// Runs steps as Docker does (docs/sandbox.md), by our own helper program: mount, pid, ipc, uts,
// cgroup and network namespaces, Docker's capabilities, system call filter, masked paths. No user
// namespace: root in a step is root, held by the above.
class NamespaceSandbox final : public Sandbox {
 public:
  // Borrows `pool`.
  explicit NamespaceSandbox(HelperPool& pool) : pool_(pool) {}

  absl::StatusOr<ExitState> Run(const SandboxSpec& spec, LogSink& log,
                                CancelToken& cancel) override;

 private:
  HelperPool& pool_;
};

// Where farm-sandbox is installed: beside the running program.
std::string DefaultHelperProgram();

}  // namespace farm

#endif  // FARM_WORKER_NAMESPACE_SANDBOX_H_
