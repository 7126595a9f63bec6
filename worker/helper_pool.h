#ifndef FARM_WORKER_HELPER_POOL_H_
#define FARM_WORKER_HELPER_POOL_H_

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "worker/cgroup.h"
#include "worker/helper_process.h"
#include "worker/isolated_network.h"
#include "worker/sandbox.h"

namespace farm {

// What a helper is prepared for; it cannot be known later.
enum class HelperKind {
  kNoNetwork,
  kHostNetwork,
  kIsolatedNetwork,
  kRuntime,
  kIsolatedRuntime,
  // As the first three, for commands without restrictions.
  kInsecureNoNetwork,
  kInsecureHostNetwork,
  kInsecureIsolatedNetwork,
};
inline constexpr int kHelperKinds = 8;

// The one for a command with `network`, run by an OCI runtime or not. A runtime makes the network
// namespace of a command without a network itself, and restricts the command or not.
HelperKind HelperKindFor(NetworkMode network, bool is_runtime, bool insecure = false);

// Helpers that have their namespaces, mounts and restrictions before a step needs them. Of a kind
// that was used once, `warm` are kept ready, but for those without restrictions, which are rare.
// Safe for concurrent calls.
class HelperPool {
 public:
  struct Options {
    std::string program;  // Path of farm-sandbox.
    int warm = 2;         // Of each kind in use. The worker's slots are a good number.
    // After a helper was taken its successor is made this much later, so as not to compete with the
    // start of the step that it was taken for.
    absl::Duration refill_delay = absl::Milliseconds(20);
    bool hide_unified = false;  // See wire::Prepare.
    // Borrowed; where there is none, helpers of the isolated kinds are refused.
    IsolatedNetwork* isolated_network = nullptr;
    // Where the groups of helpers are that are taken for another parent than "".
    std::map<std::string, std::unique_ptr<CgroupTree>> cgroup_parents{};
  };

  // Borrows `cgroups`. NOT_FOUND if there is no such program.
  static absl::StatusOr<std::unique_ptr<HelperPool>> Create(Options options, CgroupTree& cgroups);
  ~HelperPool();
  HelperPool(const HelperPool&) = delete;
  HelperPool& operator=(const HelperPool&) = delete;

  // A helper that is alive, warm if there is one. It must go before the pool does. For one of
  // Options::cgroup_parents it is never warm: it could not move there without seeing that it did.
  // PERMISSION_DENIED for a parent that is not among them.
  absl::StatusOr<std::unique_ptr<HelperProcess>> Take(HelperKind kind,
                                                      const std::string& cgroup_parent = "");

  // Returns once what ended runs left (see HelperRemains) is taken down.
  void WaitForCleanup();

  // Starts to keep helpers of `kind` ready, as the first Take() of it would, and returns when they
  // are started (or cannot be: Take() says why).
  void Warm(HelperKind kind);

 private:
  struct Shelf {
    bool in_use = false;
    int waiting = 0;  // Calls of Take() that found none.
    absl::Time refill_at = absl::InfinitePast();
    std::deque<absl::StatusOr<std::unique_ptr<HelperProcess>>> ready;
  };

  // One that a step waits for, and that is not for the shelf.
  struct Order {
    HelperKind kind;
    CgroupTree& cgroups;
    std::optional<absl::StatusOr<std::unique_ptr<HelperProcess>>> helper;
  };
  // What to start next.
  struct Work {
    HelperKind kind;
    Order* order = nullptr;  // Null: it is for the shelf.
  };

  HelperPool(Options options, CgroupTree& cgroups, UniqueFd program, UniqueFd seccomp);

  // The oldest on the shelf, dead or alive.
  absl::StatusOr<std::unique_ptr<HelperProcess>> TakeNext(HelperKind kind);
  absl::StatusOr<std::unique_ptr<HelperProcess>> TakeOrdered(HelperKind kind, CgroupTree& cgroups);

  // The one thread that starts helpers: they die with the thread that started them. It also takes
  // down what they leave.
  void Run();
  int WarmOf(HelperKind kind) const;
  // After waiting for a reason to; none if something is to be taken down or the pool ends.
  std::optional<Work> WaitForWork(MutexLock& lock) FARM_REQUIRES(mu_);
  absl::StatusOr<std::unique_ptr<HelperProcess>> Start(HelperKind kind, CgroupTree& cgroups,
                                                       uint64_t number);

  const Options options_;
  CgroupTree& cgroups_;
  const UniqueFd program_;
  const UniqueFd seccomp_;
  Mutex mu_;
  std::condition_variable changed_;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  bool cleaning_ FARM_GUARDED_BY(mu_) = false;
  Shelf shelves_[kHelperKinds] FARM_GUARDED_BY(mu_);
  std::deque<Order*> orders_ FARM_GUARDED_BY(mu_);
  std::vector<HelperRemains> remains_ FARM_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace farm

#endif  // FARM_WORKER_HELPER_POOL_H_
