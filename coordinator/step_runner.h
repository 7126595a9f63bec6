#ifndef FARM_COORDINATOR_STEP_RUNNER_H_
#define FARM_COORDINATOR_STEP_RUNNER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/executor.h"
#include "coordinator/publisher.h"
#include "coordinator/scheduler.h"
#include "proto/farm/v1/lease.pb.h"
#include "proto/farm/v1/record.pb.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Runs steps on the farm's workers, each key once at a time: who asks for a step that is under way
// joins it. Owned by the event loop: every call comes from it, and every callback runs on it.
class StepRunner {
 public:
  struct Options {
    int64_t step_log_bytes_max = 2 << 20;
    // A worker is answered at least this often, so that it renews its leases.
    absl::Duration poll_max = absl::Seconds(10);
    absl::Duration lease_ttl = absl::Seconds(30);
  };

  struct Request {
    std::string domain;
    std::string build;  // for fair shares and logs
    Digest key;
    v1::ActionRecord record;           // parts and name; the result is filled in
    std::vector<std::string> aliases;  // see Publisher::Entry
    v1::StepSpec spec;
    // ChainID of the root that the step starts from, for adoption; unset: its output is no layer
    // on a root.
    std::optional<Digest> parent_chain_id;
    bool cacheable = true;  // false: nothing is written to the action cache (a push)
  };

  struct Outcome {
    v1::StepResult result;  // a command's exit code other than 0 is here, too
    bool adopted = false;   // the farm knew an equal layer: `result` is the one it had
    bool shared = false;    // it was under way for somebody else already
    std::string worker;
  };

  // Called on the event loop. After `on_done` with an error or a failing exit code nothing follows;
  // after success `on_published` follows once the result is durable and in the action cache, even
  // to who left after `on_done`: capture a weak_ptr.
  struct Observer {
    std::function<void(const std::string& worker, v1::LeaseState::Phase phase)> on_phase;
    std::function<void(absl::string_view bytes, bool is_stderr)> on_log;
    std::function<void(absl::StatusOr<Outcome> outcome)> on_done;
    std::function<void(absl::Status status)> on_published;
    // Has ssh agent `id` of who waits here answer `question`, while `is_wanted`, and calls `then`
    // once; false if it can't.
    std::function<bool(const std::string& id, const std::string& question,
                       std::function<bool()> is_wanted,
                       std::function<void(absl::StatusOr<std::string> answer)> then)>
        ask_ssh_agent;
  };

  using Ticket = int64_t;

  // `loop` runs everything of this class; `pool` runs what blocks. All must outlive the runner.
  StepRunner(Options options, Clock& clock, Executor& loop, Executor& pool, Publisher& publisher,
             Scheduler& scheduler);
  ~StepRunner();

  // False if no worker is here that takes steps: then they wait.
  bool HasWorkers() const { return scheduler_.HasWorkers(); }
  // UNAVAILABLE if there are workers, and none of them could ever run the step.
  absl::Status CheckCanRun(const v1::StepSpec& spec) const;
  Ticket Run(Request request, Observer observer);
  // The caller is no longer interested: no callback comes any more. The step is stopped if nobody
  // else waits for it.
  void Leave(Ticket ticket);

  // A worker's long poll. `reply` is called once, now or later.
  void Synchronize(const v1::SynchronizeRequest& request,
                   std::function<void(absl::StatusOr<v1::SynchronizeResponse>)> reply);
  // ABORTED if the lease is not held. True: the log's limit is reached.
  absl::StatusOr<bool> AppendLog(const v1::AppendLogRequest& request);
  // For a worker: has an ssh agent of whoever waits for the lease's step answer. `then` is called
  // once, now or later; errors are those of Leases.AskSshAgent.
  void AskSshAgent(const v1::AskSshAgentRequest& request,
                   std::function<void(absl::StatusOr<std::string> answer)> then);
  // Call it about each second.
  void OnTick();
  // Answers all polls.
  void AnswerAll();
  // The same, and from now on UNAVAILABLE at once: a worker asks again as soon as it is answered,
  // and a poll that is kept would keep the server from shutting down.
  void Close();

  int jobs() const { return static_cast<int>(jobs_.size()); }

 private:
  struct Waiter {
    Ticket ticket;
    bool shared;
    Observer observer;
  };
  struct LogChunk {
    std::string bytes;
    bool is_stderr;
  };
  struct Job {
    Request request;
    std::vector<Waiter> waiters;
    std::string worker;
    v1::LeaseState::Phase phase = v1::LeaseState::PHASE_UNSPECIFIED;
    std::vector<LogChunk> log;
    int64_t log_bytes = 0;   // kept
    int64_t log_offset = 0;  // received
    bool log_truncated = false;
    LeaseEpoch log_epoch;               // whose offsets these are
    std::function<void()> acknowledge;  // the worker may forget the result
    Outcome outcome;                    // once it is settled
  };
  struct Poll {
    absl::Time since;
    std::function<void(absl::StatusOr<v1::SynchronizeResponse>)> reply;
  };

  void Take(std::vector<Scheduler::Event> events);
  void OnFinished(const std::string& id, const Scheduler::Event& event);
  void Drop(const std::string& id, Job& job, absl::StatusOr<Outcome> outcome);
  void RememberFailure(const Request& request, const v1::StepResult& result);
  void Settle(const std::shared_ptr<Job>& job, Outcome outcome);
  void Publish(const std::string& id, const std::shared_ptr<Job>& job);
  void Finish(Job& job, absl::StatusOr<Outcome> outcome);
  void AnswerPolls();
  v1::SynchronizeResponse DesiredState(const std::string& worker);

  const Options options_;
  Clock& clock_;
  Executor& loop_;
  Executor& pool_;
  Publisher& publisher_;
  Scheduler& scheduler_;
  bool closed_ = false;
  Ticket next_ticket_ = 1;
  std::map<std::string, std::shared_ptr<Job>> jobs_;     // by "domain/key"
  std::map<std::string, std::shared_ptr<Job>> settled_;  // done, not yet in the action cache
  std::map<Ticket, std::string> tickets_;                // of those who wait for on_done
  std::map<std::string, Poll> polls_;                    // by worker
  // Results on their way into the index, by (domain, parent, canonical digest): an equal layer that
  // comes meanwhile is adopted from here.
  std::map<std::string, v1::StepResult> publishing_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_STEP_RUNNER_H_
