#ifndef FARM_WORKER_AGENT_H_
#define FARM_WORKER_AGENT_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "proto/farm/v1/lease.pb.h"
#include "worker/layer_cache.h"
#include "worker/lease_client.h"
#include "worker/lease_set.h"
#include "worker/step_executor.h"

namespace farm {

// A worker's side of the lease protocol: says what this worker has and does, takes leases, runs
// their steps on `slots` threads, and reports. The protocol's states are in lease_set.h.
//
// Two threads call the coordinator. One waits in a long poll; when something has changed that the
// coordinator should know at once (a step has ended), the other calls, too, which ends the poll of
// the first. A coordinator that can't be reached is called again with growing pauses; steps go on
// meanwhile, until their leases have run out.
class Agent {
 public:
  struct Options {
    std::string worker;       // its name in the farm
    std::string incarnation;  // random, new at each start
    std::string version;
    int slots = 1;
    v1::Platform platform;
    std::vector<v1::NetworkMode> networks;
    std::string isolated_missing;  // see SynchronizeRequest
    bool insecure_allowed = false;
    std::vector<std::string> cgroup_parents;
    std::vector<std::string> limits_missing;
    // Of one long poll. A coordinator answers much earlier.
    absl::Duration poll_timeout = absl::Seconds(60);
    // Pauses between calls to a coordinator that can't be reached; a random part of each.
    absl::Duration retry_first = absl::Milliseconds(100);
    absl::Duration retry_max = absl::Seconds(5);
    // Ends (OK) once the coordinator could not be reached for so long and no step runs: the worker
    // of a local farm goes with its coordinator.
    absl::Duration leave_after = absl::InfiniteDuration();
    // Of the call that says goodbye after Drain() or Stop(); a coordinator answers it at once.
    absl::Duration goodbye_timeout = absl::Seconds(2);
    // A step's new phase is reported this late at most, with other news if there is some.
    absl::Duration phase_report_delay = absl::Milliseconds(200);
    // Of one question to an ssh agent, with those that are asked before it.
    absl::Duration ssh_agent_timeout = absl::Minutes(10);
  };

  // Borrows all.
  Agent(Options options, LeaseClient& client, StepExecutor& executor, LayerCache& layers,
        Clock& clock);

  // Works until Drain(), Stop() or leave_after has had its effect (OK), or the coordinator refuses
  // this worker:
  //   UNAUTHENTICATED, PERMISSION_DENIED, FAILED_PRECONDITION  see lease.proto
  // No step runs any more when it returns. Call it once.
  absl::Status Run();

  // From any thread: takes no more leases, and ends once those at hand are done and acknowledged.
  void Drain();
  // The same, but cancels the steps.
  void Stop();

 private:
  // A lease whose step waits for a slot or runs.
  struct Task {
    v1::Lease lease;
    CancelToken cancel;
  };
  using Tasks = std::vector<std::shared_ptr<Task>>;

  void PollLoop();
  void SlotLoop();
  void RunTask(Task& task);
  absl::StatusOr<std::string> AskSshAgent(const v1::LeaseEpoch& epoch, const std::string& agent,
                                          absl::string_view question, CancelToken& cancel);

  v1::SynchronizeRequest MakeRequest() FARM_REQUIRES(mu_);
  void OnAnswer(const absl::StatusOr<v1::SynchronizeResponse>& response, int64_t sequence,
                absl::Time called);
  void OnFailure(const absl::Status& status) FARM_REQUIRES(mu_);
  // So that nothing more is lent to this worker. Best effort: a silent one is missed after a while.
  void SayGoodbye();
  // Queues the steps to start and returns those to stop. Under the lock that the decision was taken
  // under: a lease that is known without its task could not be stopped.
  Tasks Apply(const LeaseSet::Actions& actions) FARM_REQUIRES(mu_);
  // Without the lock: callbacks run.
  static void Cancel(const Tasks& tasks);
  void Changed() FARM_REQUIRES(mu_);
  bool IsOver() const FARM_REQUIRES(mu_);

  const Options options_;
  LeaseClient& client_;
  StepExecutor& executor_;
  LayerCache& layers_;
  Clock& clock_;
  CancelToken end_of_polls_;

  Mutex mu_;
  std::condition_variable changed_;
  LeaseSet leases_ FARM_GUARDED_BY(mu_);
  // Shared by the slot that runs it and whoever cancels it.
  std::map<LeaseSet::Epoch, std::shared_ptr<Task>> tasks_ FARM_GUARDED_BY(mu_);
  std::deque<std::shared_ptr<Task>> waiting_ FARM_GUARDED_BY(mu_);  // for a slot
  int64_t sequence_ FARM_GUARDED_BY(mu_) = 0;
  int calls_ FARM_GUARDED_BY(mu_) = 0;          // under way
  bool has_news_ FARM_GUARDED_BY(mu_) = false;  // for the coordinator, at once
  absl::Time phase_report_at_ FARM_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool report_all_layers_ FARM_GUARDED_BY(mu_) = true;
  absl::Duration retry_ FARM_GUARDED_BY(mu_) = absl::ZeroDuration();  // 0: reachable
  absl::Time retry_at_ FARM_GUARDED_BY(mu_) = absl::InfinitePast();
  absl::Time lost_since_ FARM_GUARDED_BY(mu_) = absl::InfiniteFuture();
  absl::BitGen random_ FARM_GUARDED_BY(mu_);
  bool draining_ FARM_GUARDED_BY(mu_) = false;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  bool over_ FARM_GUARDED_BY(mu_) = false;
  absl::Status refusal_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_WORKER_AGENT_H_
