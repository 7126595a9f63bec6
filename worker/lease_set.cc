#include "worker/lease_set.h"

#include <utility>

#include "absl/status/status.h"
#include "base/check.h"
#include "base/time_proto.h"
#include "rpc/status.h"

namespace farm {
namespace {

// What a server said may be in it. A text that is not UTF-8 would make the report unreadable, and
// so each later one, since it is repeated until it is acknowledged.
absl::Status CheckReadable(const v1::StepResult& result) {
  v1::StepResult copy;
  if (copy.ParseFromString(result.SerializeAsString())) return absl::OkStatus();
  return absl::InvalidArgumentError("the result of the step has a text that is not UTF-8");
}

}  // namespace

LeaseSet::Actions LeaseSet::OnResponse(const v1::SynchronizeResponse& response,
                                       int64_t call_sequence, absl::Time called) {
  Actions actions;
  // An overtaken answer tells what the coordinator wanted earlier: its leases may be done since.
  if (call_sequence <= answered_sequence_) return actions;
  answered_sequence_ = call_sequence;
  last_contact_ = called;
  if (response.superseded()) return actions;
  if (response.has_lease_ttl()) {
    lease_ttl_ = DurationFromProto(response.lease_ttl());
  }
  for (const v1::LeaseEpoch& proto : response.acknowledged()) {
    const auto it = leases_.find(Epoch::FromProto(proto));
    if (it != leases_.end() && it->second.state == State::kDone) Forget(it->first);
  }
  for (const v1::LeaseEpoch& proto : response.revoked()) {
    const Epoch epoch = Epoch::FromProto(proto);
    Actions stop = Stop(epoch);
    actions.stop.insert(actions.stop.end(), stop.stop.begin(), stop.stop.end());
  }
  for (const v1::Lease& lease : response.leases()) {
    const Epoch epoch = Epoch::FromProto(lease.epoch());
    if (leases_.contains(epoch) || forgotten_.contains(epoch) || !lease.has_spec()) continue;
    Held& held = leases_[epoch];
    *held.report.mutable_epoch() = lease.epoch();
    held.report.set_job(lease.job());
    held.report.set_phase(v1::LeaseState::PHASE_FETCHING);
    actions.start.push_back(lease);
  }
  return actions;
}

LeaseSet::Actions LeaseSet::OnTick(absl::Time now) {
  if (now - last_contact_ <= lease_ttl_) return {};
  return StopAll();
}

LeaseSet::Actions LeaseSet::Stop(Epoch epoch) {
  const auto it = leases_.find(epoch);
  if (it == leases_.end()) return {};
  switch (it->second.state) {
    case State::kRunning:
      it->second.state = State::kStopping;
      return {.start = {}, .stop = {epoch}};
    case State::kStopping:
      return {};
    case State::kDone:
      Forget(epoch);
      return {};
  }
  return {};
}

LeaseSet::Actions LeaseSet::StopAll() {
  Actions actions;
  for (auto& [epoch, held] : leases_) {
    if (held.state != State::kRunning) continue;
    held.state = State::kStopping;
    actions.stop.push_back(epoch);
  }
  return actions;
}

void LeaseSet::OnPhase(Epoch epoch, v1::LeaseState::Phase phase) {
  const auto it = leases_.find(epoch);
  if (it != leases_.end()) it->second.report.set_phase(phase);
}

void LeaseSet::OnFinished(Epoch epoch, absl::StatusOr<v1::StepResult> result) {
  const auto it = leases_.find(epoch);
  FARM_CHECK(it != leases_.end()) << "a step without a lease has ended";
  Held& held = it->second;
  FARM_CHECK(held.state != State::kDone) << "a step has ended twice";
  if (held.state == State::kStopping) return Forget(epoch);
  held.state = State::kDone;
  held.report.set_phase(v1::LeaseState::PHASE_DONE);
  if (result.ok()) {
    if (absl::Status unreadable = CheckReadable(*result); !unreadable.ok()) {
      result = std::move(unreadable);
    }
  }
  if (result.ok()) {
    *held.report.mutable_result() = *std::move(result);
  } else {
    *held.report.mutable_error() = ToErrorDetail(result.status());
  }
}

void LeaseSet::Forget(Epoch epoch) {
  leases_.erase(epoch);
  if (!forgotten_.insert(epoch).second) return;
  forgotten_order_.push_back(epoch);
  if (forgotten_order_.size() > kForgottenMax) {
    forgotten_.erase(forgotten_order_.front());
    forgotten_order_.pop_front();
  }
}

void LeaseSet::Report(v1::SynchronizeRequest& request) const {
  for (const auto& [epoch, held] : leases_) {
    if (held.state != State::kStopping) *request.add_leases() = held.report;
  }
}

int LeaseSet::running() const {
  int count = 0;
  for (const auto& [epoch, held] : leases_) count += held.state == State::kDone ? 0 : 1;
  return count;
}

}  // namespace farm
