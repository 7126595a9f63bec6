#include "worker/agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "worker/testing/fake_coordinator.h"

namespace farm {
namespace {

using ::testing::ElementsAre;

v1::StepResult Exit(int code) {
  v1::StepResult result;
  result.set_exit_code(code);
  return result;
}

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
    options.cgroup_parents = {"/ci"};
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
  EXPECT_THAT(report.cgroup_parents(), ElementsAre("/ci"));
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

}  // namespace
}  // namespace farm
