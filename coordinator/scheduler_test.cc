#include "coordinator/scheduler.h"

#include <gtest/gtest.h>

#include <random>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using Kind = Scheduler::Event::Kind;

constexpr absl::Duration kTtl = absl::Seconds(30);

// A scheduler and workers that answer as they should.
class SchedulerTest : public testing::Test {
 protected:
  Scheduler::Job Run(const std::string& name, std::vector<std::string> layers = {},
                     const std::string& group = "b1") {
    Scheduler::Job job{.id = "main/" + name, .group = group};
    job.platform.emplace().set_os("linux");
    job.platform->set_architecture("amd64");
    job.layers = std::move(layers);
    return job;
  }

  v1::SynchronizeRequest Report(const std::string& worker, int slots) {
    v1::SynchronizeRequest report;
    report.set_worker(worker);
    report.set_incarnation(worker + "-1");
    report.set_sequence(++sequence_);
    report.set_slots(slots);
    report.mutable_platform()->set_os("linux");
    report.mutable_platform()->set_architecture("amd64");
    for (const Scheduler::Grant& grant : scheduler_.LeasesOf(worker)) {
      AddLease(report, grant.epoch, v1::LeaseState::PHASE_RUNNING, grant.job);
    }
    return report;
  }
  static v1::LeaseState& AddLease(v1::SynchronizeRequest& report, LeaseEpoch epoch,
                                  v1::LeaseState::Phase phase, const std::string& job) {
    v1::LeaseState& state = *report.add_leases();
    state.mutable_epoch()->set_incarnation(epoch.incarnation);
    state.mutable_epoch()->set_sequence(epoch.sequence);
    state.set_phase(phase);
    state.set_job(job);
    return state;
  }
  std::vector<Scheduler::Event> Join(const std::string& worker, int slots = 1,
                                     std::vector<std::string> layers = {}) {
    v1::SynchronizeRequest report = Report(worker, slots);
    for (const std::string& layer : layers) report.add_layers_added(layer);
    return scheduler_.OnReport(report, now_);
  }
  // `worker` reports `epoch` as done.
  std::vector<Scheduler::Event> Complete(const std::string& worker, LeaseEpoch epoch,
                                         absl::StatusCode code = absl::StatusCode::kOk,
                                         bool retried = false) {
    v1::SynchronizeRequest report = Report(worker, 1);
    report.clear_leases();
    v1::LeaseState& state = AddLease(report, epoch, v1::LeaseState::PHASE_DONE,
                                     scheduler_.JobOf(epoch).value_or("main/gone"));
    state.mutable_error()->set_code(static_cast<int>(code));
    state.mutable_error()->set_retried(retried);
    return scheduler_.OnReport(report, now_);
  }
  LeaseEpoch OnlyLease(const std::string& worker) {
    const auto leases = scheduler_.LeasesOf(worker);
    EXPECT_EQ(leases.size(), 1u) << worker;
    return leases.empty() ? LeaseEpoch() : leases[0].epoch;
  }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  int64_t sequence_ = 0;
  Scheduler scheduler_{{.incarnation = 5, .lease_ttl = kTtl, .attempts_max = 3}};
};

TEST_F(SchedulerTest, AJobIsGrantedToAWorkerWithAFreeSlot) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  EXPECT_TRUE(scheduler_.HasNews("w1"));
  EXPECT_EQ(scheduler_.LeasesOf("w1")[0].job, "main/make");
  EXPECT_EQ(scheduler_.waiting(), 0);
}

TEST_F(SchedulerTest, AJobWaitsForAFreeSlot) {
  Join("w1");
  scheduler_.Submit(Run("one"));
  scheduler_.Submit(Run("two"));
  EXPECT_EQ(scheduler_.waiting(), 1);
  const auto events = Complete("w1", OnlyLease("w1"));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kFinished);
  EXPECT_EQ(events[0].job, "main/one");
  EXPECT_EQ(scheduler_.LeasesOf("w1")[0].job, "main/two");
}

TEST_F(SchedulerTest, TheWorkerThatHasTheTopmostLayerIsPreferred) {
  Join("w1", 4, {"base"});
  Join("w2", 2, {"base", "top"});
  Join("w3", 8);
  scheduler_.Submit(Run("make", {"base", "top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
  scheduler_.Submit(Run("test", {"base"}));
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  scheduler_.Submit(Run("other", {"unknown"}));
  EXPECT_EQ(scheduler_.LeasesOf("w3").size(), 1u);
}

TEST_F(SchedulerTest, AJobDoesNotWaitForTheWorkerThatHasItsLayers) {
  Join("w1", 1, {"top"});
  Join("w2", 1);
  scheduler_.Submit(Run("one", {"top"}));
  scheduler_.Submit(Run("two", {"top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
}

TEST_F(SchedulerTest, AWorkerThatIsHalfBusyLeavesAJobToAnIdleOne) {
  Join("w1", 4, {"base", "top"});
  Join("w2", 2);
  Join("w3", 2, {"base"});
  for (const char* name : {"one", "two"}) scheduler_.Submit(Run(name, {"base", "top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 2u);
  scheduler_.Submit(Run("three", {"base", "top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w3").size(), 1u) << "of the idle ones it has more of the layers";
  scheduler_.Submit(Run("four", {"base", "top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
  scheduler_.Submit(Run("five", {"base", "top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 3u) << "nobody is idle";
}

TEST_F(SchedulerTest, ALayerThatWasRemovedIsForgotten) {
  Join("w1", 2, {"top"});
  Join("w2", 8);
  v1::SynchronizeRequest report = Report("w1", 2);
  report.add_layers_removed("top");
  scheduler_.OnReport(report, now_);
  scheduler_.Submit(Run("make", {"top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
}

TEST_F(SchedulerTest, JobsOfOneCacheGoToOneWorker) {
  Join("w1", 2, {"top"});
  Join("w2", 4);
  const auto with_cache = [this](const std::string& name, std::vector<std::string> layers) {
    Scheduler::Job job = Run(name, std::move(layers));
    job.caches = {"main/packages"};
    return job;
  };
  scheduler_.Submit(with_cache("first", {}));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
  // A layer may be fetched; the cache is there alone.
  scheduler_.Submit(with_cache("second", {"top"}));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 2u);
}

TEST_F(SchedulerTest, AJobDoesNotWaitForTheWorkerOfItsCacheWhichStaysAtHome) {
  Join("w1", 1);
  Join("w2", 2);
  const auto submit = [this](const std::string& name) {
    Scheduler::Job job = Run(name);
    job.caches = {"main/packages"};
    scheduler_.Submit(job);
  };
  submit("one");
  submit("two");
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 2u);
  submit("three");
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  scheduler_.Withdraw("main/one");
  scheduler_.Withdraw("main/three");
  submit("four");
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 2u);
}

TEST_F(SchedulerTest, ACacheFindsANewHomeWhenItsWorkerIsGone) {
  Join("w2", 4);
  Scheduler::Job job = Run("one");
  job.caches = {"main/packages"};
  scheduler_.Submit(job);
  Join("w1", 2);
  now_ += kTtl + absl::Seconds(1);
  Join("w1", 2);
  scheduler_.OnTick(now_);
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  Join("w3", 8);
  job.id = "main/two";
  scheduler_.Submit(job);
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 2u);
}

TEST_F(SchedulerTest, ResultUnderAnOldEpochIsRefused) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch first = OnlyLease("w1");
  now_ += kTtl + absl::Seconds(1);
  Join("w2");
  const auto lost = scheduler_.OnTick(now_);
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].kind, Kind::kRequeued);
  const LeaseEpoch second = OnlyLease("w2");
  EXPECT_LT(first, second);
  EXPECT_TRUE(Complete("w1", first).empty());
  EXPECT_EQ(scheduler_.TakeRevoked("w1"), std::vector<LeaseEpoch>{first});
  EXPECT_EQ(Complete("w2", second)[0].kind, Kind::kFinished);
}

// Until its result is kept the worker has it, for a coordinator that is started after a crash.
TEST_F(SchedulerTest, AResultIsAcknowledgedOnlyOnceItIsKept) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  const auto events = Complete("w1", epoch);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].unacknowledged, epoch);
  EXPECT_TRUE(Complete("w1", epoch).empty());
  EXPECT_TRUE(scheduler_.TakeAcknowledged("w1").empty());
  EXPECT_TRUE(scheduler_.TakeRevoked("w1").empty());
  scheduler_.MarkTold("w1");
  scheduler_.Acknowledge("w1", epoch);
  EXPECT_TRUE(scheduler_.HasNews("w1"));
  EXPECT_EQ(scheduler_.TakeAcknowledged("w1"), std::vector<LeaseEpoch>{epoch});
}

TEST_F(SchedulerTest, AnErrorIsAcknowledgedAtOnce) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  EXPECT_EQ(Complete("w1", epoch, absl::StatusCode::kInvalidArgument).size(), 1u);
  EXPECT_EQ(scheduler_.TakeAcknowledged("w1"), std::vector<LeaseEpoch>{epoch});
}

TEST_F(SchedulerTest, AnAcknowledgedResultThatIsResentIsAnsweredByARevocation) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  EXPECT_EQ(Complete("w1", epoch).size(), 1u);
  scheduler_.Acknowledge("w1", epoch);
  EXPECT_EQ(scheduler_.TakeAcknowledged("w1"), std::vector<LeaseEpoch>{epoch});
  EXPECT_TRUE(Complete("w1", epoch).empty());
  EXPECT_EQ(scheduler_.TakeRevoked("w1"), std::vector<LeaseEpoch>{epoch});
}

// It may have waited long, and be about to leave.
TEST_F(SchedulerTest, ANewWorkerIsAnsweredAtOnce) {
  Join("w1");
  EXPECT_TRUE(scheduler_.HasNews("w1"));
  scheduler_.MarkTold("w1");
  Join("w1");
  EXPECT_FALSE(scheduler_.HasNews("w1"));
}

TEST_F(SchedulerTest, ARestartedWorkerLosesItsLeases) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch first = OnlyLease("w1");
  v1::SynchronizeRequest report = Report("w1", 1);
  report.clear_leases();
  report.set_incarnation("w1-2");
  const auto events = scheduler_.OnReport(report, now_);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kRequeued);
  EXPECT_LT(first, OnlyLease("w1"));
}

TEST_F(SchedulerTest, ALeaseThatItsWorkerDoesNotReportIsLost) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  for (int i = 0; i < 4; ++i) {
    now_ += kTtl / 3;
    v1::SynchronizeRequest report = Report("w1", 1);
    report.clear_leases();
    scheduler_.OnReport(report, now_);
    scheduler_.OnTick(now_);
  }
  EXPECT_FALSE(scheduler_.JobOf(epoch).has_value());
}

TEST_F(SchedulerTest, AJobThatWorkersCannotRunIsGivenUpAfterItsAttempts) {
  Join("w1");
  Join("w2");
  scheduler_.Submit(Run("make"));
  const std::string first = scheduler_.LeasesOf("w1").empty() ? "w2" : "w1";
  const std::string second = first == "w1" ? "w2" : "w1";
  EXPECT_EQ(Complete(first, OnlyLease(first), absl::StatusCode::kUnavailable)[0].kind,
            Kind::kRequeued);
  EXPECT_EQ(Complete(second, OnlyLease(second), absl::StatusCode::kUnavailable)[0].kind,
            Kind::kRequeued);
  const std::string third = scheduler_.LeasesOf("w1").empty() ? "w2" : "w1";
  const auto events = Complete(third, OnlyLease(third), absl::StatusCode::kUnavailable);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kFinished);
  EXPECT_THAT(events[0].error, StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(SchedulerTest, WhatALeavingWorkerWasLentRunsElsewhereAtOnce) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  ASSERT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  Join("w2");
  v1::SynchronizeRequest leaving = Report("w1", 1);
  leaving.set_leaving(true);
  EXPECT_THAT(scheduler_.OnReport(leaving, now_),
              ::testing::Contains(::testing::Field(&Scheduler::Event::kind, Kind::kRequeued)));
  EXPECT_EQ(scheduler_.LeasesOf("w2").size(), 1u);
  EXPECT_EQ(scheduler_.Workers().size(), 1u);
}

TEST_F(SchedulerTest, AWorkerThatCouldNotRunAJobTriesAgainIfNoOtherOneCan) {
  Join("w1");
  v1::SynchronizeRequest leaving = Report("leaving", 1);
  leaving.set_draining(true);
  scheduler_.OnReport(leaving, now_);
  v1::SynchronizeRequest other = Report("other", 1);
  other.mutable_platform()->set_architecture("arm64");
  scheduler_.OnReport(other, now_);
  Join("none", 0);
  scheduler_.Submit(Run("make"));
  Complete("w1", OnlyLease("w1"), absl::StatusCode::kUnavailable);
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  EXPECT_EQ(scheduler_.waiting(), 0);
}

TEST_F(SchedulerTest, AWorkerThatCouldNotRunAJobLeavesItToOneThatIsBusy) {
  Join("w2");
  scheduler_.Submit(Run("long"));
  Join("w1");
  scheduler_.Submit(Run("make"));
  Complete("w1", OnlyLease("w1"), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(scheduler_.LeasesOf("w1").empty());
  Complete("w2", OnlyLease("w2"));
  EXPECT_EQ(scheduler_.LeasesOf("w2")[0].job, "main/make");
}

TEST_F(SchedulerTest, AnErrorThatEveryWorkerWouldHaveEndsTheJob) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const auto events = Complete("w1", OnlyLease("w1"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(events[0].kind, Kind::kFinished);
  EXPECT_THAT(events[0].error, StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SchedulerTest, WhatAWorkerHasTriedAgainItselfIsNotTriedAgain) {
  Join("w1");
  Join("w2");
  scheduler_.Submit(Run("push"));
  const std::string worker = scheduler_.LeasesOf("w1").empty() ? "w2" : "w1";
  const auto events =
      Complete(worker, OnlyLease(worker), absl::StatusCode::kUnavailable, /*retried=*/true);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kFinished);
  EXPECT_THAT(events[0].error, StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(SchedulerTest, WithdrawingRevokesTheLeaseAndFreesTheSlot) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  scheduler_.Submit(Run("next"));
  scheduler_.Withdraw("main/make");
  EXPECT_EQ(scheduler_.TakeRevoked("w1"), std::vector<LeaseEpoch>{epoch});
  EXPECT_EQ(scheduler_.LeasesOf("w1")[0].job, "main/next");
}

TEST_F(SchedulerTest, ADrainingWorkerGetsNothingNew) {
  v1::SynchronizeRequest report = Report("w1", 4);
  report.set_draining(true);
  scheduler_.OnReport(report, now_);
  scheduler_.Submit(Run("make"));
  EXPECT_TRUE(scheduler_.LeasesOf("w1").empty());
}

TEST_F(SchedulerTest, AWorkerOfAnotherPlatformOrWithoutTheNetworkGetsNothing) {
  Join("w1", 4);
  Scheduler::Job job = Run("make");
  job.platform->set_architecture("arm64");
  scheduler_.Submit(job);
  Scheduler::Job host = Run("host");
  host.network = v1::NETWORK_MODE_HOST;
  scheduler_.Submit(host);
  EXPECT_TRUE(scheduler_.LeasesOf("w1").empty());
  EXPECT_FALSE(scheduler_.CanEverRun(host));
  v1::SynchronizeRequest report = Report("w2", 1);
  report.add_networks(v1::NETWORK_MODE_HOST);
  scheduler_.OnReport(report, now_);
  EXPECT_EQ(scheduler_.LeasesOf("w2")[0].job, "main/host");
}

TEST_F(SchedulerTest, AnInsecureJobGoesToAWorkerThatPermitsItAlone) {
  Join("w1", 4);
  Scheduler::Job job = Run("insecure");
  job.insecure = true;
  scheduler_.Submit(job);
  EXPECT_TRUE(scheduler_.LeasesOf("w1").empty());
  EXPECT_THAT(scheduler_.NobodyCanRun(job),
              StatusIs(absl::StatusCode::kUnavailable, testing::HasSubstr("insecure_allowed")));
  v1::SynchronizeRequest report = Report("w2", 1);
  report.set_insecure_allowed(true);
  scheduler_.OnReport(report, now_);
  EXPECT_EQ(scheduler_.LeasesOf("w2")[0].job, "main/insecure");
}

TEST_F(SchedulerTest, AJobForAControlGroupGoesToAWorkerThatHasItAlone) {
  Join("w1", 4);
  Scheduler::Job job = Run("grouped");
  job.cgroup_parent = "/ci";
  scheduler_.Submit(job);
  EXPECT_TRUE(scheduler_.LeasesOf("w1").empty());
  EXPECT_THAT(scheduler_.NobodyCanRun(job), StatusIs(absl::StatusCode::kUnavailable,
                                                     testing::HasSubstr("/ci in cgroup_parents")));
  v1::SynchronizeRequest report = Report("w2", 1);
  report.add_cgroup_parents("/other");
  report.add_cgroup_parents("/ci");
  scheduler_.OnReport(report, now_);
  EXPECT_EQ(scheduler_.LeasesOf("w2")[0].job, "main/grouped");
}

TEST_F(SchedulerTest, ALeaseIsOfItsWorkerAlone) {
  Join("w1");
  Join("w2");
  scheduler_.Submit(Run("make"));
  const std::string holder = scheduler_.LeasesOf("w1").empty() ? "w2" : "w1";
  const LeaseEpoch epoch = scheduler_.LeasesOf(holder)[0].epoch;
  EXPECT_EQ(scheduler_.JobOf(epoch, holder), "main/make");
  EXPECT_EQ(scheduler_.JobOf(epoch, holder == "w1" ? "w2" : "w1"), std::nullopt);
}

TEST_F(SchedulerTest, AJobWaitsForTheFirstWorkerHoweverLong) {
  scheduler_.Submit(Run("make"));
  EXPECT_FALSE(scheduler_.HasWorkers());
  for (int i = 0; i < 5; ++i) {
    now_ += kTtl;
    EXPECT_TRUE(scheduler_.OnTick(now_).empty());
  }
  Join("w1");
  EXPECT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
}

TEST_F(SchedulerTest, AJobThatNoWorkerCouldRunForALeaseTimeEnds) {
  Scheduler::Job job = Run("host");
  job.network = v1::NETWORK_MODE_HOST;
  scheduler_.Submit(job);
  Join("w1");
  EXPECT_TRUE(scheduler_.OnTick(now_).empty());
  now_ += kTtl;
  Join("w1");
  EXPECT_TRUE(scheduler_.OnTick(now_).empty());
  now_ += absl::Seconds(1);
  const auto events = scheduler_.OnTick(now_);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].kind, Kind::kFinished);
  EXPECT_THAT(events[0].error, StatusIs(absl::StatusCode::kUnavailable,
                                        testing::HasSubstr("linux/amd64, network host")));
  EXPECT_EQ(scheduler_.waiting(), 0);
}

TEST_F(SchedulerTest, BuildsShareTheSlots) {
  for (int i = 0; i < 4; ++i) scheduler_.Submit(Run("big" + std::to_string(i), {}, "big"));
  scheduler_.Submit(Run("small", {}, "small"));
  Join("w1", 2);
  std::vector<std::string> jobs;
  for (const auto& grant : scheduler_.LeasesOf("w1")) jobs.push_back(grant.job);
  EXPECT_THAT(jobs, testing::UnorderedElementsAre("main/big0", "main/small"));
}

TEST_F(SchedulerTest, ALeaseOfAnEarlierCoordinatorIsAdoptedByItsJob) {
  v1::SynchronizeRequest report = Report("w1", 2);
  AddLease(report, {4, 77}, v1::LeaseState::PHASE_RUNNING, "main/make");
  scheduler_.OnReport(report, now_);
  EXPECT_TRUE(scheduler_.TakeRevoked("w1").empty());
  scheduler_.Submit(Run("make"));
  ASSERT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  EXPECT_EQ(scheduler_.LeasesOf("w1")[0].epoch, (LeaseEpoch{4, 77}));
  EXPECT_EQ(Complete("w1", {4, 77})[0].kind, Kind::kFinished);
}

// Equal steps of two domains have equal keys, and must not get each other's results.
TEST_F(SchedulerTest, ALeaseOfAnEarlierCoordinatorIsNotAdoptedByAnotherDomain) {
  v1::SynchronizeRequest report = Report("w1", 2);
  AddLease(report, {4, 77}, v1::LeaseState::PHASE_RUNNING, "other/make");
  scheduler_.OnReport(report, now_);
  scheduler_.Submit(Run("make"));
  EXPECT_EQ(OnlyLease("w1").incarnation, 5);
}

// A worker that outlived an index may hold epochs that mean other jobs there.
TEST_F(SchedulerTest, AResultOfAnotherJobUnderACurrentEpochIsRefused) {
  Join("w1");
  scheduler_.Submit(Run("make"));
  const LeaseEpoch epoch = OnlyLease("w1");
  v1::SynchronizeRequest report = Report("w1", 1);
  report.clear_leases();
  AddLease(report, epoch, v1::LeaseState::PHASE_DONE, "main/test");
  EXPECT_TRUE(scheduler_.OnReport(report, now_).empty());
  EXPECT_EQ(scheduler_.TakeRevoked("w1"), std::vector<LeaseEpoch>{epoch});
  EXPECT_EQ(scheduler_.JobOf(epoch), "main/make");
}

TEST_F(SchedulerTest, AQueuedJobTakesTheLeaseThatIsReportedLater) {
  scheduler_.Submit(Run("make"));
  v1::SynchronizeRequest report = Report("w1", 2);
  AddLease(report, {4, 77}, v1::LeaseState::PHASE_RUNNING, "main/make");
  scheduler_.OnReport(report, now_);
  ASSERT_EQ(scheduler_.LeasesOf("w1").size(), 1u);
  EXPECT_EQ(scheduler_.LeasesOf("w1")[0].epoch, (LeaseEpoch{4, 77}));
}

TEST_F(SchedulerTest, ALeaseOfAnEarlierCoordinatorThatNobodyWantsIsRevokedAfterALeaseTime) {
  v1::SynchronizeRequest report = Report("w1", 1);
  AddLease(report, {4, 77}, v1::LeaseState::PHASE_RUNNING, "main/make");
  scheduler_.OnReport(report, now_);
  now_ += kTtl + absl::Seconds(1);
  report.set_sequence(++sequence_);
  scheduler_.OnReport(report, now_);
  EXPECT_EQ(scheduler_.TakeRevoked("w1"), (std::vector<LeaseEpoch>{{4, 77}}));
}

TEST_F(SchedulerTest, AnOvertakenReportChangesNothing) {
  v1::SynchronizeRequest old_report = Report("w1", 1);
  Join("w1", 3);
  scheduler_.OnReport(old_report, now_);
  EXPECT_EQ(scheduler_.Workers()[0].report.slots(), 3);
}

// Any order of events: each job ends once, and no result is taken under an epoch that was taken
// back.
TEST_F(SchedulerTest, UnderRandomEventsEachJobEndsOnce) {
  const auto seed = std::random_device()();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  constexpr int kJobs = 200;
  std::map<std::string, int> finished;
  std::map<std::string, std::vector<LeaseEpoch>> held;
  int submitted = 0;
  const auto take = [&](const std::vector<Scheduler::Event>& events) {
    for (const auto& event : events) {
      if (event.kind == Kind::kFinished) ++finished[event.job];
    }
  };
  for (int round = 0; round < 100'000 && (finished.size() < kJobs); ++round) {
    const std::string worker = "w" + std::to_string(random() % 4);
    switch (random() % 6) {
      case 0:
        if (submitted < kJobs) scheduler_.Submit(Run("job" + std::to_string(submitted++)));
        break;
      case 1:
        now_ += absl::Seconds(random() % 8);
        take(scheduler_.OnTick(now_));
        break;
      default: {
        v1::SynchronizeRequest report = Report(worker, 2);
        report.clear_leases();
        for (const auto& grant : scheduler_.LeasesOf(worker)) {
          const bool done = random() % 3 == 0;
          v1::LeaseState& state = AddLease(
              report, grant.epoch,
              done ? v1::LeaseState::PHASE_DONE : v1::LeaseState::PHASE_RUNNING, grant.job);
          if (done && random() % 8 == 0) {
            state.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kUnavailable));
          }
        }
        take(scheduler_.OnReport(report, now_));
      }
    }
  }
  EXPECT_EQ(finished.size(), kJobs);
  for (const auto& [job, count] : finished) EXPECT_EQ(count, 1) << job;
  EXPECT_EQ(scheduler_.waiting(), 0);
  EXPECT_EQ(scheduler_.leased(), 0);
}

}  // namespace
}  // namespace farm
