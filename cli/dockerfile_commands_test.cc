// What is told of a Dockerfile and its context without building: plan, lint, --call, context ls.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "cli/exit_code.h"
#include "cli/program.h"
#include "cli/testing/command_test_base.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(CommandTest, PlanOfflineNeedsNoFarm) {
  Write("Dockerfile", "FROM alpine AS b\nRUN make\n");
  EXPECT_EQ(Run({"plan", "--offline", "--format", "json", context_}), kExitDone) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("\"schema\":\"farm.plan/1\""), HasSubstr("\"ok\":true"),
                                HasSubstr("docker.io/library/alpine:latest")));
}

TEST_F(CommandTest, APlanThatFailsIsJsonAllTheSame) {
  Write("Dockerfile", "FROM alpine\nCOPY --chmod=99 a /a\n");
  EXPECT_EQ(Run({"plan", "--offline", "--format", "json", context_}), kExitFailed);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("\"ok\":false"), HasSubstr("\"line\":2")));
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandTest, PlansTellTheWarningsOfAllStages) {
  Write("Dockerfile", "FROM alpine as a\nCMD x\nFROM alpine\n");
  EXPECT_EQ(Run({"plan", "--offline", "--format", "json", context_}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr(R"("rule":"FromAsCasing","line":1,"message":)"),
                                HasSubstr(R"("rule":"JSONArgsRecommended","line":2,)")));
}

TEST_F(CommandTest, WarningsThatAreErrorsFailThePlan) {
  Write("Dockerfile", "# check=error=true\nFROM alpine as a\n");
  EXPECT_EQ(Run({"plan", "--offline", "--format", "json", context_}), kExitFailed);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("\"ok\":false"), HasSubstr("\"line\":1"),
                                HasSubstr("lint violation found for rules: FromAsCasing"),
                                HasSubstr("\"warnings\":[")));
}

TEST_F(CommandTest, FarmsOwnWarningsAndErrorsBeginWithTheirPlace) {
  Write("Dockerfile", "FROM scratch as a\n  copy a /\n  COPY --chmod=99 b /\n");
  const std::string warning =
      "WARNING: Dockerfile:1:1: FromAsCasing: 'as' and 'FROM' keywords' casing do not match\n";
  const std::string error = "ERROR: Dockerfile:3:";
  for (const std::string command : {"lint", "plan"}) {
    out_.str("");
    err_.str("");
    EXPECT_EQ(RunProgram({command, context_}, out_, err_, clock_), kExitFailed);
    EXPECT_THAT(err_.str(), HasSubstr(error));
    if (command == "lint") {
      EXPECT_THAT(out_.str(), testing::StartsWith(warning));
    }
  }
  Write("Dockerfile", "FROM scratch as a\nRNU x\n");
  EXPECT_EQ(RunProgram({"lint", context_}, out_, err_, clock_), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: Dockerfile:2:1: unknown instruction: RNU"));
  Write("Dockerfile", "FROM scratch as a\nCOPY a /\n");
  err_.str("");
  EXPECT_EQ(RunProgram({"plan", context_}, out_, err_, clock_), kExitDone);
  EXPECT_EQ(err_.str(), warning);
}

TEST_F(CommandTest, ACheckShowsEachWarningInItsLinesAsDockerDoes) {
  Write("Dockerfile", "FROM scratch as a\nCOPY a /\n");
  EXPECT_EQ(Run({"build", "--check", context_}), kExitFailed);
  EXPECT_EQ(out_.str(),
            "Check complete, 1 warning has been found!\n"
            "\n"
            "WARNING: FromAsCasing - "
            "https://docs.docker.com/go/dockerfile/rule/from-as-casing/\n"
            "'as' and 'FROM' keywords' casing do not match\n"
            "Dockerfile:1\n"
            "--------------------\n"
            "   1 | >>> FROM scratch as a\n"
            "   2 |     COPY a /\n"
            "   3 |     \n"
            "--------------------\n");
}

TEST_F(CommandTest, AGoodFileHasNoWarnings) {
  Write("Dockerfile", "FROM scratch\nCOPY a /\n");
  EXPECT_EQ(Run({"build", "--check", context_}), kExitDone);
  EXPECT_EQ(out_.str(), "Check complete, no warnings found.\n");
}

TEST_F(CommandTest, ACheckTellsAnErrorInJsonToo) {
  Write("Dockerfile", "FROM scratch\nRNU x\n");
  EXPECT_EQ(Run({"build", "--call=check,format=json", context_}), kExitFailed);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("\"warnings\": null"), HasSubstr("\"buildError\""),
                                HasSubstr("unknown instruction: RNU")));
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: unknown instruction: RNU"));
}

TEST_F(CommandTest, TargetsAreListedWithTheirDescriptions) {
  Write("Dockerfile", "# build makes it\nFROM alpine AS build\nFROM scratch\n");
  EXPECT_EQ(Run({"build", "--call=targets", context_}), kExitDone);
  EXPECT_EQ(out_.str(),
            "TARGET    DESCRIPTION\n"
            "build     makes it\n"
            "(default) \n");
}

TEST_F(CommandTest, WhatLooksAtADockerfileSaysThatItIsNotHere) {
  for (const std::vector<std::string> &command : std::vector<std::vector<std::string>>{
           {"plan"}, {"lint"}, {"build", "--check"}, {"context", "ls"}}) {
    std::vector<std::string> args = command;
    args.push_back("https://u:p@example.com/r.git");
    EXPECT_EQ(RunProgram(args, out_, err_, clock_), kExitFailed);
    EXPECT_THAT(err_.str(), AllOf(HasSubstr("clone or download"), Not(HasSubstr("u:p@"))));
    err_.str("");
  }
}

TEST_F(CommandTest, AnOutlineTellsWhatABuildTakes) {
  Write("Dockerfile",
        "# TAG is of the base\nARG TAG=1\nARG UNUSED=2\nFROM alpine:$TAG AS app\n"
        "ARG MODE=fast\nRUN --mount=type=secret,id=key,required=true x\n");
  EXPECT_EQ(Run({"build", "--call=outline", context_}), kExitDone);
  EXPECT_EQ(out_.str(),
            "TARGET: app\n\n"
            "BUILD ARG   VALUE   DESCRIPTION\n"
            "TAG         1       is of the base\n"
            "MODE        fast    \n\n"
            "SECRET   REQUIRED\n"
            "key      true\n\n");
}

TEST_F(CommandTest, AnUnknownCallIsAMistakeOfUse) {
  Write("Dockerfile", "FROM scratch\n");
  EXPECT_EQ(Run({"build", "--call=chekc", context_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("'chekc' is not one of"));
}

TEST_F(CommandTest, ContextListsWhatCouldBeCopied) {
  Write("a.txt", "");
  Write("b.log", "");
  Write(".dockerignore", "*.log\n");
  EXPECT_EQ(Run({"context", "ls", "--format", "json", context_}), kExitDone);
  EXPECT_EQ(out_.str(), "{\"ok\":true,\"files\":[\".dockerignore\",\"a.txt\"]}\n");
}

TEST_F(CommandTest, WhatIsListedOfAContextIsWhatIsSent) {
  Write("a.txt", "");
  fs::create_directory(context_ / "empty");
  fs::create_symlink("nowhere", context_ / "link");
  ASSERT_EQ(mkfifo((context_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(Run({"context", "ls", context_}), kExitDone) << err_.str();
  EXPECT_EQ(out_.str(), "a.txt\nlink\npipe\n");
  out_.str("");
  EXPECT_EQ(RunProgram({"context", "ls", "--format", "json", context_}, out_, err_, clock_),
            kExitDone);
  EXPECT_EQ(out_.str(),
            R"({"ok":true,"files":["a.txt"],"others":[{"path":"link","type":"symlink"},)"
            R"({"path":"pipe","type":"fifo"}]})"
            "\n");
}

TEST_F(CommandTest, ABadIgnorePatternIsAnErrorInJson) {
  Write(".dockerignore", "[\n");
  EXPECT_EQ(Run({"context", "ls", "--format", "json", context_}), kExitFailed);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("\"ok\":false"), HasSubstr("\"line\":1")));
}

}  // namespace
}  // namespace farm
