// farm-worker: takes steps from a coordinator and runs them.
//
// This file is the system diagram: every part is made here, leaves first, and handed to those who
// use it. Destruction in reverse order is the shutdown.
#include <fcntl.h>
#include <grpcpp/channel.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/random/random.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/byte_stream.h"
#include "base/clock.h"
#include "base/config_file.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/state_dir.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "base/unique_fd.h"
#include "base/version.h"
#include "cas/disk_blob_store.h"
#include "cas/garbage_collector.h"
#include "cas/host_blob_store.h"
#include "cas/remote_blob_store.h"
#include "cas/verifying_blob_store.h"
#include "oci/http_registry.h"
#include "oci/platform.h"
#include "rpc/address.h"
#include "rpc/channel.h"
#include "worker/agent.h"
#include "worker/cgroup.h"
#include "worker/helper_pool.h"
#include "worker/input_fetcher.h"
#include "worker/isolated_network.h"
#include "worker/layer_cache.h"
#include "worker/lease_client.h"
#include "worker/local_step_executor.h"
#include "worker/namespace_sandbox.h"
#include "worker/oci_runtime_sandbox.h"
#include "worker/overlay_snapshotter.h"
#include "worker/source_client.h"
#include "worker/trash.h"
#include "worker/worker_config.h"

namespace farm {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitTrouble = 3;
constexpr char kNamespacesRuntime[] = "namespaces";

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

// Of this worker alone, so that it can remove at its start all control groups and interfaces that
// are called so.
std::string WorkerOwner(const std::string& state_dir) {
  return absl::StrCat("farm-worker-", DigestOf(state_dir).hex().substr(0, 8));
}

std::vector<std::string> LimitsMissing(const CgroupCapabilities& capabilities) {
  std::vector<std::string> missing;
  if (!capabilities.memory) missing.push_back("memory");
  if (!capabilities.cpu) missing.push_back("cpu");
  if (!capabilities.pids) missing.push_back("pids");
  return missing;
}

// Null if the worker is not to have it, or can't: then `missing` says why.
std::unique_ptr<IsolatedNetwork> MakeIsolatedNetwork(const v1::WorkerConfig& config,
                                                     std::string owner, std::string& missing) {
  const auto& permitted = config.networks();
  if (std::find(permitted.begin(), permitted.end(), v1::NETWORK_MODE_ISOLATED) == permitted.end()) {
    return nullptr;
  }
  const auto make = [&]() -> absl::StatusOr<std::unique_ptr<IsolatedNetwork>> {
    ASSIGN_OR_RETURN(IsolatedNetwork::Options options, IsolatedNetworkOptions(config));
    options.owner = std::move(owner);
    return IsolatedNetwork::Create(std::move(options));
  };
  absl::StatusOr<std::unique_ptr<IsolatedNetwork>> made = make();
  if (made.ok()) return *std::move(made);
  missing = std::string(made.status().message());
  LogWarning("no isolated network for steps", {{"why", missing}});
  return nullptr;
}

std::vector<v1::NetworkMode> NetworksOf(const v1::WorkerConfig& config, bool has_isolated) {
  std::vector<v1::NetworkMode> networks;
  for (const int network : config.networks()) {
    if (network == v1::NETWORK_MODE_ISOLATED && !has_isolated) continue;
    networks.push_back(static_cast<v1::NetworkMode>(network));
  }
  return networks;
}

// For a RUN of a local farm that names no network: the first one. Isolated is replaced by host
// where that is permitted; by none never, which would be another result under the same key.
v1::NetworkMode FirstNetwork(const v1::WorkerConfig& config,
                             const std::vector<v1::NetworkMode>& networks) {
  const v1::NetworkMode first = config.networks(0);
  const auto has = [&networks](v1::NetworkMode mode) {
    return std::find(networks.begin(), networks.end(), mode) != networks.end();
  };
  return !has(first) && has(v1::NETWORK_MODE_HOST) ? v1::NETWORK_MODE_HOST : first;
}

std::string TextOf(const std::vector<v1::NetworkMode>& networks) {
  return absl::StrJoin(networks, ",", [](std::string* out, v1::NetworkMode network) {
    out->append(
        absl::AsciiStrToLower(absl::StripPrefix(v1::NetworkMode_Name(network), "NETWORK_MODE_")));
  });
}

absl::StatusOr<std::unique_ptr<Sandbox>> MakeSandbox(const std::string& runtime, HelperPool& pool) {
  if (runtime == kNamespacesRuntime) return std::make_unique<NamespaceSandbox>(pool);
  ASSIGN_OR_RETURN(std::unique_ptr<OciRuntimeSandbox> sandbox,
                   OciRuntimeSandbox::Create(runtime, pool), AsConfigError(_ << "runtime"));
  return sandbox;
}

HttpRegistryOptions RegistryOptionsOf(const v1::RegistryConfig& config) {
  HttpRegistryOptions options;
  options.plain_http_hosts.insert(config.insecure().begin(), config.insecure().end());
  for (const v1::RegistryConfig::Mirror& mirror : config.mirrors()) {
    options.mirrors[mirror.host()].assign(mirror.mirrors().begin(), mirror.mirrors().end());
  }
  options.ca_file = config.ca_file();
  options.user_agent = absl::StrCat("farm/", Version());
  return options;
}

SourceClient::Options SourceOptionsOf(const v1::WorkerConfig& config, bool is_local) {
  SourceClient::Options options;
  options.ca_file = config.registries().ca_file();
  options.user_agent = absl::StrCat("farm/", Version());
  options.loopback_allowed = config.sources().loopback_allowed();
  options.is_local = is_local;
  options.bytes_max = config.sources().bytes_max();
  options.timeout = DurationFromProto(config.sources().timeout());
  return options;
}

v1::Platform HostPlatform() {
  const Platform host = Platform::Host();
  v1::Platform platform;
  platform.set_os(host.os);
  platform.set_architecture(host.architecture);
  platform.set_variant(host.variant);
  return platform;
}

std::string RandomIncarnation() {
  absl::BitGen random;
  return absl::StrCat(absl::Hex(absl::Uniform<uint64_t>(random), absl::kZeroPad16));
}

// Waits for signals on a thread of its own: the first SIGTERM or SIGINT drains, the second cancels.
class SignalThread {
 public:
  SignalThread(const sigset_t& signals, Agent& agent)
      : thread_([this, signals, &agent] {
          for (int received = 0;; ++received) {
            int signal = 0;
            sigwait(&signals, &signal);
            if (ending_) return;
            LogInfo(received == 0 ? "draining" : "cancelling steps",
                    {{"signal", absl::StrCat(signal)}});
            received == 0 ? agent.Drain() : agent.Stop();
          }
        }) {}
  ~SignalThread() {
    ending_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

 private:
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

absl::Status Run(const v1::WorkerConfig& config, const sigset_t& signals) {
  const std::string& dir = config.state_dir();
  // Each cleans up at its start what it takes for its own leftovers.
  ASSIGN_OR_RETURN(const UniqueFd lock, LockStateDir(dir, "worker"));
  ASSIGN_OR_RETURN(const Address coordinator, ParseAddress(config.coordinator()));
  const bool is_local = coordinator.reach == Address::Reach::kUnixSocket;
  SystemClock clock;

  // What an earlier run left: nothing of it is used again.
  Trash trash(dir + "/trash");
  for (const char* name : {"/steps", "/tmp"}) {
    RETURN_IF_ERROR(MakeDirectory(dir + name));
    RETURN_IF_ERROR(trash.ThrowContents(dir + name));
  }
  const std::unique_ptr<CgroupTree> cgroups = OpenCgroupTree(WorkerOwner(dir));
  cgroups->RemoveLeftovers();
  auto cgroup_parents =
      OpenCgroupParents({config.cgroup_parents().begin(), config.cgroup_parents().end()},
                        WorkerOwner(dir), cgroups->capabilities());
  std::vector<std::string> cgroup_parent_names;
  for (const auto& [parent, tree] : cgroup_parents) cgroup_parent_names.push_back(parent);

  // Where bytes come from and go to.
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::Channel> channel,
                   MakeChannel(config.coordinator(), config.tls(), config.token_file()),
                   AsConfigError(_));
  RemoteBlobStore remote(channel);
  VerifyingBlobStore verifying(remote);
  // On the coordinator's host blobs move by rename. What this worker hands over it has hashed.
  std::unique_ptr<DiskBlobStore> disk;
  std::unique_ptr<HostBlobStore> host;
  if (!config.shared_blob_dir().empty()) {
    ASSIGN_OR_RETURN(
        disk, DiskBlobStore::Open(clock, {.dir = config.shared_blob_dir(),
                                          .last_use_resolution = kOtherProcessLastUseResolution,
                                          .trust_files = true}));
    host = std::make_unique<HostBlobStore>(verifying, *disk);
  }
  BlobStore& blobs = host != nullptr ? static_cast<BlobStore&>(*host) : verifying;
  HttpRegistry registry(RegistryOptionsOf(config.registries()), clock);
  ASSIGN_OR_RETURN(std::string boot_id, ReadFile("/proc/sys/kernel/random/boot_id", 64));
  absl::StripTrailingAsciiWhitespace(&boot_id);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<LayerCache> layers,
      LayerCache::Open(
          {.dir = dir + "/layers", .bytes_max = config.layers_bytes_max(), .boot_id = boot_id},
          clock, trash));
  ASSIGN_OR_RETURN(
      const std::unique_ptr<CacheDirectories> caches,
      CacheDirectories::Open(
          {.dir = dir + "/caches", .bytes_max = config.caches_bytes_max(), .boot_id = boot_id},
          clock, trash));
  InputFetcher inputs(blobs, registry, *layers, dir + "/tmp");
  SourceClient sources(SourceOptionsOf(config, is_local));

  // How commands are run.
  ASSIGN_OR_RETURN(const std::unique_ptr<Snapshotter> snapshotter,
                   OverlaySnapshotter::Create(dir + "/tmp", trash));
  const bool is_runtime = config.runtime() != kNamespacesRuntime;
  std::string isolated_missing;
  const std::unique_ptr<IsolatedNetwork> isolated =
      MakeIsolatedNetwork(config, WorkerOwner(dir), isolated_missing);
  ASSIGN_OR_RETURN(
      const std::unique_ptr<HelperPool> helpers,
      HelperPool::Create({.program = config.sandbox_helper().empty() ? DefaultHelperProgram()
                                                                     : config.sandbox_helper(),
                          .warm = config.slots(),
                          .hide_unified = is_runtime && HostHasHybridCgroups(),
                          .isolated_network = isolated.get(),
                          .cgroup_parents = std::move(cgroup_parents)},
                         *cgroups));
  ASSIGN_OR_RETURN(const std::unique_ptr<Sandbox> sandbox, MakeSandbox(config.runtime(), *helpers));
  // What is done with them.
  const std::vector<v1::NetworkMode> networks = NetworksOf(config, isolated != nullptr);
  // The first step should find a helper ready. A local farm's steps get the first network if they
  // name none; elsewhere the farm's default is not known yet.
  const v1::NetworkMode first = FirstNetwork(config, networks);
  helpers->Warm(HelperKindFor(first == v1::NETWORK_MODE_ISOLATED ? NetworkMode::kIsolated
                              : first == v1::NETWORK_MODE_HOST   ? NetworkMode::kHost
                                                                 : NetworkMode::kNone,
                              is_runtime));
  LocalStepExecutor executor({
      .clock = clock,
      .blobs = blobs,
      .get_blobs = [&remote](absl::Span<const Digest> digests,
                             const auto& receive) { return remote.GetBatch(digests, receive); },
      .registry = registry,
      .layers = *layers,
      .caches = *caches,
      .inputs = inputs,
      .snapshotter = *snapshotter,
      .sandbox = *sandbox,
      .sources = sources,
      .trash = trash,
      .steps_dir = dir + "/steps",
      .tmp_dir = dir + "/tmp",
      .limits = config.limits(),
      .unpack = {},
      .networks = {networks.begin(), networks.end()},
      .network_default = is_local ? first : v1::NETWORK_MODE_UNSPECIFIED,
      .insecure_allowed = config.insecure_allowed(),
      .isolated_missing = isolated_missing,
      .isolated_resolv_conf = [&isolated] { return isolated->ResolvConf(); },
  });
  const std::unique_ptr<LeaseClient> leases = NewGrpcLeaseClient(channel);
  Agent::Options options;
  options.worker = config.name();
  options.incarnation = RandomIncarnation();
  options.version = Version();
  options.slots = config.slots();
  options.platform = HostPlatform();
  options.networks = networks;
  options.isolated_missing = isolated_missing;
  options.insecure_allowed = config.insecure_allowed();
  options.cgroup_parents = cgroup_parent_names;
  options.limits_missing = LimitsMissing(cgroups->capabilities());
  if (const absl::Duration leave_after = DurationFromProto(config.leave_after());
      leave_after > absl::ZeroDuration()) {
    options.leave_after = leave_after;
  }
  Agent agent(std::move(options), *leases, executor, *layers, clock);

  const SignalThread on_signal(signals, agent);
  LogInfo("ready", {{"worker", config.name()},
                    {"coordinator", config.coordinator()},
                    {"slots", absl::StrCat(config.slots())},
                    {"runtime", config.runtime()},
                    {"cgroups", cgroups->capabilities().Describe()},
                    {"networks", TextOf(networks)},
                    {"version", Version()}});
  return agent.Run();
}

int Main(int argc, char** argv) {
  CLI::App app("Takes steps of builds from a coordinator, runs them in sandboxes, keeps layers.",
               "farm-worker");
  WorkerFlags flags;
  bool print_config = false;
  app.add_option("--config", flags.file, "Read settings from this YAML file")->type_name("FILE");
  app.add_option("--coordinator", flags.coordinator,
                 "Work for the coordinator at unix:PATH or HOST:PORT")
      ->type_name("ADDRESS");
  app.add_option("--name", flags.name, "Be known to the farm as NAME (default: the host's name)")
      ->type_name("NAME");
  app.add_option("--state-dir", flags.state_dir,
                 "Keep layers and running steps here (default: /var/lib/farm/worker)")
      ->type_name("DIR");
  app.add_option("--slots", flags.slots,
                 "Run so many steps at once (default: the number of processors)")
      ->type_name("N");
  app.add_option("--runtime", flags.runtime,
                 "Run commands by: namespaces (default), crun, runc, runsc or a program's path")
      ->type_name("RUNTIME");
  app.add_option("--token-file", flags.token_file, "Identify by the token in this file")
      ->type_name("FILE");
  app.add_option("--shared-blob-dir", flags.shared_blob_dir,
                 "The coordinator's blob directory, if it is on this host")
      ->type_name("DIR");
  app.add_flag("--print-config", print_config, "Print the effective settings and exit");
  app.set_version_flag("--version", absl::StrCat("farm-worker ", Version()));
  app.footer(
      "Needs root. The first SIGTERM lets running steps finish and takes no more, the second\n"
      "cancels them. Files under DIR: layers/ (unpacked, least recently used go first),\n"
      "caches/ (of RUN --mount=type=cache, likewise), steps/, tmp/ and trash/ (emptied at start).\n"
      "Exit status: 0 stopped as asked, 2 wrong usage or configuration, 3 trouble at run time.\n"
      "See deploy/examples/worker.yaml for all settings.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  const absl::StatusOr<v1::WorkerConfig> config = EffectiveWorkerConfig(flags);
  if (!config.ok()) {
    std::cerr << "farm-worker: " << config.status().message() << "\n";
    return kExitUsage;
  }
  if (print_config) {
    std::cout << ConfigToYaml(*config);
    return 0;
  }
  // Blocked before any thread starts, so that only the signal thread's sigwait() sees them.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  if (const absl::Status status = Run(*config, signals); !status.ok()) {
    if (IsConfigError(status)) {
      std::cerr << "farm-worker: " << status.message() << "\n";
      return kExitUsage;
    }
    LogError("failed", {{"error", LogText(status)}});
    return kExitTrouble;
  }
  return 0;
}

}  // namespace
}  // namespace farm

int main(int argc, char** argv) { return farm::Main(argc, argv); }
