#include "worker/run_step.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "base/ulimit.h"
#include "worker/layer_output.h"
#include "worker/run_mounts.h"

namespace farm {
namespace {

constexpr char kDefaultHostname[] = "buildkitsandbox";
constexpr int64_t kResolvConfBytesMax = 64 << 10;

// The Dockerfile's choice, else the farm's default. What a worker lets a command do is for the
// worker's configuration to say.
absl::StatusOr<NetworkMode> ChooseNetwork(const StepTools& tools, const v1::StepSpec& spec) {
  v1::NetworkMode asked = spec.identity().run().network();
  if (asked == v1::NETWORK_MODE_UNSPECIFIED) asked = spec.execution().network();
  if (asked == v1::NETWORK_MODE_UNSPECIFIED) asked = tools.network_default;
  if (asked == v1::NETWORK_MODE_UNSPECIFIED) {
    return absl::InvalidArgumentError(
        "neither the RUN nor the farm's configuration says which network it gets "
        "(run_network_default: isolated, none or host)");
  }
  if (!tools.networks.contains(asked)) {
    if (asked == v1::NETWORK_MODE_ISOLATED && !tools.isolated_missing.empty()) {
      return absl::FailedPreconditionError(
          absl::StrCat("this worker has no isolated network: ", tools.isolated_missing));
    }
    return absl::PermissionDeniedError(absl::StrCat(
        "network mode ", absl::StripPrefix(v1::NetworkMode_Name(asked), "NETWORK_MODE_"),
        " is not permitted on this worker (\"networks\" in its configuration)"));
  }
  switch (asked) {
    case v1::NETWORK_MODE_NONE:
      return NetworkMode::kNone;
    case v1::NETWORK_MODE_HOST:
      return NetworkMode::kHost;
    case v1::NETWORK_MODE_ISOLATED:
      return NetworkMode::kIsolated;
    default:
      return absl::InvalidArgumentError("unknown network mode");
  }
}

absl::Status CheckSecurity(const StepTools& tools, const v1::RunOperation& operation) {
  if (!operation.insecure() || tools.insecure_allowed) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "RUN --security=insecure is not permitted on this worker (\"insecure_allowed\" in its "
      "configuration)");
}

std::string HostsFile(const std::string& hostname, const v1::StepExecution& execution) {
  std::string text = absl::StrCat("127.0.0.1\tlocalhost ", hostname,
                                  "\n::1\tlocalhost ip6-localhost ip6-loopback\n");
  for (const v1::HostAlias& alias : execution.extra_hosts()) {
    absl::StrAppend(&text, alias.address(), "\t", alias.name(), "\n");
  }
  return text;
}

// The host's for a command with the host's network; one without a network asks nobody.
absl::StatusOr<std::string> ResolvConf(const StepTools& tools, NetworkMode network) {
  if (network == NetworkMode::kNone) return "";
  if (network == NetworkMode::kIsolated) return tools.isolated_resolv_conf();
  return ReadFile("/etc/resolv.conf", kResolvConfBytesMax).value_or("");
}

// The coordinator has checked their names and values.
std::vector<SandboxRlimit> RlimitsFrom(const v1::RunOperation& operation) {
  const auto value = [](int64_t limit) {
    return limit < 0 ? uint64_t{RLIM_INFINITY} : static_cast<uint64_t>(limit);
  };
  std::vector<SandboxRlimit> rlimits;
  for (const v1::Ulimit& ulimit : operation.ulimits()) {
    const std::optional<int> resource = UlimitResource(ulimit.name());
    // The sandbox sees to core dumps itself.
    if (!resource.has_value() || *resource == RLIMIT_CORE) continue;
    rlimits.push_back(
        {.resource = *resource, .soft = value(ulimit.soft()), .hard = value(ulimit.hard())});
  }
  return rlimits;
}

SandboxMount ReadOnlyFile(std::string target, std::string contents) {
  SandboxMount mount;
  mount.kind = SandboxMount::Kind::kFile;
  mount.target = std::move(target);
  mount.contents = std::move(contents);
  return mount;
}

absl::Duration Timeout(const v1::StepLimits& limits, const v1::StepExecution& execution) {
  absl::Duration timeout = absl::InfiniteDuration();
  if (limits.has_timeout()) timeout = DurationFromProto(limits.timeout());
  if (execution.has_timeout()) timeout = std::min(timeout, DurationFromProto(execution.timeout()));
  return timeout;
}

SandboxSpec MakeSpec(const StepTools& tools, const StepRun& run, NetworkMode network,
                     std::string resolv_conf, int root_fd) {
  const v1::RunOperation& operation = run.spec.identity().run();
  const v1::StepExecution& execution = run.spec.execution();
  SandboxSpec spec;
  spec.id = run.id;
  spec.args.assign(operation.args().begin(), operation.args().end());
  spec.env.assign(operation.env().begin(), operation.env().end());
  spec.env.insert(spec.env.end(), execution.extra_env().begin(), execution.extra_env().end());
  spec.cwd = operation.cwd().empty() ? "/" : operation.cwd();
  spec.user = operation.user();
  spec.root_fd = root_fd;
  spec.hostname = operation.hostname().empty() ? kDefaultHostname : operation.hostname();
  spec.network = network;
  spec.insecure = operation.insecure();
  spec.mounts.push_back(ReadOnlyFile("/etc/hosts", HostsFile(spec.hostname, execution)));
  spec.mounts.push_back(ReadOnlyFile("/etc/resolv.conf", std::move(resolv_conf)));
  if (tools.limits.shm_bytes() > 0) spec.shm_bytes = tools.limits.shm_bytes();
  if (operation.shm_bytes() > 0) spec.shm_bytes = operation.shm_bytes();
  spec.rlimits = RlimitsFrom(operation);
  spec.cgroup_parent = execution.cgroup_parent();
  spec.limits = {.memory_bytes = tools.limits.memory_bytes(),
                 .cpus = tools.limits.cpus(),
                 .pids = tools.limits.processes_max()};
  spec.timeout = Timeout(tools.limits, execution);
  return spec;
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteRun(const StepTools& tools, const StepRun& run) {
  const v1::RunOperation& operation = run.spec.identity().run();
  if (operation.args().empty()) return absl::InvalidArgumentError("no command to run");
  ASSIGN_OR_RETURN(const NetworkMode network, ChooseNetwork(tools, run.spec));
  RETURN_IF_ERROR(CheckSecurity(tools, operation));

  run.enter_phase(StepPhase::kFetching);
  const absl::Time fetch_started = tools.clock.Now();
  InputFetcher::Errand errand(run.spec, run.cancel);
  ASSIGN_OR_RETURN(const LayerStack root,
                   tools.inputs.FetchLayers(run.spec.inputs().root(), errand));
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshot> snapshot,
                   tools.snapshotter.Prepare(root.directories(), tools.StepDir(run.id)));
  std::optional<RunMounts> mounts(std::in_place, tools, run, tools.StepDir(run.id));
  RETURN_IF_ERROR(mounts->Prepare(errand));

  run.enter_phase(StepPhase::kRunning);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  ASSIGN_OR_RETURN(std::string resolv_conf, ResolvConf(tools, network));
  SandboxSpec spec = MakeSpec(tools, run, network, std::move(resolv_conf), snapshot->root_fd());
  mounts->AddTo(spec);
  // For the sandbox alone, beside the snapshot, so that it vanishes with it.
  spec.scratch_dir = tools.StepDir(run.id) + "/scratch";
  if (mkdir(spec.scratch_dir.c_str(), 0700) != 0) return ErrnoStatus(errno, spec.scratch_dir);
  ASSIGN_OR_RETURN(const ExitState exit, tools.sandbox.Run(spec, run.log, run.cancel));
  mounts.reset();  // Others may wait for what it holds.
  times.finished = tools.clock.Now();

  v1::StepResult result;
  result.set_exit_code(exit.exit_code);
  result.set_out_of_memory(exit.oom_killed);
  v1::ResourceUsage& usage = *result.mutable_usage();
  *usage.mutable_cpu() = DurationToProto(exit.usage.cpu_time);
  usage.set_memory_peak_bytes(exit.usage.memory_peak_bytes);
  *usage.mutable_fetch() = DurationToProto(times.started - fetch_started);
  usage.set_fetched_bytes(errand.fetched_bytes);
  SetTimes(times, result);
  if (!exit.ok()) return result;

  run.enter_phase(StepPhase::kStoring);
  RETURN_IF_ERROR(StoreLayer(tools, run, *snapshot, root, {}, times, result));
  return result;
}

}  // namespace farm
