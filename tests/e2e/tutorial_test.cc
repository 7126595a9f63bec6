// The docker tutorial, command by command, on a real local farm.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kDockerfile[] =
    "FROM centos:7\n"
    "RUN mkdir /cc\n"
    "RUN touch /cc/zz\n"
    "CMD [\"/bin/bash\"]\n";

// How often `#N DONE` of a RUN, COPY, ADD or WORKDIR appears in plain progress.
int StepsRun(const CommandResult& result) {
  int count = 0;
  std::set<std::string> steps;
  for (absl::string_view line : absl::StrSplit(result.err, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (words.size() != 2) continue;
    const bool plan_step =
        absl::StrContains(words[1], "] RUN ") || absl::StrContains(words[1], "] COPY ") ||
        absl::StrContains(words[1], "] WORKDIR ") || absl::StrContains(words[1], "] ADD ");
    if (absl::StartsWith(words[1], "[") && plan_step) steps.insert(words[0]);
    if (absl::StartsWith(words[1], "DONE") && steps.contains(words[0])) ++count;
  }
  return count;
}

class TutorialTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { farm_ = new LocalFarmUnderTest; }
  static void TearDownTestSuite() {
    delete farm_;
    farm_ = nullptr;
  }

  void SetUp() override {
    if (farm_->Farm({"images", "-q", "centos:7"}).out.empty()) {
      const CommandResult imported = farm_->FarmOk({"import", BusyboxRootTar(), "centos:7"});
      EXPECT_THAT(imported.out, StartsWith("sha256:"));
    }
  }

  CommandResult Build(const std::vector<std::string>& more = {}, const std::string& dir = "") {
    std::vector<std::string> args = {"build", "--progress=plain"};
    args.insert(args.end(), more.begin(), more.end());
    args.push_back(dir.empty() ? context_.path() : dir);
    return farm_->FarmOk(args);
  }

  static LocalFarmUnderTest* farm_;
  ScratchDir context_;
};
LocalFarmUnderTest* TutorialTest::farm_ = nullptr;

TEST_F(TutorialTest, ABuildRunsItsStepsAndASecondOneRunsNone) {
  context_.Write("Dockerfile", kDockerfile);
  const CommandResult first = Build({"-t", "centos:cz", "--no-cache"});
  EXPECT_EQ(StepsRun(first), 2) << first.err;
  const CommandResult second = Build({"-t", "centos:cz"});
  EXPECT_EQ(StepsRun(second), 0) << second.err;
  EXPECT_THAT(second.err, HasSubstr("CACHED"));
}

TEST_F(TutorialTest, AnotherClientDirectoryHitsAsWell) {
  context_.Write("Dockerfile", absl::StrCat(kDockerfile, "RUN echo elsewhere\nCOPY file /file\n"));
  context_.Write("file", "content");
  Build();
  ScratchDir other;
  other.Write("Dockerfile", absl::StrCat(kDockerfile, "RUN echo elsewhere\nCOPY file /file\n"));
  other.Write("file", "content");
  const CommandResult second = Build({}, other.path());
  EXPECT_EQ(StepsRun(second), 0) << second.err;
}

TEST_F(TutorialTest, HistoryAndImagesHaveDockersColumns) {
  context_.Write("Dockerfile", kDockerfile);
  Build({"-t", "centos:cz"});
  const CommandResult history = farm_->FarmOk({"history", "centos:cz"});
  EXPECT_THAT(history.out, ContainsRegex("^IMAGE +CREATED +CREATED BY +SIZE +COMMENT"));
  EXPECT_THAT(history.out, AllOf(HasSubstr("touch /cc/zz"), HasSubstr("mkdir /cc"),
                                 HasSubstr("CMD [\"/bin/bash\"]"), HasSubstr("<missing>")));
  const CommandResult images = farm_->FarmOk({"images"});
  EXPECT_THAT(images.out, ContainsRegex("^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE"));
  EXPECT_THAT(images.out, AllOf(ContainsRegex("centos +cz "), ContainsRegex("centos +7 ")));
}

TEST_F(TutorialTest, ALineAddedRunsOneStepOnly) {
  context_.Write("Dockerfile", kDockerfile);
  Build();
  context_.Write("Dockerfile", absl::StrCat(kDockerfile, "RUN mkdir /galaxy\n"));
  EXPECT_EQ(StepsRun(Build()), 1);
}

TEST_F(TutorialTest, NoCacheRunsAll) {
  context_.Write("Dockerfile", kDockerfile);
  Build();
  EXPECT_EQ(StepsRun(Build({"--no-cache"})), 2);
}

TEST_F(TutorialTest, ADockerfileOfAnotherNameIsNamedByF) {
  context_.Write("other.docker", kDockerfile);
  Build({"-f", context_ / "other.docker", "-t", "other"});
  EXPECT_THAT(farm_->FarmOk({"images", "other"}).out, ContainsRegex("other +latest"));
}

TEST_F(TutorialTest, FromARepositoryDigest) {
  const std::string digest =
      farm_->FarmOk({"inspect", "--format", "{{.Metadata.Manifest}}", "centos:7"}).out;
  ASSERT_THAT(digest, StartsWith("sha256:"));
  context_.Write("Dockerfile", absl::StrCat("FROM centos@", digest, "RUN echo pinned\n"));
  Build();
}

TEST_F(TutorialTest, ARepositoryDigestThatNobodyHasIsNamed) {
  const std::string reference = absl::StrCat("centos@sha256:", std::string(64, '0'));
  context_.Write("Dockerfile", absl::StrCat("FROM ", reference, "\nRUN echo pinned\n"));
  const CommandResult result = farm_->Farm({"build", "--progress=plain", context_.path()});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_THAT(result.err, ContainsRegex(absl::StrCat("ERROR: .*", reference)));
}

TEST_F(TutorialTest, WhatARunWroteIsInTheImage) {
  context_.Write("Dockerfile",
                 absl::StrCat(kDockerfile, "RUN echo hi > /cc/file && chmod 600 /cc/file\n"));
  ScratchDir out;
  Build({"-o", absl::StrCat("type=local,dest=", out.path())});
  EXPECT_EQ(RunShell("cat cc/file && stat -c %a cc/file", {.dir = out.path()}).out, "hi\n600\n");
}

TEST_F(TutorialTest, AFailingStepShowsItsLinesAndExitCode) {
  context_.Write("Dockerfile", "FROM centos:7\nRUN echo before; echo oops >&2; exit 7\n");
  const CommandResult result = farm_->Farm({"build", "--progress=plain", context_.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("oops"), HasSubstr("exit code: 7"), HasSubstr(">>>"),
                                HasSubstr("Dockerfile:2")));
}

TEST_F(TutorialTest, AStepThatFailedBeforeIsExplainedByThat) {
  context_.Write("Dockerfile", "FROM centos:7\nRUN echo explained; exit 3\n");
  const std::vector<std::string> build = {"build", "--progress=plain", "--explain",
                                          context_.path()};
  EXPECT_EQ(farm_->Farm(build).exit_code, 1);
  EXPECT_THAT(farm_->Farm(build).err, HasSubstr("it failed when it ran last: exit code: 3"));
}

TEST_F(TutorialTest, AnUnknownInstructionIsPointedAt) {
  context_.Write("Dockerfile", "FROM centos:7\nRUNN echo\n");
  const CommandResult result = farm_->Farm({"build", "--progress=plain", context_.path()});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr("RUN")));
}

TEST_F(TutorialTest, ABuildHitsAfterARestartOfTheFarm) {
  context_.Write("Dockerfile", absl::StrCat(kDockerfile, "RUN echo restart\n"));
  Build();
  farm_->FarmOk({"local", "stop"});
  const CommandResult second = Build();
  EXPECT_EQ(StepsRun(second), 0) << second.err;
}

// Not the first bytes alone: what comes after a pause, too.
TEST_F(TutorialTest, OutputIsShownWhileItsStepRuns) {
  const ScratchDir dir;
  dir.Write("Dockerfile", "FROM centos:7\nRUN echo one; sleep 1; echo two; sleep 60\n");
  BackgroundProcess build =
      farm_->StartFarm({"build", "--progress=plain", dir.path()}, dir / "log");
  EXPECT_TRUE(WaitUntil([&] {
    return absl::StrContains(ReadFile(dir / "log").value_or(""), " two\n");
  })) << ReadFile(dir / "log").value_or("");
  build.Kill(SIGINT);
  EXPECT_TRUE(WaitUntil([&] { return !build.running(); }));
}

}  // namespace
}  // namespace farm
