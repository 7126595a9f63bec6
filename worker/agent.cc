#include "worker/agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "worker/log_streamer.h"

namespace farm {
namespace {

constexpr absl::Duration kTick = absl::Seconds(1);
constexpr int kPollThreads = 2;

bool IsRefusal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsFailedPrecondition(status);
}

v1::LeaseState::Phase ToProto(StepPhase phase) {
  switch (phase) {
    case StepPhase::kFetching:
      return v1::LeaseState::PHASE_FETCHING;
    case StepPhase::kRunning:
      return v1::LeaseState::PHASE_RUNNING;
    case StepPhase::kStoring:
      return v1::LeaseState::PHASE_STORING;
  }
  return v1::LeaseState::PHASE_UNSPECIFIED;
}

std::string RunId(LeaseSet::Epoch epoch) {
  return absl::StrCat("lease-", epoch.incarnation, "-", epoch.sequence);
}

}  // namespace

Agent::Agent(Options options, LeaseClient& client, StepExecutor& executor, LayerCache& layers,
             Clock& clock)
    : options_(std::move(options)),
      client_(client),
      executor_(executor),
      layers_(layers),
      clock_(clock) {}

absl::Status Agent::Run() {
  std::vector<std::thread> slots;
  for (int i = 0; i < options_.slots; ++i) slots.emplace_back([this] { SlotLoop(); });
  std::vector<std::thread> polls;
  for (int i = 0; i < kPollThreads; ++i) polls.emplace_back([this] { PollLoop(); });

  bool stopped = false;
  while (true) {
    Tasks stop;
    {
      MutexLock lock(mu_);
      if (IsOver()) {
        over_ = true;
        changed_.notify_all();
        break;
      }
      if ((stopping_ || !refusal_.ok()) && !std::exchange(stopped, true)) {
        stop = Apply(leases_.StopAll());
      } else {
        const absl::Time now = clock_.Now();
        stop = Apply(leases_.OnTick(now));
        if (now >= phase_report_at_) Changed();
        if (stop.empty()) {
          lock.WaitFor(changed_, std::clamp(phase_report_at_ - now, absl::ZeroDuration(), kTick));
        }
      }
    }
    Cancel(stop);
  }
  end_of_polls_.Cancel();
  for (std::thread& thread : polls) thread.join();
  for (std::thread& thread : slots) thread.join();
  SayGoodbye();
  MutexLock lock(mu_);
  if (refusal_.ok() && !draining_) LogInfo("left: the coordinator is gone");
  return refusal_;
}

bool Agent::IsOver() const {
  if (leases_.running() > 0) return false;
  return stopping_ || !refusal_.ok() || (draining_ && leases_.empty()) ||
         // Not while it calls: the coordinator may be back, and count on this worker.
         (calls_ == 0 && absl::Now() - lost_since_ > options_.leave_after);
}

void Agent::Drain() {
  MutexLock lock(mu_);
  draining_ = true;
  Changed();
}

void Agent::Stop() {
  MutexLock lock(mu_);
  draining_ = true;
  stopping_ = true;
  Changed();
}

void Agent::Changed() {
  has_news_ = true;
  phase_report_at_ = absl::InfiniteFuture();
  changed_.notify_all();
}

// Polls.

void Agent::PollLoop() {
  while (true) {
    v1::SynchronizeRequest request;
    {
      MutexLock lock(mu_);
      // One call is always under way; a second only if there is news. Two together can't be more
      // than one round trip old: the coordinator answers the older at once.
      while (!over_ && refusal_.ok() && (calls_ > 0 && !has_news_)) lock.Wait(changed_);
      if (over_ || !refusal_.ok()) return;
      if (const absl::Duration pause = retry_at_ - absl::Now(); pause > absl::ZeroDuration()) {
        lock.WaitFor(changed_, pause);
        continue;
      }
      has_news_ = false;
      ++calls_;
      request = MakeRequest();
    }
    const absl::Time called = clock_.Now();
    const absl::StatusOr<v1::SynchronizeResponse> response =
        client_.Synchronize(request, options_.poll_timeout, end_of_polls_);
    OnAnswer(response, request.sequence(), called);
  }
}

v1::SynchronizeRequest Agent::MakeRequest() {
  v1::SynchronizeRequest request;
  request.set_worker(options_.worker);
  request.set_incarnation(options_.incarnation);
  request.set_sequence(++sequence_);
  request.set_version(options_.version);
  request.set_slots(options_.slots);
  *request.mutable_platform() = options_.platform;
  for (const v1::NetworkMode network : options_.networks) request.add_networks(network);
  request.set_isolated_missing(options_.isolated_missing);
  request.set_insecure_allowed(options_.insecure_allowed);
  for (const std::string& parent : options_.cgroup_parents) request.add_cgroup_parents(parent);
  for (const std::string& limit : options_.limits_missing) request.add_limits_missing(limit);
  request.set_draining(draining_);
  leases_.Report(request);
  if (std::exchange(report_all_layers_, false)) {
    for (std::string& layer : layers_.TakeAll()) request.add_layers_added(std::move(layer));
  } else {
    LayerCache::Changes changes = layers_.TakeChanges();
    for (std::string& layer : changes.added) request.add_layers_added(std::move(layer));
    for (std::string& layer : changes.removed) request.add_layers_removed(std::move(layer));
  }
  return request;
}

void Agent::OnAnswer(const absl::StatusOr<v1::SynchronizeResponse>& response, int64_t sequence,
                     absl::Time called) {
  Tasks stop;
  {
    MutexLock lock(mu_);
    --calls_;
    changed_.notify_all();
    if (response.ok()) {
      if (retry_ > absl::ZeroDuration()) LogInfo("coordinator reached again");
      retry_ = absl::ZeroDuration();
      retry_at_ = absl::InfinitePast();
      lost_since_ = absl::InfiniteFuture();
      stop = Apply(leases_.OnResponse(*response, sequence, called));
    } else if (!over_) {
      OnFailure(response.status());
    }
  }
  Cancel(stop);
}

void Agent::OnFailure(const absl::Status& status) {
  report_all_layers_ = true;  // What the call had to say may be lost, or forgotten by a restart.
  if (IsRefusal(status)) {
    refusal_ = status;
    return;
  }
  if (absl::IsDeadlineExceeded(status)) return;
  if (retry_ == absl::ZeroDuration()) {
    LogWarning("coordinator not reachable", {{"error", LogText(status)}});
    retry_ = options_.retry_first;
    lost_since_ = absl::Now();
  } else {
    retry_ = std::min(retry_ * 2, options_.retry_max);
  }
  // Between half and all of it, so that a farm's workers do not come back all at once.
  retry_at_ = absl::Now() + retry_ * absl::Uniform(random_, 0.5, 1.0);
}

void Agent::SayGoodbye() {
  v1::SynchronizeRequest request;
  {
    MutexLock lock(mu_);
    if (!draining_ || !refusal_.ok()) return;
    request = MakeRequest();
  }
  request.set_leaving(true);
  CancelToken never;
  const auto answer = client_.Synchronize(request, options_.goodbye_timeout, never);
  if (!answer.ok()) LogInfo("left without a word", {{"error", LogText(answer.status())}});
}

// Steps.

Agent::Tasks Agent::Apply(const LeaseSet::Actions& actions) {
  for (const v1::Lease& lease : actions.start) {
    auto task = std::make_shared<Task>();
    task->lease = lease;
    tasks_[LeaseSet::Epoch::FromProto(lease.epoch())] = task;
    waiting_.push_back(std::move(task));
  }
  Tasks stop;
  for (const LeaseSet::Epoch epoch : actions.stop) {
    if (const auto it = tasks_.find(epoch); it != tasks_.end()) stop.push_back(it->second);
  }
  if (!actions.empty()) changed_.notify_all();
  return stop;
}

void Agent::Cancel(const Tasks& tasks) {
  for (const std::shared_ptr<Task>& task : tasks) task->cancel.Cancel();
}

void Agent::SlotLoop() {
  while (true) {
    std::shared_ptr<Task> task;
    {
      MutexLock lock(mu_);
      while (!over_ && waiting_.empty()) lock.Wait(changed_);
      if (waiting_.empty()) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    RunTask(*task);
  }
}

void Agent::RunTask(Task& task) {
  const LeaseSet::Epoch epoch = LeaseSet::Epoch::FromProto(task.lease.epoch());
  const std::string id = RunId(epoch);
  LogInfo("step started", {{"lease", id},
                           {"step", task.lease.key().substr(0, 12)},
                           {"name", task.lease.spec().execution().name()}});
  LogStreamer log(client_, task.lease.epoch(), [&] {
    Tasks stop;
    {
      MutexLock lock(mu_);
      stop = Apply(leases_.Stop(epoch));
    }
    Cancel(stop);
  });
  const absl::Time started = clock_.Now();
  absl::StatusOr<v1::StepResult> result = executor_.Execute(
      {.id = id,
       .spec = task.lease.spec(),
       .log = log,
       .cancel = task.cancel,
       .enter_phase =
           [&](StepPhase phase) {
             MutexLock lock(mu_);
             leases_.OnPhase(epoch, ToProto(phase));
             if (phase_report_at_ == absl::InfiniteFuture()) {
               phase_report_at_ = clock_.Now() + options_.phase_report_delay;
               changed_.notify_all();
             }
           },
       .ask_ssh_agent =
           [&](const std::string& agent, absl::string_view question, CancelToken& cancel) {
             return AskSshAgent(task.lease.epoch(), agent, question, cancel);
           }});
  // The log before the result: who sees a step done has seen what it wrote.
  log.Finish();
  LogInfo("step ended", {{"lease", id},
                         {"seconds", absl::StrCat(absl::ToDoubleSeconds(clock_.Now() - started))},
                         {"outcome", result.ok() ? absl::StrCat("exit ", result->exit_code())
                                                 : LogText(result.status())}});
  MutexLock lock(mu_);
  tasks_.erase(epoch);
  leases_.OnFinished(epoch, std::move(result));
  Changed();
}

absl::StatusOr<std::string> Agent::AskSshAgent(const v1::LeaseEpoch& epoch,
                                               const std::string& agent, absl::string_view question,
                                               CancelToken& cancel) {
  v1::AskSshAgentRequest request;
  request.set_worker(options_.worker);
  *request.mutable_epoch() = epoch;
  request.set_agent(agent);
  request.set_question(std::string(question));
  const absl::Time deadline = clock_.Now() + options_.ssh_agent_timeout;
  absl::Duration retry = options_.retry_first;
  while (true) {
    absl::StatusOr<v1::AskSshAgentResponse> response =
        client_.AskSshAgent(request, deadline - clock_.Now(), cancel);
    if (response.ok()) return std::move(*response->mutable_answer());
    // A coordinator that has just begun knows neither leases nor builds before they tell it.
    const bool may_pass =
        absl::IsUnavailable(response.status()) || absl::IsAborted(response.status());
    if (!may_pass || clock_.Now() + retry > deadline || cancel.WaitFor(retry)) {
      return response.status();
    }
    retry = std::min(retry * 2, options_.retry_max);
  }
}

}  // namespace farm
