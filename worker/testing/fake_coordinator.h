#ifndef FARM_WORKER_TESTING_FAKE_COORDINATOR_H_
#define FARM_WORKER_TESTING_FAKE_COORDINATOR_H_

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "worker/lease_client.h"

namespace farm {

inline v1::Lease MakeLease(int64_t sequence, const std::string& key = "k") {
  v1::Lease lease;
  lease.mutable_epoch()->set_incarnation(1);
  lease.mutable_epoch()->set_sequence(sequence);
  lease.set_key(key);
  lease.set_job("main/" + key);
  lease.mutable_spec()->mutable_execution()->set_name(key);
  return lease;
}

// A coordinator as the agent sees it. Answers a poll when it has news, or when a newer poll comes.
class FakeCoordinator final : public LeaseClient {
 public:
  absl::StatusOr<v1::SynchronizeResponse> Synchronize(const v1::SynchronizeRequest& request,
                                                      absl::Duration timeout,
                                                      CancelToken& cancel) override {
    const CancelToken::Callback wake(cancel, [this] {
      MutexLock lock(mu_);
      changed_.notify_all();
    });
    MutexLock lock(mu_);
    requests_.push_back(request);
    newest_ = request.sequence();
    for (const v1::LeaseState& state : request.leases()) {
      if (state.phase() == v1::LeaseState::PHASE_DONE && acknowledge_) {
        *next_.add_acknowledged() = state.epoch();
        news_ = true;
      }
    }
    changed_.notify_all();
    if (request.leaving()) return v1::SynchronizeResponse();
    const absl::Time give_up = absl::Now() + timeout;
    while (true) {
      if (!down_.ok()) return down_;
      if (cancel.cancelled()) return absl::CancelledError("");
      if (request.sequence() != newest_) {
        v1::SynchronizeResponse superseded;
        superseded.set_superseded(true);
        return superseded;
      }
      if (news_) {
        news_ = false;
        v1::SynchronizeResponse response = std::move(next_);
        next_ = {};
        *response.mutable_leases() = {leases_.begin(), leases_.end()};
        response.mutable_lease_ttl()->set_seconds(30);
        return response;
      }
      if (absl::Now() > give_up) return absl::DeadlineExceededError("");
      lock.WaitFor(changed_, absl::Seconds(1));
    }
  }

  absl::StatusOr<v1::AppendLogResponse> AppendLog(const v1::AppendLogRequest& request,
                                                  absl::Duration) override {
    MutexLock lock(mu_);
    if (!log_error_.empty()) {
      const absl::Status error = log_error_.front();
      log_error_.pop_front();
      if (!error.ok()) return error;
    }
    if (request.offset() == static_cast<int64_t>(log_.size())) log_ += request.bytes();
    log_requests_.push_back(request);
    changed_.notify_all();
    v1::AppendLogResponse response;
    response.set_truncated(log_.size() >= log_bytes_max_);
    return response;
  }

  absl::StatusOr<v1::AskSshAgentResponse> AskSshAgent(const v1::AskSshAgentRequest& request,
                                                      absl::Duration, CancelToken&) override {
    if (!ask_errors_.empty()) {
      const absl::Status error = ask_errors_.front();
      ask_errors_.pop_front();
      return error;
    }
    v1::AskSshAgentResponse response;
    response.set_answer(absl::StrCat(request.worker(), " ", request.epoch().sequence(), " ",
                                     request.agent(), " ", request.question()));
    return response;
  }

  // Before a step asks.
  void FailQuestions(std::deque<absl::Status> errors) { ask_errors_ = std::move(errors); }
  void Grant(const v1::Lease& lease) {
    MutexLock lock(mu_);
    leases_.push_back(lease);
    News();
  }
  void Revoke(const v1::Lease& lease) {
    MutexLock lock(mu_);
    std::erase_if(leases_, [&](const v1::Lease& l) {
      return l.epoch().sequence() == lease.epoch().sequence();
    });
    *next_.add_revoked() = lease.epoch();
    News();
  }
  void GoDown(absl::Status status) {
    MutexLock lock(mu_);
    down_ = std::move(status);
    changed_.notify_all();
  }
  void ComeUp() { GoDown(absl::OkStatus()); }
  void FailLogs(std::deque<absl::Status> errors) {
    MutexLock lock(mu_);
    log_error_ = std::move(errors);
  }
  void LimitLog(size_t bytes) {
    MutexLock lock(mu_);
    log_bytes_max_ = bytes;
  }
  void StopAcknowledging() {
    MutexLock lock(mu_);
    acknowledge_ = false;
  }

  // Waits until a report fulfils `condition`; the report.
  v1::SynchronizeRequest WaitFor(
      const std::function<bool(const v1::SynchronizeRequest&)>& condition) {
    MutexLock lock(mu_);
    while (true) {
      for (; seen_ < requests_.size(); ++seen_) {
        if (condition(requests_[seen_])) return requests_[seen_++];
      }
      if (!lock.WaitFor(changed_, absl::Seconds(20)) && seen_ == requests_.size()) {
        ADD_FAILURE() << "no such report";
        return {};
      }
    }
  }
  v1::LeaseState WaitForDone(int64_t sequence) {
    v1::LeaseState found;
    WaitFor([&](const v1::SynchronizeRequest& request) {
      for (const v1::LeaseState& state : request.leases()) {
        if (state.epoch().sequence() == sequence && state.phase() == v1::LeaseState::PHASE_DONE) {
          found = state;
          return true;
        }
      }
      return false;
    });
    return found;
  }
  std::string log() {
    MutexLock lock(mu_);
    return log_;
  }
  // Waits until the log is `text`; false if that does not happen.
  bool WaitForLog(const std::string& text) {
    MutexLock lock(mu_);
    const absl::Time give_up = absl::Now() + absl::Seconds(20);
    while (log_ != text && absl::Now() < give_up) lock.WaitFor(changed_, absl::Seconds(1));
    return log_ == text;
  }
  std::vector<v1::AppendLogRequest> log_requests() {
    MutexLock lock(mu_);
    return log_requests_;
  }

 private:
  void News() {
    news_ = true;
    changed_.notify_all();
  }

  Mutex mu_;
  std::condition_variable changed_;
  std::vector<v1::SynchronizeRequest> requests_;
  size_t seen_ = 0;
  int64_t newest_ = 0;
  bool news_ = false;
  bool acknowledge_ = true;
  v1::SynchronizeResponse next_;
  std::vector<v1::Lease> leases_;
  absl::Status down_;
  std::string log_;
  size_t log_bytes_max_ = SIZE_MAX;
  std::deque<absl::Status> log_error_;
  std::deque<absl::Status> ask_errors_;
  std::vector<v1::AppendLogRequest> log_requests_;
};

}  // namespace farm

#endif  // FARM_WORKER_TESTING_FAKE_COORDINATOR_H_
