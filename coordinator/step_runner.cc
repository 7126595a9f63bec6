#include "coordinator/step_runner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "coordinator/step_result.h"

namespace farm {
namespace {

// Of a step's description: several leases go in one message (kMessageBytesMax of rpc/channel.h).
constexpr size_t kSpecBytesMax = 4 << 20;

v1::LeaseEpoch ToProto(LeaseEpoch epoch) {
  v1::LeaseEpoch proto;
  proto.set_incarnation(epoch.incarnation);
  proto.set_sequence(epoch.sequence);
  return proto;
}

// Only a RUN needs a worker of its platform.
void SetNeeds(const v1::StepSpec& spec, Scheduler::Job& job) {
  if (!spec.identity().has_run()) return;
  job.platform = spec.identity().platform();
  job.insecure = spec.identity().run().insecure();
  job.cgroup_parent = spec.execution().cgroup_parent();
  job.network = spec.identity().run().network();
  if (job.network == v1::NETWORK_MODE_UNSPECIFIED) job.network = spec.execution().network();
}

// Nobody could receive a lease on any other.
absl::Status CheckLendable(const v1::StepSpec& spec) {
  const std::string bytes = spec.SerializeAsString();
  if (bytes.size() > kSpecBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the step takes ", bytes.size(), " bytes to describe, at most ", kSpecBytesMax, " can be"));
  }
  v1::StepSpec copy;
  if (!copy.ParseFromString(bytes)) {
    return absl::InvalidArgumentError("the step has a text that is not UTF-8");
  }
  return absl::OkStatus();
}

Scheduler::Job JobFor(const std::string& id, const StepRunner::Request& request) {
  Scheduler::Job job{.id = id, .group = request.build};
  SetNeeds(request.spec, job);
  for (const v1::LayerRef& layer : request.spec.inputs().root()) {
    job.layers.push_back(layer.diff_id().hash());
  }
  for (const v1::RunMount& mount : request.spec.identity().run().mounts()) {
    if (mount.kind() != v1::RunMount::KIND_CACHE) continue;
    // Its digest, as it is remembered for long.
    job.caches.push_back(DigestOf(absl::StrCat(request.domain, "/", mount.id())).hex());
  }
  return job;
}

// Equal steps are run once. Secrets, ssh agents and the control group are in no key; but a step
// that has others may fail where this one does not.
std::string JobId(const StepRunner::Request& request) {
  std::string id = absl::StrCat(request.domain, "/", request.key.hex());
  const v1::StepExecution& execution = request.spec.execution();
  for (const v1::SecretValue& secret : execution.secrets()) {
    absl::StrAppend(&id, " secret ", secret.id());
  }
  for (const std::string& agent : execution.ssh_agents()) absl::StrAppend(&id, " ssh ", agent);
  if (!execution.source_authorization().empty()) absl::StrAppend(&id, " authorized");
  if (!execution.cgroup_parent().empty()) {
    absl::StrAppend(&id, " cgroup ", execution.cgroup_parent());
  }
  return id;
}

std::string AdoptionKey(const StepRunner::Request& request, const v1::LayerResult& layer) {
  return absl::StrCat(request.domain, "/", request.parent_chain_id->hex(), "/",
                      layer.canonical().hash());
}

bool IsAdoptable(const StepRunner::Request& request, const v1::StepResult& result) {
  return request.parent_chain_id.has_value() && result.has_layer() && result.exit_code() == 0;
}

}  // namespace

StepRunner::StepRunner(Options options, Clock& clock, Executor& loop, Executor& pool,
                       Publisher& publisher, Scheduler& scheduler)
    : options_(options),
      clock_(clock),
      loop_(loop),
      pool_(pool),
      publisher_(publisher),
      scheduler_(scheduler) {}

StepRunner::~StepRunner() = default;

absl::Status StepRunner::CheckCanRun(const v1::StepSpec& spec) const {
  Scheduler::Job job;
  SetNeeds(spec, job);
  if (!HasWorkers() || scheduler_.CanEverRun(job)) return absl::OkStatus();
  return scheduler_.NobodyCanRun(job);
}

StepRunner::Ticket StepRunner::Run(Request request, Observer observer) {
  const Ticket ticket = next_ticket_++;
  const std::string id = JobId(request);
  tickets_[ticket] = id;
  if (const auto it = jobs_.find(id); it != jobs_.end()) {
    Job& job = *it->second;
    job.waiters.push_back({.ticket = ticket, .shared = true, .observer = std::move(observer)});
    const Observer& joined = job.waiters.back().observer;
    if (!job.worker.empty() && joined.on_phase) joined.on_phase(job.worker, job.phase);
    if (joined.on_log) {
      for (const LogChunk& chunk : job.log) joined.on_log(chunk.bytes, chunk.is_stderr);
    }
    return ticket;
  }
  if (const auto it = settled_.find(id); it != settled_.end()) {
    // Done, and on its way into the action cache.
    const std::shared_ptr<Job> job = it->second;
    job->waiters.push_back({.ticket = ticket, .shared = true, .observer = std::move(observer)});
    const bool posted = loop_.Post([this, job, waiter = job->waiters.back()] {
      if (tickets_.erase(waiter.ticket) == 0 || !waiter.observer.on_done) return;
      Outcome outcome = job->outcome;
      outcome.shared = true;
      waiter.observer.on_done(std::move(outcome));
    });
    FARM_CHECK(posted) << "the event loop refuses work";
    return ticket;
  }
  if (absl::Status refused = CheckLendable(request.spec); !refused.ok()) {
    const bool posted = loop_.Post([this, ticket, refused, on_done = std::move(observer.on_done)] {
      if (tickets_.erase(ticket) > 0 && on_done) on_done(refused);
    });
    FARM_CHECK(posted) << "the event loop refuses work";
    return ticket;
  }
  auto job = std::make_shared<Job>();
  job->request = std::move(request);
  job->waiters.push_back({.ticket = ticket, .shared = false, .observer = std::move(observer)});
  jobs_[id] = job;
  scheduler_.Submit(JobFor(id, job->request));
  AnswerPolls();
  return ticket;
}

void StepRunner::Leave(Ticket ticket) {
  const auto it = tickets_.find(ticket);
  if (it == tickets_.end()) return;
  const std::string id = it->second;
  tickets_.erase(it);
  const auto job = jobs_.find(id);
  if (job == jobs_.end()) return;
  std::erase_if(job->second->waiters, [&](const Waiter& w) { return w.ticket == ticket; });
  if (!job->second->waiters.empty()) return;
  jobs_.erase(job);
  scheduler_.Withdraw(id);
  AnswerPolls();
}

void StepRunner::Synchronize(const v1::SynchronizeRequest& request,
                             std::function<void(absl::StatusOr<v1::SynchronizeResponse>)> reply) {
  if (closed_) return reply(absl::UnavailableError("the coordinator is stopping"));
  const std::string& worker = request.worker();
  if (const auto it = polls_.find(worker); it != polls_.end()) {
    v1::SynchronizeResponse superseded;
    superseded.set_superseded(true);
    it->second.reply(std::move(superseded));
    polls_.erase(it);
  }
  polls_[worker] = {.since = clock_.Now(), .reply = std::move(reply)};
  Take(scheduler_.OnReport(request, clock_.Now()));
  if (request.leaving()) polls_.extract(worker).mapped().reply(v1::SynchronizeResponse());
  AnswerPolls();
}

absl::StatusOr<bool> StepRunner::AppendLog(const v1::AppendLogRequest& request) {
  const LeaseEpoch epoch{request.epoch().incarnation(), request.epoch().sequence()};
  const std::optional<std::string> id = scheduler_.JobOf(epoch);
  if (!id.has_value()) return absl::AbortedError("the lease is not held any more");
  Job& job = *jobs_.at(*id);
  if (epoch != job.log_epoch) {  // Another attempt: its log starts anew.
    job.log_epoch = epoch;
    job.log_offset = 0;
  }
  absl::string_view bytes = request.bytes();
  const int64_t known = job.log_offset - request.offset();
  if (known >= static_cast<int64_t>(bytes.size())) return job.log_truncated;
  if (known > 0) bytes.remove_prefix(static_cast<size_t>(known));
  job.log_offset = request.offset() + static_cast<int64_t>(request.bytes().size());
  if (job.log_truncated) return true;
  const int64_t room = options_.step_log_bytes_max - job.log_bytes;
  std::string kept(bytes.substr(0, static_cast<size_t>(std::max<int64_t>(room, 0))));
  if (static_cast<int64_t>(bytes.size()) > room) {
    job.log_truncated = true;
    absl::StrAppend(&kept, "\n[output clipped, log limit of ", options_.step_log_bytes_max,
                    " bytes reached]\n");
  }
  job.log_bytes += static_cast<int64_t>(kept.size());
  for (const Waiter& waiter : job.waiters) {
    if (waiter.observer.on_log) waiter.observer.on_log(kept, request.is_stderr());
  }
  job.log.push_back({.bytes = std::move(kept), .is_stderr = request.is_stderr()});
  return job.log_truncated;
}

void StepRunner::AskSshAgent(const v1::AskSshAgentRequest& request,
                             std::function<void(absl::StatusOr<std::string>)> then) {
  const LeaseEpoch epoch{request.epoch().incarnation(), request.epoch().sequence()};
  // Not of whom else a step was lent to: an agent is for the step's worker alone.
  const std::optional<std::string> id = scheduler_.JobOf(epoch, request.worker());
  if (!id.has_value()) return then(absl::AbortedError("the lease is not held any more"));
  const Job& job = *jobs_.at(*id);
  const auto& agents = job.request.spec.execution().ssh_agents();
  if (std::find(agents.begin(), agents.end(), request.agent()) == agents.end()) {
    return then(
        absl::PermissionDeniedError(absl::StrCat("the step has no ssh agent ", request.agent())));
  }
  const auto is_held = [this, epoch, worker = request.worker()] {
    return scheduler_.JobOf(epoch, worker).has_value();
  };
  for (const Waiter& waiter : job.waiters) {
    if (waiter.observer.ask_ssh_agent &&
        waiter.observer.ask_ssh_agent(request.agent(), request.question(), is_held, then)) {
      return;
    }
  }
  then(absl::UnavailableError(absl::StrCat("nobody has the ssh agent ", request.agent())));
}

void StepRunner::OnTick() {
  Take(scheduler_.OnTick(clock_.Now()));
  AnswerPolls();
}

void StepRunner::Take(std::vector<Scheduler::Event> events) {
  for (const Scheduler::Event& event : events) {
    const auto it = jobs_.find(event.job);
    if (it == jobs_.end()) {
      if (event.unacknowledged.has_value()) {
        scheduler_.Acknowledge(event.worker, *event.unacknowledged);
      }
      continue;
    }
    switch (event.kind) {
      case Scheduler::Event::Kind::kPhase:
        it->second->worker = event.worker;
        it->second->phase = event.phase;
        for (const Waiter& waiter : it->second->waiters) {
          if (waiter.observer.on_phase) waiter.observer.on_phase(event.worker, event.phase);
        }
        break;
      case Scheduler::Event::Kind::kRequeued:
        LogWarning("step runs again", {{"key", it->second->request.key.hex()},
                                       {"step", it->second->request.record.name()},
                                       {"why", std::string(event.error.message())}});
        break;
      case Scheduler::Event::Kind::kFinished:
        OnFinished(event.job, event);
        break;
    }
  }
}

void StepRunner::OnFinished(const std::string& id, const Scheduler::Event& event) {
  const std::shared_ptr<Job> job = jobs_.at(id);
  if (event.unacknowledged.has_value()) {
    job->acknowledge = [this, worker = event.worker, epoch = *event.unacknowledged] {
      scheduler_.Acknowledge(worker, epoch);
    };
  }
  if (!event.error.ok()) return Drop(id, *job, event.error);
  if (absl::Status status = CheckResult(job->request.spec.identity(), event.result); !status.ok()) {
    return Drop(id, *job, Annotate(status, absl::StrCat("worker ", event.worker)));
  }
  if (event.result.exit_code() != 0) {
    RememberFailure(job->request, event.result);
    return Drop(id, *job, Outcome{.result = event.result, .worker = event.worker});
  }
  if (!IsAdoptable(job->request, event.result)) {
    return Settle(job, {.result = event.result, .worker = event.worker});
  }
  // An equal layer on the same root keeps its name, so that all that stands on it stays a hit.
  if (const auto it = publishing_.find(AdoptionKey(job->request, event.result.layer()));
      it != publishing_.end()) {
    return Settle(job, {.result = it->second, .adopted = true, .worker = event.worker});
  }
  const Digest canonical = *DigestFromProto(event.result.layer().canonical());
  const bool posted = pool_.Post([this, job, canonical, result = event.result,
                                  worker = event.worker]() mutable {
    absl::StatusOr<v1::StepResult> equal =
        publisher_.FindEqualLayer(job->request.domain, *job->request.parent_chain_id, canonical);
    const bool back = loop_.Post([this, job, equal = std::move(equal), result = std::move(result),
                                  worker = std::move(worker)]() mutable {
      // Another step may have put an equal layer on its way meanwhile.
      Outcome outcome{.adopted = true, .worker = std::move(worker)};
      if (const auto it = publishing_.find(AdoptionKey(job->request, result.layer()));
          it != publishing_.end()) {
        outcome.result = it->second;
      } else if (equal.ok()) {
        outcome.result = *std::move(equal);
      } else {
        outcome.result = std::move(result);
        outcome.adopted = false;
      }
      Settle(job, std::move(outcome));
    });
    FARM_CHECK(back) << "the event loop refuses work";
  });
  if (!posted) Drop(id, *job, absl::ResourceExhaustedError("the coordinator's pool is full"));
}

// Ends a job whose result is not kept.
void StepRunner::Drop(const std::string& id, Job& job, absl::StatusOr<Outcome> outcome) {
  jobs_.erase(id);
  if (job.acknowledge) job.acknowledge();
  Finish(job, std::move(outcome));
}

// For --explain alone: nobody waits for it, and if the pool is full it is not worth an error.
void StepRunner::RememberFailure(const Request& request, const v1::StepResult& result) {
  Publisher::Entry entry{.domain = request.domain,
                         .key = request.key,
                         .record = request.record,
                         .parent_chain_id = std::nullopt,
                         .aliases = request.aliases};
  *entry.record.mutable_result() = result;
  const bool posted = pool_.Post([this, entry = std::move(entry)] {
    const absl::Status status = publisher_.PublishFailure(entry);
    if (!status.ok()) LogError("remembering a failure", {{"error", LogText(status)}});
  });
  if (!posted) LogWarning("a failure is not remembered: the pool is full");
}

void StepRunner::Settle(const std::shared_ptr<Job>& job, Outcome outcome) {
  const std::string id = JobId(job->request);
  // It may be gone, if everybody left meanwhile; the result is worth keeping all the same.
  if (const auto it = jobs_.find(id); it != jobs_.end() && it->second == job) jobs_.erase(it);
  *job->request.record.mutable_result() = outcome.result;
  job->outcome = outcome;
  Publish(id, job);
  Finish(*job, std::move(outcome));
}

void StepRunner::Publish(const std::string& id, const std::shared_ptr<Job>& job) {
  std::string adoption_key;
  if (IsAdoptable(job->request, job->outcome.result)) {
    adoption_key = AdoptionKey(job->request, job->outcome.result.layer());
    publishing_[adoption_key] = job->outcome.result;
  }
  if (job->request.cacheable) settled_[id] = job;
  const auto published = [this, id, job, adoption_key](absl::Status status) {
    if (job->acknowledge) job->acknowledge();
    publishing_.erase(adoption_key);
    if (const auto it = settled_.find(id); it != settled_.end() && it->second == job) {
      settled_.erase(it);
    }
    for (const Waiter& waiter : job->waiters) {
      if (waiter.observer.on_published) waiter.observer.on_published(status);
    }
    AnswerPolls();
  };
  const auto post_back = [this, published](absl::Status status) {
    const bool back = loop_.Post([published, status] { published(status); });
    FARM_CHECK(back) << "the event loop refuses work";
  };
  // What is unchanged stands there already.
  if (!job->request.cacheable || job->outcome.result.not_modified()) {
    return post_back(absl::OkStatus());
  }
  Publisher::Entry entry{.domain = job->request.domain,
                         .key = job->request.key,
                         .record = job->request.record,
                         .parent_chain_id = job->request.parent_chain_id,
                         .aliases = job->request.aliases};
  const bool posted = pool_.Post([this, entry = std::move(entry), post_back] {
    const absl::Status status = publisher_.Publish(entry);
    if (!status.ok()) LogError("publishing a result", {{"error", LogText(status)}});
    post_back(status);
  });
  if (!posted) post_back(absl::ResourceExhaustedError("the coordinator's pool is full"));
}

void StepRunner::Finish(Job& job, absl::StatusOr<Outcome> outcome) {
  // Copies: an observer may leave or start other steps.
  const std::vector<Waiter> waiters = job.waiters;
  for (const Waiter& waiter : waiters) {
    if (tickets_.erase(waiter.ticket) == 0) continue;
    if (!waiter.observer.on_done) continue;
    if (!outcome.ok()) {
      waiter.observer.on_done(outcome.status());
      continue;
    }
    Outcome copy = *outcome;
    copy.shared = waiter.shared;
    waiter.observer.on_done(std::move(copy));
  }
}

void StepRunner::AnswerPolls() {
  const absl::Time now = clock_.Now();
  for (auto it = polls_.begin(); it != polls_.end();) {
    if (!scheduler_.HasNews(it->first) && now - it->second.since < options_.poll_max) {
      ++it;
      continue;
    }
    const std::string worker = it->first;
    const auto reply = std::move(it->second.reply);
    it = polls_.erase(it);
    reply(DesiredState(worker));
  }
}

void StepRunner::AnswerAll() {
  for (auto& [worker, poll] : std::exchange(polls_, {})) poll.reply(DesiredState(worker));
}

void StepRunner::Close() {
  AnswerAll();
  closed_ = true;
}

v1::SynchronizeResponse StepRunner::DesiredState(const std::string& worker) {
  v1::SynchronizeResponse response;
  for (const Scheduler::Grant& grant : scheduler_.LeasesOf(worker)) {
    const Job& job = *jobs_.at(grant.job);
    v1::Lease& lease = *response.add_leases();
    *lease.mutable_epoch() = ToProto(grant.epoch);
    lease.set_job(grant.job);
    lease.set_key(job.request.key.hex());
    *lease.mutable_spec() = job.request.spec;
  }
  for (LeaseEpoch epoch : scheduler_.TakeAcknowledged(worker)) {
    *response.add_acknowledged() = ToProto(epoch);
  }
  for (LeaseEpoch epoch : scheduler_.TakeRevoked(worker)) *response.add_revoked() = ToProto(epoch);
  response.mutable_lease_ttl()->set_seconds(absl::ToInt64Seconds(options_.lease_ttl));
  scheduler_.MarkTold(worker);
  return response;
}

}  // namespace farm
