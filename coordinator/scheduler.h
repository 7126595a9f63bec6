#ifndef FARM_COORDINATOR_SCHEDULER_H_
#define FARM_COORDINATOR_SCHEDULER_H_

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "proto/farm/v1/lease.pb.h"

namespace farm {

// Fencing number of a lease: a result under an epoch that is not the job's current one is refused.
struct LeaseEpoch {
  int64_t incarnation = 0;  // of the coordinator: see NextIncarnation()
  int64_t sequence = 0;

  friend auto operator<=>(const LeaseEpoch&, const LeaseEpoch&) = default;
};

// Decides which worker runs which job, and notices workers that are gone. A pure state machine:
// events and times go in, what happened comes out; no I/O, no clock, no locks. Not thread-safe: the
// coordinator's event loop owns it.
//
// A job is `queued -> leased -> done`; the only way back is `leased -> queued`, when its worker is
// lost or could not run it, at most `attempts_max` times. What the worker has tried again itself
// (ErrorDetail.retried) is not worth another one.
class Scheduler {
 public:
  struct Options {
    int64_t incarnation = 1;
    absl::Duration lease_ttl = absl::Seconds(30);
    int attempts_max = 3;
  };

  // What a job needs. `id` is unique among the jobs that are not done, and means the same after a
  // restart; it is the join key of equal steps ("domain/StepKey"). Workers report it.
  struct Job {
    std::string id;
    std::string group;                     // the build: groups share the slots fairly
    std::optional<v1::Platform> platform;  // That its worker must have.
    v1::NetworkMode network = v1::NETWORK_MODE_UNSPECIFIED;
    bool insecure = false;            // RUN --security=insecure
    std::string cgroup_parent;        // that its worker must have; "": the worker's own
    std::vector<std::string> layers;  // diffIDs (hex) that it reads, base first: worth a good place
    // Cache mounts, "domain/id": worth a better one, since what a worker keeps of them is nowhere
    // else.
    std::vector<std::string> caches;
  };

  // What happened to a job.
  struct Event {
    enum class Kind {
      kPhase,     // `worker` is at `phase`
      kFinished,  // `result` or `error`; the job is forgotten
      kRequeued,  // `error` says why; it waits for another worker
    };
    Kind kind;
    std::string job;
    std::string worker;
    v1::LeaseState::Phase phase = v1::LeaseState::PHASE_UNSPECIFIED;
    v1::StepResult result;
    absl::Status error;
    std::optional<LeaseEpoch> unacknowledged;  // of a result: for Acknowledge()
  };

  struct Grant {
    LeaseEpoch epoch;
    std::string job;
  };

  explicit Scheduler(Options options) : options_(options) {}

  // Queues a job. A worker that reports a lease for the same job from before a restart of the
  // coordinator is taken to run it already.
  void Submit(Job job);
  // Nobody wants the job any more: it leaves the queue, or its lease is revoked.
  void Withdraw(const std::string& job);

  // A worker's report. Renews its leases, takes its results and grants what fits.
  std::vector<Event> OnReport(const v1::SynchronizeRequest& report, absl::Time now);
  // The result that came under `epoch` is kept now, or nobody wants it: `worker` may forget it.
  // Until then the worker has it for the next coordinator, should this one be killed.
  void Acknowledge(const std::string& worker, LeaseEpoch epoch);
  // Frees the jobs of workers that were silent for lease_ttl, and ends those that for so long no
  // worker could run, though some were here. Call it about each second.
  std::vector<Event> OnTick(absl::Time now);

  // True if `worker` should be told something before it asks again.
  bool HasNews(const std::string& worker) const;
  // All leases that `worker` should hold, and what it may forget. Telling it again does no harm: a
  // response may get lost.
  std::vector<Grant> LeasesOf(const std::string& worker) const;
  std::vector<LeaseEpoch> TakeAcknowledged(const std::string& worker);
  std::vector<LeaseEpoch> TakeRevoked(const std::string& worker);
  void MarkTold(const std::string& worker);
  // The job that `epoch` stands for, if the lease is held now.
  std::optional<std::string> JobOf(LeaseEpoch epoch) const;
  // The same, if it is `worker` that holds it.
  std::optional<std::string> JobOf(LeaseEpoch epoch, const std::string& worker) const;

  struct WorkerView {
    std::string name;
    v1::SynchronizeRequest report;  // the last one, without leases and layers
    int slots_busy = 0;
    absl::Time last_seen;
  };
  std::vector<WorkerView> Workers() const;
  int waiting() const { return static_cast<int>(queue_size_); }
  int leased() const { return static_cast<int>(leases_.size()); }
  // False if all workers drain, or none is here.
  bool HasWorkers() const;
  // True if a worker that is here could run the job, now or once it has a free slot.
  bool CanEverRun(const Job& job) const;
  // UNAVAILABLE, saying what the job's worker must have, for people: "no worker of this farm has
  // linux/amd64, network host". For a job that CanEverRun() denies.
  absl::Status NobodyCanRun(const Job& job) const;

 private:
  struct JobState {
    Job job;
    int attempts = 0;
    int64_t order = 0;
    std::optional<LeaseEpoch> lease;
    absl::flat_hash_set<std::string> avoid;  // workers that could not run it
    std::optional<absl::Time> stuck_since;   // queued, and no worker could ever run it
  };
  struct Lease {
    std::string job;
    std::string worker;
    absl::Time renewed;
    v1::LeaseState::Phase phase = v1::LeaseState::PHASE_UNSPECIFIED;
  };
  struct Worker {
    v1::SynchronizeRequest report;
    std::string incarnation;
    int64_t sequence = 0;
    absl::Time joined;
    absl::Time last_seen;
    std::set<LeaseEpoch> leases;
    // Reported leases of an earlier coordinator that no job asked for yet: job -> epoch.
    std::map<std::string, LeaseEpoch> foreign;
    absl::flat_hash_set<std::string> layers;
    std::set<LeaseEpoch> unacknowledged;  // done, with results that are not kept yet
    std::vector<LeaseEpoch> acknowledged;
    std::vector<LeaseEpoch> revoked;
    bool news = false;

    int FreeSlots() const;
  };

  void TakeLayers(const std::string& name, Worker& worker, const v1::SynchronizeRequest& report);
  void TakeLeases(const std::string& name, Worker& worker, const v1::SynchronizeRequest& report,
                  absl::Time now, std::vector<Event>& events);
  void TakeDone(const std::string& name, Worker& worker, LeaseEpoch epoch,
                const v1::LeaseState& state, std::vector<Event>& events);
  bool AdoptForeign(JobState& job);
  void Release(LeaseEpoch epoch);
  void Requeue(const std::string& job, absl::Status why, std::vector<Event>& events);
  void Forget(const std::string& worker_name, absl::Status why, std::vector<Event>& events);
  void EndStuck(absl::Time now, std::vector<Event>& events);
  void GrantAll(absl::Time now);
  // Where the job is to run now; "" if it has to wait.
  std::string BestWorker(const JobState& job) const;
  // The worker that keeps one of the job's caches and could run it now; "" if there is none.
  std::string HomeOfCaches(const JobState& job) const;
  // Of those that have a free slot, or have nothing to do, fit and have not failed: the one that
  // has most of the layers, then the one with most free slots. "" if there is none.
  std::string NearestWorker(const JobState& job, bool idle_only) const;
  void RememberCaches(const Job& job, const std::string& worker_name);
  // It takes new leases, now or once it has a free slot.
  static bool IsOpen(const Worker& worker);
  static bool Fits(const Worker& worker, const Job& job);
  void Enqueue(const std::string& job);
  void Dequeue(const std::string& job);

  const Options options_;
  int64_t next_sequence_ = 1;
  int64_t next_order_ = 1;
  absl::Time now_;
  std::map<std::string, JobState> jobs_;
  // Queued jobs by build, oldest first; `running_` counts the leases of each build. The build with
  // the fewest leases is served first, so that one large build does not starve small ones.
  std::map<std::string, std::map<int64_t, std::string>> queue_;
  size_t queue_size_ = 0;
  absl::flat_hash_map<std::string, int> running_;
  std::map<LeaseEpoch, Lease> leases_;
  std::map<std::string, Worker> workers_;
  absl::flat_hash_set<std::string> free_;  // workers with a free slot
  absl::flat_hash_map<std::string, absl::flat_hash_set<std::string>> holders_;  // layer -> workers
  absl::flat_hash_map<std::string, std::string> homes_;  // cache -> the worker whose jobs use it
};

}  // namespace farm

#endif  // FARM_COORDINATOR_SCHEDULER_H_
