#ifndef FARM_WORKER_HELPER_PROCESS_H_
#define FARM_WORKER_HELPER_PROCESS_H_

#include <sys/resource.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "base/unique_fd.h"
#include "worker/cgroup.h"
#include "worker/isolated_network.h"
#include "worker/sandbox.h"
#include "worker/sandbox_wire.h"

namespace farm {

// A copy of the farm-sandbox program in sealed memory: a step that reaches /proc/PID/exe of a
// helper cannot change the program that the next one runs.
//   NOT_FOUND and other errors of reading `path`
absl::StatusOr<UniqueFd> SealHelperProgram(const std::string& path);

// What is left of a sandbox without processes. Nobody sees it, but taking it down waits for the
// kernel, so that is done apart from the run.
struct HelperRemains {
  UniqueFd mounts;  // The mount namespace.
  std::unique_ptr<Cgroup> cgroup;
  std::unique_ptr<SandboxNetwork> network;
};

// How a helper ended.
struct HelperEnd {
  enum class Cause { kItself, kCancelled, kTimedOut };
  Cause cause = Cause::kItself;
  bool replied = false;  // Else it was killed before it could.
  wire::Reply reply{};
  rusage resources{};  // Of all processes of the sandbox that were waited for.
};

// One run of farm-sandbox, in its own cgroup and pid namespace. Not safe for concurrent calls.
class HelperProcess {
 public:
  using RemainsSink = std::function<void(HelperRemains)>;

  // What a helper is given. `seccomp_fd` is -1 where `prepare.role` does not need it; `network` is
  // there if `prepare.network` is kGiven.
  struct Start {
    int program_fd = -1;
    wire::Prepare prepare{};
    int seccomp_fd = -1;
    std::unique_ptr<Cgroup> cgroup;
    std::unique_ptr<SandboxNetwork> network;
    RemainsSink on_end;
  };
  // The calling thread must outlive the helper: the kernel kills the helper when it ends.
  static absl::StatusOr<std::unique_ptr<HelperProcess>> Launch(Start start);
  // Kills it and all that runs in it, waits for the end, and gives away what remains.
  ~HelperProcess();
  HelperProcess(const HelperProcess&) = delete;
  HelperProcess& operator=(const HelperProcess&) = delete;

  Cgroup& cgroup() { return *cgroup_; }
  bool alive() const;

  // Starts the run, once the helper is prepared for it. An error that Wait() can tell more of (the
  // helper has ended) is not returned.
  absl::Status Send(const wire::RunHeader& header, absl::string_view body,
                    const std::vector<int>& descriptors);

  // Passes the output on until the helper has ended, and with it every process inside. Kills it at
  // `deadline` or on `cancel`.
  HelperEnd Wait(LogSink& log, CancelToken& cancel, absl::Time deadline);

  // After Wait(): takes the sandbox's mounts down now, which may take some 10 ms.
  void DropMounts() { mounts_.Reset(); }

 private:
  explicit HelperProcess(Start start)
      : cgroup_(std::move(start.cgroup)),
        network_(std::move(start.network)),
        on_end_(std::move(start.on_end)) {}

  // False if it was a reply of another kind that came, which Wait() returns.
  bool ReceiveReady();
  void Kill();
  void Reap(rusage& resources);

  std::unique_ptr<Cgroup> cgroup_;
  std::unique_ptr<SandboxNetwork> network_;
  const RemainsSink on_end_;
  UniqueFd mounts_;
  wire::Reply early_reply_{};
  bool replied_early_ = false;
  UniqueFd pidfd_;  // Invalid once it is reaped.
  UniqueFd control_;
  UniqueFd stdout_, stderr_;
};

}  // namespace farm

#endif  // FARM_WORKER_HELPER_PROCESS_H_
