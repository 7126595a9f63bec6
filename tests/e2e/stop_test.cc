// The local farm may begin to stop at any moment, by itself or because somebody says so. No build
// is lost to that: one that has begun is done first, one that comes meanwhile gets a new farm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

class StopTest : public testing::Test {
 protected:
  // A build that runs a command, and has files to upload.
  std::string Context(const std::string& id, const std::string& command = "true") {
    dir_.Write(id + "/file", id);
    dir_.Write(id + "/Dockerfile", absl::StrCat("FROM base:1\nCOPY file /file\nRUN ", command,
                                                " && echo ", id, " > /id\n"));
    return dir_ / id;
  }
  int CountInCoordinatorLog(const std::string& what) {
    const std::string log =
        ReadFile(farm_.state_dir() + "/state/coordinator.log", 64 << 20).value_or("");
    return static_cast<int>(std::vector<std::string>(absl::StrSplit(log, what)).size()) - 1;
  }

  ScratchDir dir_;
  LocalFarmUnderTest farm_;
};

TEST_F(StopTest, ABuildThatComesWhileTheFarmEndsForIdlenessIsNotLost) {
  const int rounds = MomentsOfThisRun(6);
  std::mt19937 random(SeedOfThisRun());
  // Looked at each second, as is whether a build is over: the end comes 1 to 2 s after it.
  farm_.Configure("idle_shutdown: 0.1s\n");
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  for (int i = 0; i < rounds; ++i) {
    absl::SleepFor(absl::Milliseconds(std::uniform_int_distribution<>(800, 2100)(random)));
    farm_.FarmOk({"build", Context(absl::StrCat("idle", i))});
  }
  const int ends = CountInCoordinatorLog(" I idle ");
  std::printf("%d builds, the farm ended %d times\n", rounds, ends);
  EXPECT_GT(ends, 0);
  EXPECT_EQ(CountInCoordinatorLog("the shutdown hangs"), 0);
}

TEST_F(StopTest, ABuildWhoseWorkerIsKilledGoesOnWithAnotherOne) {
  farm_.Configure("lease_ttl: 3s\n");
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  const std::string log = dir_ / "log";
  const auto said = [&](const std::string& what) {
    return absl::StrContains(ReadFile(log).value_or(""), what);
  };
  const BackgroundProcess build =
      farm_.StartFarm({"build", "--progress=plain", Context("lost", "echo begun && sleep 3")}, log);
  ASSERT_TRUE(WaitUntil([&] { return said("begun"); })) << farm_.Logs();
  const CommandResult killed =
      RunShell(absl::StrCat("pkill -9 -f '[f]arm-worker.*", farm_.state_dir(), "'"));
  ASSERT_EQ(killed.exit_code, 0) << killed.all();
  EXPECT_TRUE(WaitUntil([&] { return said("built "); }, absl::Minutes(1)))
      << ReadFile(log).value_or("") << farm_.Logs();
  EXPECT_TRUE(said("its worker is gone; starting another one"));
}

TEST_F(StopTest, BuildsAndStopsThatMeetAreBothDone) {
  const int rounds = MomentsOfThisRun(3);
  std::mt19937 random(SeedOfThisRun());
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  std::atomic<bool> done = false;
  std::atomic<int> stops = 0;
  std::thread stopping([&] {
    std::mt19937 own_random(random());
    while (!done) {
      absl::SleepFor(absl::Milliseconds(std::uniform_int_distribution<>(0, 600)(own_random)));
      farm_.FarmOk({"local", "stop"});
      ++stops;
    }
  });
  int builds = 0;
  while (stops < rounds && !HasFailure()) {
    farm_.FarmOk({"build", Context(absl::StrCat("stop", builds++))});
  }
  done = true;
  stopping.join();
  std::printf("%d builds, %d stops\n", builds, stops.load());
  EXPECT_EQ(CountInCoordinatorLog("the shutdown hangs"), 0);
}

TEST_F(StopTest, StopWaitsForTheBuildUnderWayAndABuildThatComesMeanwhileGetsANewFarm) {
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  BackgroundProcess first = farm_.StartFarm(
      {"build", "--progress=rawjson", "-t", "first", Context("first", "echo begun; sleep 3")},
      dir_ / "first.log");
  ASSERT_TRUE(WaitUntil([&] {
    return absl::StrContains(ReadFile(dir_ / "first.log").value_or(""), "\"bytes\"");  // begun
  }));
  std::thread second([&] {
    // Comes once the farm is stopping.
    WaitUntil([&] { return CountInCoordinatorLog(" I draining ") > 0; });
    const CommandResult build = farm_.FarmOk({"build", Context("second")});
    EXPECT_THAT(build.err, HasSubstr("waiting"));
  });
  farm_.FarmOk({"local", "stop"});
  second.join();
  EXPECT_THAT(ReadFile(dir_ / "first.log").value_or(""), HasSubstr("\"image\""));
  EXPECT_THAT(farm_.FarmOk({"images"}).out, HasSubstr("first"));
}

TEST_F(StopTest, ATerminatedCoordinatorEndsSoonAndSaysSoToItsBuilds) {
  const int rounds = MomentsOfThisRun(2);
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  for (int i = 0; i < rounds; ++i) {
    const std::string log = dir_ / absl::StrCat("log", i);
    BackgroundProcess build = farm_.StartFarm(
        {"build", "--progress=rawjson", Context(absl::StrCat("term", i), "echo begun; sleep 60")},
        log);
    ASSERT_TRUE(
        WaitUntil([&] { return absl::StrContains(ReadFile(log).value_or(""), "\"bytes\""); }));
    const pid_t pid = farm_.CoordinatorPid();
    ASSERT_GT(pid, 0);
    const absl::Time start = absl::Now();
    ASSERT_EQ(kill(pid, SIGTERM), 0);
    EXPECT_TRUE(WaitUntil([&] { return kill(pid, 0) != 0; }, absl::Seconds(15)));
    std::printf("ended after %s\n", absl::FormatDuration(absl::Now() - start).c_str());
    EXPECT_TRUE(WaitUntil([&] { return !build.running(); }, absl::Seconds(10)));
    EXPECT_THAT(ReadFile(log).value_or(""), HasSubstr("the coordinator was stopped"));
  }
}

}  // namespace
}  // namespace farm
