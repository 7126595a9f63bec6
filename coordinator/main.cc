// farm-coordinator: plans builds, lends their steps to workers, keeps results and images.
//
// This file is the system diagram: every part is made here, leaves first, and handed to those who
// use it. Destruction in reverse order is the shutdown.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/config_file.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/state_dir.h"
#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "base/time_proto.h"
#include "base/unique_fd.h"
#include "base/version.h"
#include "cas/cas_service.h"
#include "cas/completeness_checking_action_cache.h"
#include "cas/disk_blob_store.h"
#include "cas/garbage_collector.h"
#include "cas/indexed_action_cache.h"
#include "cas/rocksdb_index.h"
#include "cas/small_blob_store.h"
#include "coordinator/coordinator_config.h"
#include "coordinator/farm_context.h"
#include "coordinator/incarnation.h"
#include "coordinator/services.h"
#include "coordinator/store_collector.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/service_type.h"
#include "oci/http_registry.h"
#include "rpc/address.h"
#include "rpc/auth.h"
#include "rpc/server_credentials.h"

namespace farm {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitTrouble = 3;
constexpr int64_t kTableCacheBytesMax = int64_t{600} << 20;
constexpr int kPoolThreads = 32;
constexpr int kSlowPoolThreads = 32;
constexpr absl::Duration kTick = absl::Seconds(1);
constexpr absl::Duration kCollectEvery = absl::Minutes(1);
// Calls under way get so long to end by themselves.
constexpr absl::Duration kShutdownGrace = absl::Seconds(5);
// And all of the shutdown so long: a client that wants to start the next coordinator waits for it,
// and what is on disk is right at any moment.
constexpr absl::Duration kShutdownMax = absl::Seconds(20);

v1::Platform HostPlatform() {
  const Platform host = Platform::Host();
  v1::Platform platform;
  platform.set_os(host.os);
  platform.set_architecture(host.architecture);
  platform.set_variant(host.variant);
  return platform;
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

// A closed table is the wish to stop; the main thread waits for this signal.
void StopIfDrained(const SessionTable& sessions) {
  if (sessions.closed() && sessions.open_sessions() == 0) kill(getpid(), SIGTERM);
}

// Ends the process if it has not ended by itself in kShutdownMax.
void LimitShutdown() {
  std::thread([] {
    absl::SleepFor(kShutdownMax);
    LogError("the shutdown hangs", {{"after", absl::FormatDuration(kShutdownMax)}});
    _exit(kExitTrouble);
  }).detach();
}

absl::Status Run(const v1::CoordinatorConfig& config, const sigset_t& signals) {
  // Two would each believe to own the index.
  ASSIGN_OR_RETURN(const UniqueFd lock, LockStateDir(config.state_dir(), "coordinator"));
  ASSIGN_OR_RETURN(const Authenticator authenticator, Authenticator::Make(config),
                   AsConfigError(_));
  SystemClock clock;

  const absl::Duration grace = DurationFromProto(config.storage().grace());
  // Storage: what is promised reads from the outside in.
  ASSIGN_OR_RETURN(const std::unique_ptr<RocksDbIndex> index,
                   RocksDbIndex::Open(config.state_dir() + "/index"));
  ASSIGN_OR_RETURN(const int64_t incarnation, NextIncarnation(*index, clock));
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskBlobStore> disk,
                   DiskBlobStore::Open(clock, {.dir = config.state_dir() + "/cas",
                                               .blob_bytes_max = config.storage().blob_bytes_max(),
                                               .last_use_resolution = LastUseResolutionFor(grace),
                                               // Only the CAS service gives it files, and hashed
                                               // each as it came in.
                                               .trust_files = true}));
  SmallBlobStore blobs(clock, *index, *disk, {.last_use_resolution = LastUseResolutionFor(grace)});
  IndexedActionCache all_actions(*index);
  CompletenessCheckingActionCache actions(all_actions, blobs);
  Publisher publisher(blobs, *index, actions);
  TableCache tables(blobs, kTableCacheBytesMax);
  ImageStore images(blobs, *index, clock);
  HttpRegistry registry(RegistryOptionsOf(config.registries()), clock);

  // The core: one thread owns scheduler, step runner and sessions.
  const absl::Duration lease_ttl = DurationFromProto(config.lease_ttl());
  ThreadPool pool({.threads = kPoolThreads});
  ThreadPool slow_pool({.threads = kSlowPoolThreads});
  ThreadPool loop({.threads = 1, .queue_depth_max = 1'000'000});
  Scheduler scheduler({.incarnation = incarnation,
                       .lease_ttl = lease_ttl,
                       .attempts_max = config.step_attempts_max()});
  StepRunner runner({.step_log_bytes_max = config.step_log_bytes_max(),
                     .poll_max = lease_ttl / 3,
                     .lease_ttl = lease_ttl},
                    clock, loop, pool, publisher, scheduler);
  FarmContext farm{.clock = clock,
                   .loop = loop,
                   .pool = pool,
                   .slow_pool = slow_pool,
                   .blobs = blobs,
                   .actions = actions,
                   .publisher = publisher,
                   .tables = tables,
                   .images = images,
                   .registry = registry,
                   .runner = runner,
                   .platform = HostPlatform(),
                   .run_network_default = config.run_network_default(),
                   .context_entries_max = config.context_entries_max(),
                   .is_local = IsLocal(config)};
  SessionTable sessions({.sessions_max = config.builds_max()}, clock);
  sessions.Touch();
  CancelToken stopping;
  StoreCollector collector(clock, loop, blobs, *index, images, tables, sessions, stopping,
                           {.high_mark_bytes = config.storage().high_mark_bytes(),
                            .low_mark_bytes = config.storage().low_mark_bytes(),
                            .grace = grace});

  // The wire.
  ServiceContext services{
      .farm = farm,
      .authenticator = authenticator,
      .sessions = sessions,
      .scheduler = scheduler,
      .collector = collector,
      .started = clock.Now(),
      .drain = [&sessions] {
        LogInfo("draining", {{"builds", absl::StrCat(sessions.open_sessions())}});
        sessions.Close();
        sessions.OnTick();  // It may find that all are done.
        StopIfDrained(sessions);
      }};
  const std::unique_ptr<grpc::Service> all_services[] = {
      MakeBuildService(services), MakeImageService(services), MakeLeaseService(services),
      MakeAdminService(services)};
  // Clients bring contexts and fetch results, workers fetch inputs and bring layers.
  CasService cas(blobs, *index, pool, clock,
                 [&authenticator, &sessions](const grpc::ServerContextBase& call,
                                             absl::string_view) -> absl::StatusOr<std::string> {
                   absl::StatusOr<Caller> caller = authenticator.Authenticate(call, Role::kClient);
                   if (caller.ok()) sessions.Touch();
                   if (!caller.ok()) caller = authenticator.Authenticate(call, Role::kWorker);
                   if (!caller.ok()) return caller.status();
                   return caller->domain;
                 },
                 {.spool_dir = disk->temporary_dir(),
                  .blob_bytes_max = config.storage().blob_bytes_max(),
                  // It lies on the store's disk, and must have room for the largest blob.
                  .spool_bytes_max = std::max(config.storage().blob_bytes_max(),
                                              config.storage().high_mark_bytes())});
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  ConfigureServer(builder);
  std::vector<int> ports(static_cast<size_t>(config.listen_size()));
  for (int i = 0; i < config.listen_size(); ++i) {
    const absl::Status added = AddListener(builder, config.listen(i), config.tls(), authenticator,
                                           &ports[static_cast<size_t>(i)]);
    // Unavailable is an address that another program has.
    RETURN_IF_ERROR(absl::IsUnavailable(added) ? added : AsConfigError(added));
  }
  for (const auto& service : all_services) builder.RegisterService(service.get());
  for (grpc::Service* service : cas.services()) builder.RegisterService(service);
  const mode_t old_mask = umask(0117);  // Sockets are 0660.
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  umask(old_mask);
  if (server == nullptr) {
    // Those before it have got their ports.
    const auto refused = std::find(ports.begin(), ports.end(), 0) - ports.begin();
    return absl::UnavailableError(absl::StrCat("can't listen on ",
                                               config.listen(static_cast<int>(refused)),
                                               ": the address is in use or not ours"));
  }
  for (int i = 0; i < config.listen_size(); ++i) {
    LogInfo("listening", {{"address", config.listen(i)},
                          {"port", absl::StrCat(ports[static_cast<size_t>(i)])},
                          {"version", Version()},
                          {"incarnation", absl::StrCat(incarnation)}});
  }

  // Time passes: leases and sessions expire.
  std::thread ticker([&] {
    const absl::Duration idle_shutdown = DurationFromProto(config.idle_shutdown());
    while (!stopping.WaitFor(kTick)) {
      const bool posted = loop.Post([&] {
        runner.OnTick();
        sessions.OnTick();
        // Decided here, between two requests: a build is accepted before, or refused after.
        if (idle_shutdown > absl::ZeroDuration() && !sessions.closed() &&
            sessions.CloseIfIdle(idle_shutdown)) {
          LogInfo("idle", {{"for", absl::FormatDuration(sessions.idle())}});
        }
        StopIfDrained(sessions);
      });
      if (!posted) LogWarning("the event loop is full");
    }
  });
  // The store is kept within its marks. Apart from the ticker: it takes as long as the disk does,
  // and workers whose polls nobody answers meanwhile would give up their steps.
  std::thread collecting([&] {
    while (!stopping.WaitFor(std::min(kCollectEvery, grace / 2))) {
      if (absl::Status status = collector.Collect(); !status.ok()) {
        LogError("garbage collection", {{"error", LogText(status)}});
      }
    }
  });

  int signal = 0;
  sigwait(&signals, &signal);
  LogInfo("stopping", {{"signal", absl::StrCat(signal)}});
  LimitShutdown();
  stopping.Cancel();
  ticker.join();
  collecting.join();
  CancelToken closed;
  const bool posted = loop.Post([&] {
    sessions.Close();
    sessions.CancelAll(absl::UnavailableError("the coordinator was stopped"));
    runner.Close();
    closed.Cancel();
  });
  if (posted) closed.WaitFor(kShutdownMax);
  server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoSeconds(kShutdownGrace));
  // What is still to be published refers to nearly all of the above.
  ThreadPool::Drain({&pool, &slow_pool, &loop});
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Plans builds of Dockerfiles, lends their steps to workers, and keeps results and images.",
      "farm-coordinator");
  std::string config_file, state_dir, idle_shutdown;
  std::vector<std::string> listen;
  bool print_config = false;
  app.add_option("--config", config_file, "Read settings from this YAML file")->type_name("FILE");
  app.add_option("--listen", listen, "Serve on unix:PATH or HOST:PORT (may be given several times)")
      ->type_name("ADDRESS");
  app.add_option("--state-dir", state_dir, "Keep index and blobs here")->type_name("DIR");
  app.add_option("--idle-shutdown", idle_shutdown,
                 "Stop after so long without work (15m; 0: never)")
      ->type_name("DURATION");
  app.add_flag("--print-config", print_config, "Print the effective settings and exit");
  app.set_version_flag("--version", absl::StrCat("farm-coordinator ", Version()));
  app.footer(
      "Exit status: 0 stopped as asked, 2 wrong usage or configuration, 3 trouble at run time.\n"
      "Beyond a unix socket or loopback a listener needs TLS and enrolled callers; see\n"
      "deploy/examples/coordinator.yaml for all settings.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  absl::StatusOr<v1::CoordinatorConfig> config = EffectiveConfig({.file = config_file,
                                                                  .listen = listen,
                                                                  .state_dir = state_dir,
                                                                  .idle_shutdown = idle_shutdown});
  if (!config.ok()) {
    std::cerr << "farm-coordinator: " << config.status().message() << "\n";
    return kExitUsage;
  }
  if (print_config) {
    std::cout << ConfigToYaml(*config);
    return 0;
  }
  // Blocked before any thread starts, so that only the main thread's sigwait() sees them.
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  if (absl::Status status = Run(*config, signals); !status.ok()) {
    if (IsConfigError(status)) {
      std::cerr << "farm-coordinator: " << status.message() << "\n";
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
