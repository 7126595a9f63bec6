// A root made of the host's static busybox, sandboxes over it, and a count of what they leave.
#ifndef FARM_WORKER_TESTING_SANDBOX_FIXTURE_H_
#define FARM_WORKER_TESTING_SANDBOX_FIXTURE_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel_token.h"
#include "worker/cgroup.h"
#include "worker/sandbox.h"
#include "worker/snapshotter.h"
#include "worker/trash.h"

namespace farm {

// Collects the output in memory.
class RecordingLog final : public LogSink {
 public:
  void Append(LogStream stream, absl::string_view bytes) override {
    std::string& text = stream == LogStream::kStdout ? out : err;
    text.append(bytes.data(), bytes.size());
    ++appends;
  }

  std::string out, err;
  int appends = 0;
};

struct RunResult {
  absl::StatusOr<ExitState> exit = absl::UnknownError("not run");
  std::string out, err;
};

// Processes, mounts, control groups and step directories, as one comparable text. Those that idle
// helpers of a pool need are not in it.
std::string Leftovers(const std::string& dir, CgroupTree& cgroups);

// One test's directory with a base layer. The sandboxes are made by the test.
class SandboxWorld {
 public:
  SandboxWorld();
  ~SandboxWorld();

  const std::string& dir() const { return dir_; }
  const std::string& base_layer() const { return base_layer_; }
  Snapshotter& snapshotter() { return *snapshotter_; }
  CgroupTree& cgroups() { return *cgroups_; }
  Trash& trash() { return *trash_; }

  // A fresh root on the base layer.
  std::unique_ptr<Snapshot> NewRoot();
  // Path below dir() that nothing else has.
  std::string NewPath(absl::string_view name);

  // Runs `spec` in a fresh root (root_fd, scratch_dir and id are filled in).
  RunResult Run(Sandbox& sandbox, SandboxSpec spec);
  // ... a shell command, with PATH.
  RunResult Shell(Sandbox& sandbox, const std::string& script);
  SandboxSpec ShellSpec(const std::string& script);

 private:
  std::string dir_;
  std::string base_layer_;
  std::atomic<int> next_ = 0;  // Tests run things side by side.
  std::unique_ptr<CgroupTree> cgroups_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<Snapshotter> snapshotter_;
};

}  // namespace farm

#endif  // FARM_WORKER_TESTING_SANDBOX_FIXTURE_H_
