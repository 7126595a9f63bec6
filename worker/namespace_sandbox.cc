#include "worker/namespace_sandbox.h"

#include <limits.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "worker/sandbox_run.h"

namespace farm {

absl::StatusOr<ExitState> NamespaceSandbox::Run(const SandboxSpec& spec, LogSink& log,
                                                CancelToken& cancel) {
  const absl::Time started = absl::Now();
  RETURN_IF_ERROR(CheckSpec(spec));
  ASSIGN_OR_RETURN(const ResolvedUser user, ResolveUser(spec.root_fd, spec.user),
                   _ << "USER " << spec.user);
  ASSIGN_OR_RETURN(const RunMessage message, EncodeRun({.hostname = spec.hostname,
                                                        .cwd = spec.cwd,
                                                        .args = spec.args,
                                                        .env = EnvironmentOf(spec, user),
                                                        .mounts = spec.mounts},
                                                       spec, user));
  // Outlives the helper: stubs go when nothing runs any more.
  MountStubs stubs(spec.root_fd);
  RETURN_IF_ERROR(AddStubs(spec, stubs));

  ASSIGN_OR_RETURN(const std::unique_ptr<HelperProcess> helper,
                   pool_.Take(HelperKindFor(spec.network, /*is_runtime=*/false, spec.insecure),
                              spec.cgroup_parent));
  CgroupLimits limits = spec.limits;
  if (limits.pids > 0) ++limits.pids;  // The helper is one.
  RETURN_IF_ERROR(helper->cgroup().SetLimits(limits));
  RETURN_IF_ERROR(helper->Send(message.header, message.body, message.descriptors));
  absl::StatusOr<ExitState> exit = FinishRun(*helper, spec, started, log, cancel);
  if (message.root_is_moved) helper->DropMounts();  // They cover the stubs.
  return exit;
}

std::string DefaultHelperProgram() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  const absl::string_view self(path, length < 0 ? 0 : static_cast<size_t>(length));
  return absl::StrCat(self.substr(0, self.rfind('/') + 1), "farm-sandbox");
}

}  // namespace farm
