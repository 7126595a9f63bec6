#include "coordinator/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace farm {
namespace {

// Caches whose workers are remembered at most.
constexpr size_t kCacheHomesMax = 10'000;

LeaseEpoch FromProto(const v1::LeaseEpoch& epoch) {
  return {epoch.incarnation(), epoch.sequence()};
}

// The worker could not do it, but another one, or a later try, may.
bool IsWorthAnotherWorker(const v1::ErrorDetail& error) {
  if (error.retried()) return false;
  switch (static_cast<absl::StatusCode>(error.code())) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kInternal:
      return true;
    default:
      return false;
  }
}

}  // namespace

int Scheduler::Worker::FreeSlots() const {
  if (report.draining()) return 0;
  return report.slots() - static_cast<int>(leases.size() + foreign.size());
}

void Scheduler::Submit(Job job) {
  const std::string id = job.id;
  const bool inserted =
      jobs_.emplace(id, JobState{.job = std::move(job), .order = next_order_++}).second;
  FARM_CHECK(inserted) << "job " << id << " submitted twice";
  if (!AdoptForeign(jobs_.at(id))) Enqueue(id);
  GrantAll(now_);
}

void Scheduler::Withdraw(const std::string& job) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return;
  if (const auto epoch = it->second.lease; epoch.has_value()) {
    Worker& worker = workers_.at(leases_.at(*epoch).worker);
    worker.revoked.push_back(*epoch);
    worker.news = true;
    Release(*epoch);
  } else {
    Dequeue(job);
  }
  jobs_.erase(job);
  GrantAll(now_);
}

std::vector<Scheduler::Event> Scheduler::OnReport(const v1::SynchronizeRequest& report,
                                                  absl::Time now) {
  now_ = now;
  std::vector<Event> events;
  const std::string& name = report.worker();
  if (const auto it = workers_.find(name);
      it != workers_.end() && it->second.incarnation != report.incarnation()) {
    Forget(name, absl::UnavailableError(absl::StrCat("worker ", name, " was restarted")), events);
  }
  Worker& worker = workers_[name];
  if (worker.incarnation == report.incarnation() && report.sequence() <= worker.sequence) {
    return events;  // Overtaken by a newer call.
  }
  if (worker.incarnation.empty()) {
    worker.joined = now;
    worker.news = true;  // That its coordinator is back: it may be about to leave without one.
  }
  worker.incarnation = report.incarnation();
  worker.sequence = report.sequence();
  worker.last_seen = now;
  TakeLayers(name, worker, report);
  TakeLeases(name, worker, report, now, events);
  worker.report = report;
  worker.report.clear_leases();
  worker.report.clear_layers_added();
  worker.report.clear_layers_removed();
  if (report.leaving()) {
    Forget(name, absl::UnavailableError(absl::StrCat("worker ", name, " has left")), events);
  } else if (worker.FreeSlots() > 0) {
    free_.insert(name);
  } else {
    free_.erase(name);
  }
  GrantAll(now);
  return events;
}

void Scheduler::TakeLayers(const std::string& name, Worker& worker,
                           const v1::SynchronizeRequest& report) {
  for (const std::string& layer : report.layers_removed()) {
    worker.layers.erase(layer);
    if (const auto it = holders_.find(layer); it != holders_.end()) {
      it->second.erase(name);
      if (it->second.empty()) holders_.erase(it);
    }
  }
  for (const std::string& layer : report.layers_added()) {
    worker.layers.insert(layer);
    holders_[layer].insert(name);
  }
}

void Scheduler::TakeLeases(const std::string& name, Worker& worker,
                           const v1::SynchronizeRequest& report, absl::Time now,
                           std::vector<Event>& events) {
  std::map<std::string, LeaseEpoch> foreign;
  for (const v1::LeaseState& state : report.leases()) {
    const LeaseEpoch epoch = FromProto(state.epoch());
    const auto it = leases_.find(epoch);
    if (it != leases_.end() && it->second.worker == name && it->second.job == state.job()) {
      it->second.renewed = now;
      if (state.phase() == v1::LeaseState::PHASE_DONE) {
        TakeDone(name, worker, epoch, state, events);
      } else if (state.phase() != it->second.phase) {
        it->second.phase = state.phase();
        events.push_back({.kind = Event::Kind::kPhase,
                          .job = it->second.job,
                          .worker = name,
                          .phase = state.phase()});
      }
    } else if (worker.unacknowledged.contains(epoch)) {
      // Its result came before, and is on its way into the action cache.
    } else if (epoch.incarnation < options_.incarnation &&
               now - worker.joined <= options_.lease_ttl) {
      // Granted before the coordinator was restarted. The client may well start its build again, so
      // the lease is kept for a lease time, whether it runs or is done.
      foreign.emplace(state.job(), epoch);
    } else {
      // Not ours, lost meanwhile, or another job under an epoch of ours: its result is refused.
      worker.revoked.push_back(epoch);
      worker.news = true;
    }
  }
  worker.foreign = std::move(foreign);
  for (auto& [id, job] : jobs_) {
    if (worker.foreign.empty()) break;
    if (!job.lease.has_value() && worker.foreign.contains(id)) {
      Dequeue(id);
      if (!AdoptForeign(job)) Enqueue(id);
    }
  }
}

void Scheduler::TakeDone(const std::string& name, Worker& worker, LeaseEpoch epoch,
                         const v1::LeaseState& state, std::vector<Event>& events) {
  const std::string job_id = leases_.at(epoch).job;
  Release(epoch);
  const absl::Status error(static_cast<absl::StatusCode>(state.error().code()),
                           state.error().message());
  worker.unacknowledged.insert(epoch);
  if (!error.ok()) Acknowledge(name, epoch);
  JobState& job = jobs_.at(job_id);
  job.avoid.insert(name);
  if (!error.ok() && IsWorthAnotherWorker(state.error()) && job.attempts < options_.attempts_max) {
    Requeue(job_id, error, events);
    return;
  }
  events.push_back({.kind = Event::Kind::kFinished,
                    .job = job_id,
                    .worker = name,
                    .phase = state.phase(),
                    .result = state.result(),
                    .error = error,
                    .unacknowledged = error.ok() ? std::optional(epoch) : std::nullopt});
  jobs_.erase(job_id);
}

void Scheduler::Acknowledge(const std::string& worker_name, LeaseEpoch epoch) {
  const auto it = workers_.find(worker_name);
  if (it == workers_.end() || it->second.unacknowledged.erase(epoch) == 0) return;
  it->second.acknowledged.push_back(epoch);
  it->second.news = true;
}

bool Scheduler::AdoptForeign(JobState& job) {
  for (auto& [name, worker] : workers_) {
    const auto it = worker.foreign.find(job.job.id);
    if (it == worker.foreign.end()) continue;
    const LeaseEpoch epoch = it->second;
    worker.foreign.erase(it);
    worker.leases.insert(epoch);
    ++job.attempts;
    job.lease = epoch;
    ++running_[job.job.group];
    leases_[epoch] = {.job = job.job.id, .worker = name, .renewed = now_};
    worker.news = true;  // Have it report now: it may be done already.
    return true;
  }
  return false;
}

void Scheduler::Release(LeaseEpoch epoch) {
  const auto it = leases_.find(epoch);
  FARM_CHECK(it != leases_.end());
  Worker& worker = workers_.at(it->second.worker);
  worker.leases.erase(epoch);
  if (worker.FreeSlots() > 0) free_.insert(it->second.worker);
  JobState& job = jobs_.at(it->second.job);
  job.lease.reset();
  if (--running_[job.job.group] == 0) running_.erase(job.job.group);
  leases_.erase(it);
}

void Scheduler::Requeue(const std::string& job, absl::Status why, std::vector<Event>& events) {
  JobState& state = jobs_.at(job);
  if (state.attempts >= options_.attempts_max) {
    events.push_back({.kind = Event::Kind::kFinished,
                      .job = job,
                      .error = absl::UnavailableError(absl::StrCat(
                          "given up after ", state.attempts, " attempts: ", why.message()))});
    jobs_.erase(job);
    return;
  }
  Enqueue(job);
  events.push_back({.kind = Event::Kind::kRequeued, .job = job, .error = std::move(why)});
}

void Scheduler::Forget(const std::string& worker_name, absl::Status why,
                       std::vector<Event>& events) {
  Worker& worker = workers_.at(worker_name);
  const std::vector<LeaseEpoch> epochs(worker.leases.begin(), worker.leases.end());
  for (LeaseEpoch epoch : epochs) {
    const std::string job = leases_.at(epoch).job;
    Release(epoch);
    Requeue(job, why, events);
  }
  for (const std::string& layer : worker.layers) {
    const auto it = holders_.find(layer);
    it->second.erase(worker_name);
    if (it->second.empty()) holders_.erase(it);
  }
  free_.erase(worker_name);
  workers_.erase(worker_name);
}

std::vector<Scheduler::Event> Scheduler::OnTick(absl::Time now) {
  now_ = now;
  std::vector<Event> events;
  std::vector<std::string> lost;
  for (const auto& [name, worker] : workers_) {
    if (now - worker.last_seen > options_.lease_ttl) lost.push_back(name);
  }
  for (const std::string& name : lost) {
    Forget(name, absl::UnavailableError(absl::StrCat("worker ", name, " was lost")), events);
  }
  // A lease that its worker has not heard of, or has dropped, while it reports others: the response
  // was lost, or the worker refused it.
  std::vector<LeaseEpoch> expired;
  for (const auto& [epoch, lease] : leases_) {
    if (now - lease.renewed > options_.lease_ttl) expired.push_back(epoch);
  }
  for (LeaseEpoch epoch : expired) {
    const Lease lease = leases_.at(epoch);
    workers_.at(lease.worker).revoked.push_back(epoch);
    workers_.at(lease.worker).news = true;
    Release(epoch);
    Requeue(lease.job,
            absl::UnavailableError(absl::StrCat("worker ", lease.worker, " lost the lease")),
            events);
  }
  GrantAll(now);
  EndStuck(now, events);
  return events;
}

void Scheduler::EndStuck(absl::Time now, std::vector<Event>& events) {
  const bool has_workers = HasWorkers();
  std::vector<std::string> ended;
  for (const auto& [group, jobs] : queue_) {
    for (const auto& [order, id] : jobs) {
      JobState& state = jobs_.at(id);
      if (!has_workers || CanEverRun(state.job)) {
        state.stuck_since.reset();
      } else if (!state.stuck_since.has_value()) {
        state.stuck_since = now;
      } else if (now - *state.stuck_since > options_.lease_ttl) {
        ended.push_back(id);
      }
    }
  }
  for (const std::string& id : ended) {
    events.push_back(
        {.kind = Event::Kind::kFinished, .job = id, .error = NobodyCanRun(jobs_.at(id).job)});
    Dequeue(id);
    jobs_.erase(id);
  }
}

void Scheduler::GrantAll(absl::Time now) {
  // Groups in the order of how little they have; those of which nothing can be placed are left out.
  absl::flat_hash_set<std::string> stuck;
  while (!free_.empty() && stuck.size() < queue_.size()) {
    const std::string* group = nullptr;
    int fewest = 0;
    for (const auto& [name, unused] : queue_) {
      if (stuck.contains(name)) continue;
      const auto it = running_.find(name);
      const int running = it == running_.end() ? 0 : it->second;
      if (group == nullptr || running < fewest) {
        group = &name;
        fewest = running;
      }
    }
    if (group == nullptr) return;
    std::string job_id, worker_name;
    for (const auto& [order, id] : queue_.at(*group)) {
      worker_name = BestWorker(jobs_.at(id));
      if (!worker_name.empty()) {
        job_id = id;
        break;
      }
    }
    if (job_id.empty()) {
      stuck.insert(*group);
      continue;
    }
    Dequeue(job_id);
    JobState& job = jobs_.at(job_id);
    const LeaseEpoch epoch{options_.incarnation, next_sequence_++};
    ++job.attempts;
    job.lease = epoch;
    ++running_[job.job.group];
    leases_[epoch] = {.job = job_id, .worker = worker_name, .renewed = now};
    RememberCaches(job.job, worker_name);
    Worker& worker = workers_.at(worker_name);
    worker.leases.insert(epoch);
    worker.news = true;
    if (worker.FreeSlots() <= 0) free_.erase(worker_name);
  }
}

// A cache stays at home while its worker takes jobs: those that had to go elsewhere, as there was
// no free slot, do not move it.
void Scheduler::RememberCaches(const Job& job, const std::string& worker_name) {
  for (const std::string& cache : job.caches) {
    if (const auto home = homes_.find(cache); home != homes_.end()) {
      const auto worker = workers_.find(home->second);
      if (worker != workers_.end() && IsOpen(worker->second)) continue;
    }
    if (homes_.size() >= kCacheHomesMax) homes_.clear();  // Found anew, job by job.
    homes_[cache] = worker_name;
  }
}

std::string Scheduler::BestWorker(const JobState& job) const {
  if (std::string home = HomeOfCaches(job); !home.empty()) return home;
  const std::string nearest = NearestWorker(job, /*idle_only=*/false);
  if (!nearest.empty()) {
    // Steps of one worker share its processors, and many a step would use all of them. Layers are
    // fetched once; so one that is half busy leaves the step to one that has nothing to do.
    const Worker& worker = workers_.at(nearest);
    const int busy = worker.report.slots() - worker.FreeSlots();
    const std::string idle =
        2 * busy >= worker.report.slots() ? NearestWorker(job, /*idle_only=*/true) : "";
    return idle.empty() ? nearest : idle;
  }
  // If nobody else is left, one that failed may try again.
  for (const auto& [name, worker] : workers_) {
    if (IsOpen(worker) && Fits(worker, job.job) && !job.avoid.contains(name)) return "";
  }
  for (const std::string& name : free_) {
    if (job.avoid.contains(name) && Fits(workers_.at(name), job.job)) return name;
  }
  return "";
}

std::string Scheduler::HomeOfCaches(const JobState& job) const {
  for (const std::string& cache : job.job.caches) {
    const auto home = homes_.find(cache);
    if (home == homes_.end() || !free_.contains(home->second)) continue;
    if (Fits(workers_.at(home->second), job.job) && !job.avoid.contains(home->second)) {
      return home->second;
    }
  }
  return "";
}

std::string Scheduler::NearestWorker(const JobState& job, bool idle_only) const {
  std::string best;
  int best_free = 0;
  const auto consider = [&](const std::string& name) {
    const Worker& worker = workers_.at(name);
    if (!Fits(worker, job.job) || job.avoid.contains(name)) return;
    if (idle_only && worker.FreeSlots() < worker.report.slots()) return;
    if (worker.FreeSlots() > best_free) {
      best = name;
      best_free = worker.FreeSlots();
    }
  };
  // The topmost layer says most: who has it has, as a rule, all those below.
  for (auto layer = job.job.layers.rbegin(); layer != job.job.layers.rend(); ++layer) {
    const auto it = holders_.find(*layer);
    if (it == holders_.end()) continue;
    for (const std::string& name : it->second) {
      if (free_.contains(name)) consider(name);
    }
    if (!best.empty()) return best;
  }
  for (const std::string& name : free_) consider(name);
  return best;
}

bool Scheduler::IsOpen(const Worker& worker) {
  return worker.report.slots() > 0 && !worker.report.draining();
}

bool Scheduler::Fits(const Worker& worker, const Job& job) {
  if (job.platform.has_value() &&
      (worker.report.platform().architecture() != job.platform->architecture() ||
       worker.report.platform().os() != job.platform->os())) {
    return false;
  }
  if (job.insecure && !worker.report.insecure_allowed()) return false;
  const auto& parents = worker.report.cgroup_parents();
  if (!job.cgroup_parent.empty() &&
      std::find(parents.begin(), parents.end(), job.cgroup_parent) == parents.end()) {
    return false;
  }
  if (job.network == v1::NETWORK_MODE_UNSPECIFIED) return true;
  const auto& networks = worker.report.networks();
  return std::find(networks.begin(), networks.end(), job.network) != networks.end();
}

bool Scheduler::HasWorkers() const {
  return std::any_of(workers_.begin(), workers_.end(),
                     [](const auto& entry) { return IsOpen(entry.second); });
}

bool Scheduler::CanEverRun(const Job& job) const {
  return std::any_of(workers_.begin(), workers_.end(), [&](const auto& entry) {
    return IsOpen(entry.second) && Fits(entry.second, job);
  });
}

absl::Status Scheduler::NobodyCanRun(const Job& job) const {
  std::vector<std::string> needs;
  if (job.platform.has_value()) {
    needs.push_back(absl::StrCat(job.platform->os(), "/", job.platform->architecture()));
  }
  if (job.network == v1::NETWORK_MODE_HOST) needs.push_back("network host");
  if (job.network == v1::NETWORK_MODE_NONE) needs.push_back("network none");
  if (job.insecure) needs.push_back("insecure_allowed in its configuration");
  if (!job.cgroup_parent.empty()) {
    needs.push_back(absl::StrCat(job.cgroup_parent, " in cgroup_parents of its configuration"));
  }
  std::string why;
  if (job.network == v1::NETWORK_MODE_ISOLATED) {
    needs.push_back("network isolated");
    // Of one worker: a farm's hosts are much alike.
    for (const auto& [name, worker] : workers_) {
      if (!IsOpen(worker) || worker.report.isolated_missing().empty()) continue;
      why = absl::StrCat(" (", name, ": ", worker.report.isolated_missing(), ")");
      break;
    }
  }
  return absl::UnavailableError(
      absl::StrCat("no worker of this farm has ", absl::StrJoin(needs, ", "), why));
}

void Scheduler::Enqueue(const std::string& job) {
  const JobState& state = jobs_.at(job);
  if (queue_[state.job.group].emplace(state.order, job).second) ++queue_size_;
}

void Scheduler::Dequeue(const std::string& job) {
  const JobState& state = jobs_.at(job);
  const auto it = queue_.find(state.job.group);
  if (it == queue_.end() || it->second.erase(state.order) == 0) return;
  --queue_size_;
  if (it->second.empty()) queue_.erase(it);
}

bool Scheduler::HasNews(const std::string& worker) const {
  const auto it = workers_.find(worker);
  return it != workers_.end() && it->second.news;
}

std::vector<Scheduler::Grant> Scheduler::LeasesOf(const std::string& worker) const {
  std::vector<Grant> grants;
  const auto it = workers_.find(worker);
  if (it == workers_.end()) return grants;
  for (LeaseEpoch epoch : it->second.leases) grants.push_back({epoch, leases_.at(epoch).job});
  return grants;
}

std::vector<LeaseEpoch> Scheduler::TakeAcknowledged(const std::string& worker) {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? std::vector<LeaseEpoch>()
                              : std::exchange(it->second.acknowledged, {});
}

std::vector<LeaseEpoch> Scheduler::TakeRevoked(const std::string& worker) {
  const auto it = workers_.find(worker);
  return it == workers_.end() ? std::vector<LeaseEpoch>() : std::exchange(it->second.revoked, {});
}

void Scheduler::MarkTold(const std::string& worker) {
  if (const auto it = workers_.find(worker); it != workers_.end()) it->second.news = false;
}

std::optional<std::string> Scheduler::JobOf(LeaseEpoch epoch) const {
  const auto it = leases_.find(epoch);
  if (it == leases_.end()) return std::nullopt;
  return it->second.job;
}

std::optional<std::string> Scheduler::JobOf(LeaseEpoch epoch, const std::string& worker) const {
  const auto it = leases_.find(epoch);
  if (it == leases_.end() || it->second.worker != worker) return std::nullopt;
  return it->second.job;
}

std::vector<Scheduler::WorkerView> Scheduler::Workers() const {
  std::vector<WorkerView> out;
  for (const auto& [name, worker] : workers_) {
    out.push_back({.name = name,
                   .report = worker.report,
                   .slots_busy = static_cast<int>(worker.leases.size()),
                   .last_seen = worker.last_seen});
  }
  return out;
}

}  // namespace farm
