#ifndef FARM_WORKER_OCI_RUNTIME_SANDBOX_H_
#define FARM_WORKER_OCI_RUNTIME_SANDBOX_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/helper_pool.h"
#include "worker/sandbox.h"

namespace farm {

// Runs steps by an OCI runtime: crun, runc, runsc (gVisor), or a program with their command line.
// The same restrictions as NamespaceSandbox, said in a bundle's config.json. The runtime works in a
// pid and mount namespace of ours, so that what it leaves behind dies with the run, and the root
// and the files in memory are mounts that the host never sees.
class OciRuntimeSandbox final : public Sandbox {
 public:
  // `runtime` is a program's path or a name to look for in PATH. Borrows `pool`.
  //   NOT_FOUND  there is no such program
  static absl::StatusOr<std::unique_ptr<OciRuntimeSandbox>> Create(const std::string& runtime,
                                                                   HelperPool& pool);

  // Needs spec.scratch_dir for the bundle.
  absl::StatusOr<ExitState> Run(const SandboxSpec& spec, LogSink& log,
                                CancelToken& cancel) override;

 private:
  OciRuntimeSandbox(std::string program, HelperPool& pool)
      : program_(std::move(program)), pool_(pool) {}

  const std::string program_;
  HelperPool& pool_;
};

// Whether crun would refuse this host: with v1 controllers and, beside them, a v2 hierarchy that
// has controllers of its own. HelperPool::Options::hide_unified is the cure.
bool HostHasHybridCgroups();

}  // namespace farm

#endif  // FARM_WORKER_OCI_RUNTIME_SANDBOX_H_
