#include "worker/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "worker/lease_set.h"
#include "worker/log_streamer.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::Lease MakeLease(int64_t sequence, const std::string& key = "k") {
  v1::Lease lease;
  lease.mutable_epoch()->set_incarnation(1);
  lease.mutable_epoch()->set_sequence(sequence);
  lease.set_key(key);
  lease.set_job("main/" + key);
  lease.mutable_spec()->mutable_execution()->set_name(key);
  return lease;
}

LeaseSet::Epoch EpochOf(int64_t sequence) { return {.incarnation = 1, .sequence = sequence}; }

v1::StepResult Exit(int code) {
  v1::StepResult result;
  result.set_exit_code(code);
  return result;
}

// The state machine: a test for each arrow of lease_set.h.

class LeaseSetTest : public ::testing::Test {
 protected:
  LeaseSet::Actions Answer(const v1::SynchronizeResponse& response) {
    return leases_.OnResponse(response, ++sequence_, now_);
  }
  LeaseSet::Actions Grant(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_leases() = MakeLease(sequence);
    return Answer(response);
  }
  LeaseSet::Actions Revoke(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_revoked() = MakeLease(sequence).epoch();
    return Answer(response);
  }
  LeaseSet::Actions Acknowledge(int64_t sequence) {
    v1::SynchronizeResponse response;
    *response.add_acknowledged() = MakeLease(sequence).epoch();
    return Answer(response);
  }
  std::vector<v1::LeaseState> Report() {
    v1::SynchronizeRequest request;
    leases_.Report(request);
    return {request.leases().begin(), request.leases().end()};
  }

  LeaseSet leases_;
  int64_t sequence_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1000);
};

TEST_F(LeaseSetTest, UnknownLeaseIsStartedOnce) {
  EXPECT_THAT(Grant(1).start, SizeIs(1));
  EXPECT_THAT(Grant(1).start, IsEmpty());
  ASSERT_THAT(Report(), SizeIs(1));
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_FETCHING);
  EXPECT_EQ(Report()[0].job(), "main/k");
}

TEST_F(LeaseSetTest, LeaseWithoutSpecThatIsNotHeldIsNotStarted) {
  v1::SynchronizeResponse response;
  *response.add_leases() = MakeLease(1);
  response.mutable_leases(0)->clear_spec();
  EXPECT_THAT(Answer(response).start, IsEmpty());
}

TEST_F(LeaseSetTest, FinishedResultIsReportedUntilAcknowledged) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(3));
  ASSERT_THAT(Report(), SizeIs(1));
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_DONE);
  EXPECT_EQ(Report()[0].result().exit_code(), 3);
  Acknowledge(1);
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, AResultThatCouldNotBeReadIsReportedAsAnError) {
  Grant(1);
  v1::StepResult result;
  result.set_etag("\"\xff\"");
  leases_.OnFinished(EpochOf(1), result);
  EXPECT_EQ(Report()[0].error().code(), static_cast<int>(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Report()[0].error().message(), HasSubstr("UTF-8"));
}

TEST_F(LeaseSetTest, ErrorIsReportedWithItsCode) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), absl::DataLossError("damaged"));
  EXPECT_EQ(Report()[0].error().code(), static_cast<int>(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Report()[0].error().message(), "damaged");
}

TEST_F(LeaseSetTest, FinishedResultIsForgottenWhenRevoked) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_THAT(Revoke(1).stop, IsEmpty());
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, RunningLeaseStopsWhenRevokedAndIsForgottenAtItsEnd) {
  Grant(1);
  EXPECT_THAT(Revoke(1).stop, ElementsAre(EpochOf(1)));
  EXPECT_THAT(Revoke(1).stop, IsEmpty());
  EXPECT_THAT(Report(), IsEmpty());
  EXPECT_EQ(leases_.running(), 1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_TRUE(leases_.empty());
}

TEST_F(LeaseSetTest, AcknowledgingARunningLeaseChangesNothing) {
  Grant(1);
  Acknowledge(1);
  EXPECT_THAT(Report(), SizeIs(1));
}

TEST_F(LeaseSetTest, ForgottenLeaseIsNotStartedByALateAnswer) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  Acknowledge(1);
  EXPECT_THAT(Grant(1).start, IsEmpty());
}

TEST_F(LeaseSetTest, AnswerToAnOlderCallIsIgnored) {
  v1::SynchronizeResponse old;
  *old.add_leases() = MakeLease(7);
  leases_.OnResponse({}, 5, now_);
  EXPECT_THAT(leases_.OnResponse(old, 4, now_).start, IsEmpty());
}

TEST_F(LeaseSetTest, SupersededAnswerIsIgnored) {
  v1::SynchronizeResponse response;
  response.set_superseded(true);
  *response.add_leases() = MakeLease(1);
  EXPECT_THAT(Answer(response).start, IsEmpty());
}

TEST_F(LeaseSetTest, LeasesStopWithoutContactForTheirTimeAndNotBefore) {
  v1::SynchronizeResponse response;
  response.mutable_lease_ttl()->set_seconds(30);
  *response.add_leases() = MakeLease(1);
  Answer(response);
  EXPECT_THAT(leases_.OnTick(now_ + absl::Seconds(30)).stop, IsEmpty());
  EXPECT_THAT(leases_.OnTick(now_ + absl::Seconds(31)).stop, ElementsAre(EpochOf(1)));
}

TEST_F(LeaseSetTest, DoneResultOutlivesLossOfContact) {
  Grant(1);
  leases_.OnFinished(EpochOf(1), Exit(0));
  EXPECT_THAT(leases_.OnTick(now_ + absl::Hours(1)).stop, IsEmpty());
  EXPECT_THAT(Report(), SizeIs(1));
}

TEST_F(LeaseSetTest, StopAllStopsWhatRuns) {
  Grant(1);
  Grant(2);
  leases_.OnFinished(EpochOf(2), Exit(0));
  EXPECT_THAT(leases_.StopAll().stop, ElementsAre(EpochOf(1)));
}

TEST_F(LeaseSetTest, PhaseIsReported) {
  Grant(1);
  leases_.OnPhase(EpochOf(1), v1::LeaseState::PHASE_STORING);
  EXPECT_EQ(Report()[0].phase(), v1::LeaseState::PHASE_STORING);
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

// Runs what the test says.
class FakeExecutor final : public StepExecutor {
 public:
  std::function<absl::StatusOr<v1::StepResult>(const StepRun&)> run = [](const StepRun&) {
    return Exit(0);
  };
  absl::StatusOr<v1::StepResult> Execute(const StepRun& step) override { return run(step); }
};

class AgentTest : public ::testing::Test {
 protected:
  AgentTest() {
    std::string dir = ::testing::TempDir() + "/agentXXXXXX";
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    trash_ = std::make_unique<Trash>(dir_ + "/trash");
    layers_ = LayerCache::Open({.dir = dir_ + "/layers", .bytes_max = 1000, .boot_id = "b"}, clock_,
                               *trash_)
                  .value();
  }
  ~AgentTest() override {
    if (agent_ != nullptr) agent_->Stop();
    if (thread_.joinable()) thread_.join();
    layers_.reset();
    trash_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Start(int slots = 2) {
    Agent::Options options;
    options.worker = "w1";
    options.incarnation = "i1";
    options.version = "v";
    options.slots = slots;
    options.retry_first = absl::Milliseconds(1);
    options.retry_max = absl::Milliseconds(4);
    options.networks = {v1::NETWORK_MODE_HOST};
    options.leave_after = leave_after_;
    agent_ = std::make_unique<Agent>(options, coordinator_, executor_, *layers_, clock_);
    thread_ = std::thread([this] { result_ = agent_->Run(); });
  }
  absl::Status Join() {
    thread_.join();
    return result_;
  }
  void AddLayer(const std::string& content) {
    CancelToken cancel;
    const auto handle =
        layers_->Acquire({.diff_id = DigestOfText(content), .below = {}}, cancel,
                         [](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
                           std::filesystem::create_directory(path);
                           return LayerCache::Made{.size_bytes = 10, .bound = false};
                         });
    ASSERT_OK(handle.status());
  }
  static Digest DigestOfText(const std::string& text) {
    Digest::Hash hash{};
    for (size_t i = 0; i < text.size() && i < hash.size(); ++i) hash[i] = text[i];
    return Digest(hash, 0);
  }

  std::string dir_;
  FakeClock clock_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<LayerCache> layers_;
  FakeCoordinator coordinator_;
  FakeExecutor executor_;
  absl::Duration leave_after_ = absl::InfiniteDuration();
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  absl::Status result_;
};

TEST_F(AgentTest, FirstReportSaysWhoTheWorkerIs) {
  AddLayer("a");
  Start(3);
  const v1::SynchronizeRequest report = coordinator_.WaitFor([](const auto&) { return true; });
  EXPECT_EQ(report.worker(), "w1");
  EXPECT_EQ(report.incarnation(), "i1");
  EXPECT_EQ(report.slots(), 3);
  EXPECT_THAT(report.networks(), ElementsAre(v1::NETWORK_MODE_HOST));
  EXPECT_THAT(report.layers_added(), ElementsAre(DigestOfText("a").hex()));
  EXPECT_FALSE(report.draining());
}

TEST_F(AgentTest, LeaseIsRunAndItsResultReported) {
  executor_.run = [](const StepRun& run) {
    EXPECT_EQ(run.spec.execution().name(), "make");
    EXPECT_EQ(run.id, "lease-1-5");
    return Exit(7);
  };
  Start();
  coordinator_.Grant(MakeLease(5, "make"));
  const v1::LeaseState done = coordinator_.WaitForDone(5);
  EXPECT_EQ(done.result().exit_code(), 7);
  EXPECT_EQ(done.job(), "main/make");
  coordinator_.WaitFor([](const auto& r) { return r.leases().empty(); });
}

TEST_F(AgentTest, AStepsSshAgentIsAskedInItsLease) {
  absl::StatusOr<std::string> answer = absl::UnknownError("not asked");
  executor_.run = [&](const StepRun& run) {
    answer = run.ask_ssh_agent("default", "question", run.cancel);
    return Exit(0);
  };
  Start();
  coordinator_.Grant(MakeLease(5, "make"));
  coordinator_.WaitForDone(5);
  EXPECT_THAT(answer, IsOkAndHolds("w1 5 default question"));
}

TEST_F(AgentTest, AQuestionIsAskedAgainUntilTheCoordinatorIsThereAndKnowsTheLease) {
  absl::StatusOr<std::string> answer = absl::UnknownError("not asked");
  executor_.run = [&](const StepRun& run) {
    answer = run.ask_ssh_agent("default", "question", run.cancel);
    return Exit(0);
  };
  coordinator_.FailQuestions({absl::UnavailableError("down"), absl::AbortedError("no lease")});
  Start();
  coordinator_.Grant(MakeLease(5, "make"));
  coordinator_.WaitForDone(5);
  EXPECT_THAT(answer, IsOkAndHolds("w1 5 default question"));
}

TEST_F(AgentTest, AQuestionThatIsRefusedIsNotAskedAgain) {
  absl::StatusOr<std::string> answer = std::string();
  executor_.run = [&](const StepRun& run) {
    answer = run.ask_ssh_agent("default", "question", run.cancel);
    return Exit(0);
  };
  coordinator_.FailQuestions({absl::FailedPreconditionError("over")});
  Start();
  coordinator_.Grant(MakeLease(5, "make"));
  coordinator_.WaitForDone(5);
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(AgentTest, StepsRunSideBySideOnAllSlots) {
  std::atomic<int> running = 0;
  executor_.run = [&](const StepRun&) {
    ++running;
    while (running < 2) std::this_thread::yield();
    return Exit(0);
  };
  Start(2);
  coordinator_.Grant(MakeLease(1));
  coordinator_.Grant(MakeLease(2));
  coordinator_.WaitForDone(2);
}

TEST_F(AgentTest, ResultIsReportedWhileAnotherPollWaits) {
  // No news from the coordinator after the grant: only a second call can bring the result.
  coordinator_.StopAcknowledging();
  CancelToken go;
  executor_.run = [&](const StepRun&) {
    go.WaitFor(absl::Seconds(20));
    return Exit(0);
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  go.Cancel();
  EXPECT_EQ(coordinator_.WaitForDone(1).result().exit_code(), 0);
}

TEST_F(AgentTest, RevokedStepIsCancelledAndNotReported) {
  executor_.run = [](const StepRun& run) -> absl::StatusOr<v1::StepResult> {
    EXPECT_TRUE(run.cancel.WaitFor(absl::Seconds(20)));
    return absl::CancelledError("");
  };
  Start();
  const v1::Lease lease = MakeLease(1);
  coordinator_.Grant(lease);
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  coordinator_.Revoke(lease);
  coordinator_.WaitFor([](const auto& r) { return r.leases().empty(); });
}

TEST_F(AgentTest, CoordinatorThatComesBackGetsTheResultAndAllLayers) {
  AddLayer("a");
  CancelToken go;
  executor_.run = [&](const StepRun&) {
    go.WaitFor(absl::Seconds(20));
    return Exit(4);
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  coordinator_.GoDown(absl::UnavailableError("gone"));
  go.Cancel();
  coordinator_.WaitForDone(1);
  coordinator_.ComeUp();
  const auto report = coordinator_.WaitFor([](const auto& r) { return r.layers_added_size() > 0; });
  EXPECT_THAT(report.layers_added(), ElementsAre(DigestOfText("a").hex()));
}

TEST_F(AgentTest, StepIsCancelledWhenItsLeaseHasRunOut) {
  CancelToken cancelled;
  executor_.run = [&](const StepRun& run) -> absl::StatusOr<v1::StepResult> {
    run.cancel.WaitFor(absl::Seconds(20));
    cancelled.Cancel();
    return absl::CancelledError("");
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  coordinator_.GoDown(absl::UnavailableError("gone"));
  clock_.Advance(absl::Seconds(31));
  EXPECT_TRUE(cancelled.WaitFor(absl::Seconds(20)));
}

TEST_F(AgentTest, RefusedWorkerEnds) {
  for (const auto code : {absl::StatusCode::kUnauthenticated, absl::StatusCode::kPermissionDenied,
                          absl::StatusCode::kFailedPrecondition}) {
    coordinator_.GoDown(absl::Status(code, "no"));
    Start();
    EXPECT_THAT(Join(), StatusIs(code));
  }
}

TEST_F(AgentTest, DrainingWorkerFinishesWhatItHas) {
  CancelToken go;
  executor_.run = [&](const StepRun&) {
    go.WaitFor(absl::Seconds(20));
    return Exit(0);
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  agent_->Drain();
  coordinator_.WaitFor([](const auto& r) { return r.draining(); });
  go.Cancel();
  coordinator_.WaitForDone(1);
  EXPECT_OK(Join());
}

TEST_F(AgentTest, DrainedWorkerSaysGoodbye) {
  Start();
  coordinator_.WaitFor([](const auto& r) { return !r.leaving(); });
  agent_->Drain();
  EXPECT_OK(Join());
  coordinator_.WaitFor([](const auto& r) { return r.leaving() && r.draining(); });
}

TEST_F(AgentTest, StoppedWorkerCancelsItsSteps) {
  executor_.run = [](const StepRun& run) -> absl::StatusOr<v1::StepResult> {
    EXPECT_TRUE(run.cancel.WaitFor(absl::Seconds(20)));
    return absl::CancelledError("");
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitFor([](const auto& r) { return r.leases_size() == 1; });
  agent_->Stop();
  EXPECT_OK(Join());
}

TEST_F(AgentTest, WorkerOfALocalFarmGoesWithItsCoordinator) {
  coordinator_.GoDown(absl::UnavailableError("gone"));
  leave_after_ = absl::Milliseconds(10);
  Start();
  EXPECT_OK(Join());
}

TEST_F(AgentTest, LogArrivesBeforeTheResult) {
  executor_.run = [](const StepRun& run) {
    run.log.Append(LogStream::kStdout, "hello\n");
    return Exit(0);
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  coordinator_.WaitForDone(1);
  EXPECT_EQ(coordinator_.log(), "hello\n");
}

TEST_F(AgentTest, StepWhoseLogIsRefusedIsCancelled) {
  coordinator_.FailLogs({absl::AbortedError("not held")});
  CancelToken cancelled;
  executor_.run = [&](const StepRun& run) -> absl::StatusOr<v1::StepResult> {
    run.log.Append(LogStream::kStdout, "hello\n");
    EXPECT_TRUE(run.cancel.WaitFor(absl::Seconds(20)));
    cancelled.Cancel();
    return absl::CancelledError("");
  };
  Start();
  coordinator_.Grant(MakeLease(1));
  EXPECT_TRUE(cancelled.WaitFor(absl::Seconds(20)));
}

// Logs.

class LogStreamerTest : public ::testing::Test {
 protected:
  FakeCoordinator coordinator_;
  int lost_ = 0;
  LogStreamer log_{coordinator_, MakeLease(1).epoch(), [this] { ++lost_; }};
};

TEST_F(LogStreamerTest, StreamsAreKeptApartAndInOrder) {
  log_.Append(LogStream::kStdout, "one ");
  log_.Append(LogStream::kStdout, "two ");
  log_.Append(LogStream::kStderr, "three ");
  log_.Append(LogStream::kStdout, "four");
  log_.Finish();
  const auto requests = coordinator_.log_requests();
  ASSERT_THAT(requests, SizeIs(3));
  EXPECT_EQ(requests[0].bytes(), "one two ");
  EXPECT_FALSE(requests[0].is_stderr());
  EXPECT_EQ(requests[1].bytes(), "three ");
  EXPECT_TRUE(requests[1].is_stderr());
  EXPECT_EQ(requests[1].offset(), 8);
  EXPECT_EQ(requests[2].offset(), 14);
}

TEST_F(LogStreamerTest, WhatIsWrittenAfterAPauseIsSentWhileTheStepRuns) {
  log_.Append(LogStream::kStdout, "a");
  ASSERT_TRUE(coordinator_.WaitForLog("a"));
  log_.Append(LogStream::kStdout, "b");
  EXPECT_TRUE(coordinator_.WaitForLog("ab"));
}

TEST_F(LogStreamerTest, BatchesAreBounded) {
  log_.Append(LogStream::kStdout, std::string(200'000, 'x'));
  log_.Finish();
  for (const auto& request : coordinator_.log_requests()) {
    EXPECT_LE(request.bytes().size(), LogStreamer::kBatchBytesMax);
  }
  EXPECT_EQ(coordinator_.log().size(), 200'000u);
}

TEST_F(LogStreamerTest, LostCallIsRepeatedAtTheSameOffset) {
  coordinator_.FailLogs({absl::OkStatus(), absl::UnavailableError(""), absl::UnavailableError("")});
  log_.Append(LogStream::kStdout, "a");
  log_.Append(LogStream::kStderr, "b");
  log_.Finish();
  EXPECT_EQ(coordinator_.log(), "ab");
  EXPECT_EQ(lost_, 0);
}

TEST_F(LogStreamerTest, NothingIsSentBeyondTheCoordinatorsLimit) {
  coordinator_.LimitLog(1);
  log_.Append(LogStream::kStdout, "a");
  log_.Append(LogStream::kStderr, "b");
  log_.Finish();
  log_.Append(LogStream::kStdout, "c");
  EXPECT_EQ(coordinator_.log(), "a");
}

TEST_F(LogStreamerTest, QuietStepMakesNoCall) {
  log_.Finish();
  EXPECT_THAT(coordinator_.log_requests(), IsEmpty());
}

TEST_F(LogStreamerTest, LeaseThatIsNotHeldIsTold) {
  coordinator_.FailLogs({absl::AbortedError("")});
  log_.Append(LogStream::kStdout, "a");
  log_.Finish();
  EXPECT_EQ(lost_, 1);
}

TEST_F(LogStreamerTest, CommandGoesOnWithoutACoordinatorAndTheGapIsNamed) {
  coordinator_.FailLogs(std::deque<absl::Status>(4, absl::UnavailableError("")));
  for (int i = 0; i < 100; ++i) log_.Append(LogStream::kStdout, std::string(100'000, 'x'));
  log_.Finish();
  EXPECT_THAT(coordinator_.log(), HasSubstr("bytes lost: the coordinator was not reachable"));
}

}  // namespace
}  // namespace farm
