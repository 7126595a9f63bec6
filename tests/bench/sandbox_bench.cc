// What a sandbox costs: `true` run in it, warm and cold, against plain fork+exec of the same
// program in the same run, taken in turns so that all see the same load.
//
//   sandbox_bench [ROUNDS]          # as root; 40 rounds unless told
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "worker/helper_pool.h"
#include "worker/isolated_network.h"
#include "worker/namespace_sandbox.h"
#include "worker/oci_runtime_sandbox.h"
#include "worker/testing/sandbox_fixture.h"

namespace farm {
namespace {

// The same static program as in the sandbox.
constexpr char kProgram[] = "/bin/busybox";

void ReapTrue(pid_t pid) {
  int status = 0;
  FARM_CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

void ForkExec() {
  const pid_t pid = fork();
  if (pid == 0) {
    execl(kProgram, "true", nullptr);
    _exit(1);
  }
  ReapTrue(pid);
}

void Spawn() {
  char name[] = "true";
  char* const args[] = {name, nullptr};
  char* const env[] = {nullptr};
  pid_t pid = 0;
  FARM_CHECK(posix_spawn(&pid, kProgram, nullptr, nullptr, args, env) == 0);
  ReapTrue(pid);
}

struct Series {
  std::string name;
  std::function<void()> prepare;  // Not timed.
  std::function<void()> run;
  std::vector<double> ms = {};
};

double Percentile(std::vector<double> values, int percent) {
  std::sort(values.begin(), values.end());
  return values[values.size() * static_cast<size_t>(percent) / 100];
}

int Main(int rounds) {
  SandboxWorld world;
  const auto isolated = IsolatedNetwork::Create({.owner = "farm-bench-0000000", .networks_max = 8});
  if (!isolated.ok()) printf("no isolated network: %s\n", isolated.status().ToString().c_str());
  auto pool_of = [&](int warm) {
    auto pool = HelperPool::Create({.program = "worker/farm-sandbox",
                                    .warm = warm,
                                    .hide_unified = HostHasHybridCgroups(),
                                    .isolated_network = isolated.ok() ? isolated->get() : nullptr},
                                   world.cgroups());
    FARM_CHECK_OK(pool.status());
    return std::move(pool).value();
  };
  const auto warm_pool = pool_of(1);
  const auto cold_pool = pool_of(0);
  NamespaceSandbox warm(*warm_pool), cold(*cold_pool);
  // As a RUN has them; the base layer, like many, has neither.
  const std::vector<SandboxMount> files = {
      {.kind = SandboxMount::Kind::kFile,
       .target = "/etc/hosts",
       .contents = "127.0.0.1 localhost\n"},
      {.kind = SandboxMount::Kind::kFile, .target = "/etc/resolv.conf"}};
  auto run_true = [](Sandbox& sandbox, Snapshot& root, const std::vector<SandboxMount>& mounts = {},
                     NetworkMode network = NetworkMode::kNone) {
    SandboxSpec spec;
    spec.network = network;
    spec.args = {"/bin/true"};
    spec.root_fd = root.root_fd();
    spec.mounts = mounts;
    RecordingLog log;
    CancelToken cancel;
    const absl::StatusOr<ExitState> exit = sandbox.Run(spec, log, cancel);
    FARM_CHECK_OK(exit.status());
    FARM_CHECK(exit->ok());
  };
  // A warm helper needs a moment to become one; steps come no faster than that.
  auto settle_kind = [&warm_pool](HelperKind kind) {
    warm_pool->Warm(kind);
    absl::SleepFor(absl::Milliseconds(150));
  };
  auto settle = [&] { settle_kind(HelperKind::kNoNetwork); };

  std::unique_ptr<Snapshot> root;
  std::vector<Series> all;
  all.push_back({"fork+exec", nullptr, ForkExec});
  all.push_back({"posix_spawn", nullptr, Spawn});
  all.push_back({"sandbox, warm",
                 [&] {
                   root = world.NewRoot();
                   settle();
                 },
                 [&] { run_true(warm, *root); }});
  all.push_back({"overlay + sandbox, warm", settle, [&] {
                   const std::unique_ptr<Snapshot> fresh = world.NewRoot();
                   run_true(warm, *fresh);
                 }});
  all.push_back({"... and hosts, resolv.conf", settle, [&] {
                   const std::unique_ptr<Snapshot> fresh = world.NewRoot();
                   run_true(warm, *fresh, files);
                 }});
  all.push_back({"overlay + sandbox, cold", nullptr, [&] {
                   const std::unique_ptr<Snapshot> fresh = world.NewRoot();
                   run_true(cold, *fresh);
                 }});
  if (isolated.ok()) {
    all.push_back({"... isolated, warm", [&] { settle_kind(HelperKind::kIsolatedNetwork); },
                   [&] {
                     const std::unique_ptr<Snapshot> fresh = world.NewRoot();
                     run_true(warm, *fresh, files, NetworkMode::kIsolated);
                   }});
    all.push_back({"... isolated, cold", nullptr, [&] {
                     const std::unique_ptr<Snapshot> fresh = world.NewRoot();
                     run_true(cold, *fresh, files, NetworkMode::kIsolated);
                   }});
    all.push_back({"a network, made and ended", nullptr,
                   [&] { FARM_CHECK_OK((*isolated)->Make().status()); }});
  }
  if (auto crun = OciRuntimeSandbox::Create("crun", *cold_pool); crun.ok()) {
    all.push_back({"crun, cold", nullptr, [&world, sandbox = crun->release()] {
                     FARM_CHECK(world.Run(*sandbox, {.args = {"/bin/true"}}).exit.ok());
                   }});
  }
  for (int round = -2; round < rounds; ++round) {  // The first two only warm the caches.
    for (Series& series : all) {
      if (series.prepare) series.prepare();
      const absl::Time start = absl::Now();
      series.run();
      if (round >= 0) series.ms.push_back(absl::ToDoubleMilliseconds(absl::Now() - start));
    }
  }
  printf("%-26s %8s %8s %8s   (ms, %d rounds)\n", "", "p10", "median", "ratio", rounds);
  const double baseline = Percentile(all[0].ms, 50);
  for (const Series& series : all) {
    const double median = Percentile(series.ms, 50);
    printf("%-26s %8.2f %8.2f %8.2f\n", series.name.c_str(), Percentile(series.ms, 10), median,
           median / baseline);
  }
  return 0;
}

}  // namespace
}  // namespace farm

int main(int argc, char** argv) { return farm::Main(argc > 1 ? std::max(1, atoi(argv[1])) : 40); }
