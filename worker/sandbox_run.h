// What the implementations of Sandbox share: reading the spec, encoding it for a helper, and
// telling how a helper ended.
#ifndef FARM_WORKER_SANDBOX_RUN_H_
#define FARM_WORKER_SANDBOX_RUN_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "worker/helper_process.h"
#include "worker/mount_stubs.h"
#include "worker/sandbox.h"
#include "worker/sandbox_wire.h"
#include "worker/user_database.h"

namespace farm {

// INVALID_ARGUMENT for what no sandbox could run.
absl::Status CheckSpec(const SandboxSpec& spec);

// The spec's environment, with HOME.
std::vector<std::string> EnvironmentOf(const SandboxSpec& spec, const ResolvedUser& user);

// The spec's limits as this process may set them, and no core dumps, which could hold secrets.
std::vector<SandboxRlimit> RlimitsOf(const SandboxSpec& spec);

// Makes the mount points that the root does not have.
absl::Status AddStubs(const SandboxSpec& spec, MountStubs& stubs);

// The strings of a run message; see sandbox_wire.h.
struct RunStrings {
  std::string hostname, cwd, root_target, files_dir;
  std::vector<std::string> args, env;
  // As in the spec, but with targets as the helper is to use them.
  std::vector<SandboxMount> mounts;
};

struct RunMessage {
  wire::RunHeader header{};
  std::string body;
  std::vector<int> descriptors;
  std::vector<UniqueFd> mounts;  // Keeps those of `descriptors` open that the spec does not.
  // This kernel could not clone the root: the sandbox's mounts are seen through spec.root_fd until
  // HelperProcess::DropMounts().
  bool root_is_moved = false;
};

absl::StatusOr<RunMessage> EncodeRun(const RunStrings& strings, const SandboxSpec& spec,
                                     const ResolvedUser& user);

// Runs what was sent to `helper` to its end. The result is as Sandbox::Run() returns it; lines
// about a command that did not start go to `log`.
absl::StatusOr<ExitState> FinishRun(HelperProcess& helper, const SandboxSpec& spec,
                                    absl::Time started, LogSink& log, CancelToken& cancel);

// The result of a run whose command could not be executed, with errno `error`: says so in the log.
absl::StatusOr<ExitState> NotStarted(const std::string& command, int error, LogSink& log);

}  // namespace farm

#endif  // FARM_WORKER_SANDBOX_RUN_H_
