// The coordinator is killed at random moments of builds. What was done before is not done again,
// and what the next coordinator takes from the cache is what a farm that was never killed makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "cas/rocksdb_index.h"
#include "proto/farm/v1/record.pb.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/image_text.h"

namespace farm {
namespace {

constexpr int64_t kLogBytesMax = 256 << 20;

class CoordinatorKillTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const LocalFarmUnderTest* farm : {&farm_, &cold_}) {
      farm->FarmOk({"import", BusyboxRootTar(), "base:1"});
    }
  }

  // Stages, commands, copies of both kinds; nothing in it that an earlier build has in the cache,
  // and no instruction that another build has.
  std::string Context(const std::string& id) {
    dir_.Write(absl::StrCat(id, "/src-", id, "/a"), "a " + id);
    dir_.Write(absl::StrCat(id, "/src-", id, "/b"), "b");
    dir_.Write(id + "/last", "last " + id);
    dir_.Write(
        id + "/Dockerfile",
        absl::StrReplaceAll("FROM base:1 AS a\n"
                            "WORKDIR /w-@ID@\n"
                            "COPY src-@ID@ /src\n"
                            "RUN cat /src/* > /a; echo @ID@ a\n"
                            "RUN sleep 0.2; head -c 300000 /dev/zero > /big; echo @ID@ >> /big\n"
                            "FROM base:1 AS b\n"
                            "RUN sleep 0.4; echo @ID@ > /b\n"
                            "RUN mkdir /d && ln /b /d/hard && ln -s b /d/@ID@ && chown 5:6 /d\n"
                            "FROM base:1\n"
                            "COPY --from=a /a /big /got-@ID@/\n"
                            "COPY --from=b /d /d-@ID@\n"
                            "RUN cat /got-@ID@/a /d-@ID@/hard > /sum\n"
                            "COPY last /last-@ID@\n"
                            "ENV X=@ID@\n",
                            {{"@ID@", id}}));
    // So that only what a step does now has a time of today.
    RunShell(absl::StrCat("find ", dir_ / id, " -exec touch -d '2024-01-02 03:04:05 UTC' {} +"));
    return dir_ / id;
  }

  // Names of the steps that the worker was lent since `offset` bytes of its log.
  std::vector<std::string> StartedSince(size_t offset) const {
    const std::string log = WorkerLog().substr(offset);
    std::vector<std::string> names;
    for (const absl::string_view line : absl::StrSplit(log, '\n')) {
      const size_t name = line.find(" name=");
      if (absl::StrContains(line, " step started ") && name != absl::string_view::npos) {
        names.emplace_back(absl::StripSuffix(absl::StripPrefix(line.substr(name + 6), "\""), "\""));
      }
    }
    return names;
  }
  // Instructions of a context's steps that the index has a result of, once the coordinator is dead.
  std::set<std::string> Published(const std::string& id) const {
    std::set<std::string> published;
    absl::StatusOr<std::unique_ptr<RocksDbIndex>> index = absl::UnknownError("");
    WaitUntil([&] {
      index = RocksDbIndex::Open(farm_.state_dir() + "/state/index");
      return index.ok();
    });
    EXPECT_TRUE(index.ok()) << index.status();
    if (!index.ok()) return published;
    const absl::Status scanned = (*index)->Scan(
        IndexTable::kAction, "", "", [&](absl::string_view, absl::string_view value) {
          v1::ActionRecord record;
          EXPECT_TRUE(record.ParseFromArray(value.data(), static_cast<int>(value.size())));
          if (absl::StrContains(record.name(), id)) published.insert(InstructionOf(record.name()));
          return true;
        });
    EXPECT_TRUE(scanned.ok()) << scanned;
    return published;
  }
  // Instructions of the steps that a client was told to be done.
  static std::set<std::string> Done(const std::string& log) {
    std::set<std::string> done;
    for (const StepReport& step : ReadSteps(ReadFile(log, kLogBytesMax).value_or(""))) {
      if (step.ran) done.insert(step.instruction);
    }
    return done;
  }
  // Of a step's name: "[a 2/4] RUN make".
  static std::string InstructionOf(const std::string& name) {
    return name.substr(name.find("] ") + 2);
  }
  std::string WorkerLog() const {
    return ReadFile(farm_.state_dir() + "/state/worker.log", kLogBytesMax).value_or("");
  }

  ScratchDir dir_;
  LocalFarmUnderTest farm_;
  LocalFarmUnderTest cold_;  // Nobody kills this one.
};

TEST_F(CoordinatorKillTest, WhatWasDoneIsNotDoneAgainAndNothingIsWrong) {
  const int moments = MomentsOfThisRun(4);
  std::mt19937 random(SeedOfThisRun());
  const absl::Time start = absl::Now();
  farm_.FarmOk({"build", Context("measure")});
  const absl::Duration whole = absl::Now() - start;
  int steps_kept = 0, steps_published = 0, steps_again = 0, builds_cut = 0;
  for (int i = 0; i < moments; ++i) {
    const std::string id = absl::StrCat("moment", i, "m");
    SCOPED_TRACE(id);
    const std::string context = Context(id);
    const std::string log = dir_ / (id + ".log");
    const pid_t pid = farm_.CoordinatorPid();
    ASSERT_GT(pid, 0);
    BackgroundProcess build = farm_.StartFarm({"build", "--progress=rawjson", context}, log);
    // One in each part of a build, so that a run of few sees early and late ones.
    absl::SleepFor(whole * (i + std::uniform_real_distribution<>(0, 1)(random)) / moments);
    // On a machine that has become slower, too, the last one comes when something was done.
    if (i + 1 == moments) WaitUntil([&] { return Done(log).size() >= 2; });
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    build.Kill(SIGKILL);
    const std::set<std::string> done = Done(log);
    builds_cut += done.size() < 10;
    const std::set<std::string> published = Published(id);
    const size_t logged = WorkerLog().size();

    const CommandResult after =
        farm_.FarmOk({"build", "--progress=rawjson", "-o",
                      absl::StrCat("type=oci,dest=", dir_ / "warm"), context});
    ASSERT_EQ(after.exit_code, 0);
    for (const std::string& name : StartedSince(logged)) {
      const std::string instruction = InstructionOf(name);
      EXPECT_FALSE(done.contains(instruction)) << instruction << " ran again\n" << after.err;
      ++steps_again;
    }
    for (const StepReport& step : ReadSteps(after.err)) {
      EXPECT_FALSE(step.ran && published.contains(step.instruction))
          << step.instruction << " was published, and no hit\n"
          << after.err;
    }
    steps_kept += static_cast<int>(done.size());
    steps_published += static_cast<int>(published.size());
    cold_.FarmOk({"build", "-o", absl::StrCat("type=oci,dest=", dir_ / "cold"), context});
    ASSERT_EQ(DescribeImage(dir_ / "warm", Times::kCompared),
              DescribeImage(dir_ / "cold", Times::kCompared));
  }
  EXPECT_GT(builds_cut, 0);
  EXPECT_GT(steps_kept, 0);
  EXPECT_GT(steps_published, 0);
  EXPECT_GT(steps_again, 0);
  std::printf(
      "%d kills, %d in the middle of a build; %d steps done before were kept, %d of them "
      "published; %d ran after\n",
      moments, builds_cut, steps_kept, steps_published, steps_again);
}

}  // namespace
}  // namespace farm
