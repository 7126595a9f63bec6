// How `farm` is used: flags, help, completion, and the exit status for each kind of mistake.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "cli/testing/command_test_base.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// ---- usage

TEST_F(CommandTest, AnUnknownFlagIsAUsageErrorWithASuggestion) {
  EXPECT_EQ(Run({"build", "--no-cach", "."}), kExitUsage);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("unknown flag: --no-cach; did you mean --no-cache?"),
                                HasSubstr("See 'farm build --help'")));
}

TEST_F(CommandTest, AnUnknownCommandIsAUsageErrorWithASuggestion) {
  EXPECT_EQ(Run({"bild", "."}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("unknown command: bild; did you mean build?"));
}

TEST_F(CommandTest, AMissingArgumentIsAUsageError) {
  EXPECT_EQ(Run({"build"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("missing argument: PATH"));
}

TEST_F(CommandTest, EveryCommandHasAHelpPageThatFitsAScreen) {
  for (const std::vector<std::string> &command : std::vector<std::vector<std::string>>{
           {},          {"build"},  {"images"},        {"history"},       {"inspect"}, {"tag"},
           {"rmi"},     {"import"}, {"save"},          {"load"},          {"pull"},    {"push"},
           {"plan"},    {"lint"},   {"context"},       {"context", "ls"}, {"du"},      {"prune"},
           {"workers"}, {"local"},  {"local", "stop"}, {"completion"}}) {
    std::vector<std::string> args = command;
    args.push_back("--help");
    std::ostringstream out;
    EXPECT_EQ(RunProgram(args, out, err_, clock_), kExitDone);
    EXPECT_THAT(out.str(), HasSubstr("Usage: farm"));
    std::istringstream lines(out.str());
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) EXPECT_LE(line.size(), 80u) << line;
    EXPECT_LE(count, 50) << out.str();
  }
  EXPECT_EQ(err_.str(), "");
}

TEST_F(CommandTest, FlagsOfDockerThatFarmHasNotAreRefusedByName) {
  Write("Dockerfile", "FROM scratch");
  EXPECT_EQ(Run({"build", "--ssh", "default", context_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--ssh: forwarding of SSH agents is not there yet"));
}

TEST_F(BuildCommandTest, SecretsComeFromFilesAndVariables) {
  Write("Dockerfile", "FROM scratch\n");
  Write("token", "from a file");
  setenv("FARM_TEST_SECRET", "from a variable", 1);
  Build({"--secret", "id=f,src=" + (context_ / "token").string(), "--secret",
         "id=v,env=FARM_TEST_SECRET", "--secret", "id=FARM_TEST_SECRET"});
  ASSERT_THAT(*requests_, SizeIs(1));
  const auto &secrets = requests_->front().secrets();
  ASSERT_THAT(secrets, SizeIs(3));
  EXPECT_EQ(secrets[0].value(), "from a file");
  EXPECT_EQ(secrets[1].value(), "from a variable");
  EXPECT_EQ(secrets[2].value(), "from a variable");
}

TEST_F(CommandTest, ASecretThatIsNotThereIsNamedAndAWrongOneIsAUsageError) {
  Write("Dockerfile", "FROM scratch\n");
  EXPECT_EQ(Run({"build", "--secret", "id=f,src=/no/such/file", context_}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("/no/such/file"));
  EXPECT_EQ(Run({"build", "--secret", "id=f,env=FARM_TEST_UNSET", context_}), kExitFailed);
  EXPECT_EQ(Run({"build", "--secret", "src=x", context_}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("the id is missing"));
}

TEST_F(CommandTest, VersionNeedsNoFarm) {
  EXPECT_EQ(Run({"--version"}), kExitDone);
  EXPECT_THAT(out_.str(), HasSubstr("farm "));
}

TEST_F(CommandTest, CompletionKnowsCommandsAndFlags) {
  EXPECT_EQ(Run({"completion", "bash"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("--build-arg"), HasSubstr("\"local stop\"")));
}

// ---- whose fault it is

TEST_F(BuildCommandTest, WhatIsWrongWithThePersonsOwnFilesIsExitStatus1) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--iidfile", "/dev/full"}), kExitFailed) << err_.str();
  EXPECT_THAT(err_.str(), HasSubstr("No space left"));
}

TEST_F(CommandTest, AFileThatIsNoTarIsNamedAndTheImportsMistake) {
  Write("garbage", "no tar");
  const std::string path = context_ / "garbage";
  farm_.imports = {Failure(absl::StatusCode::kDataLoss)};
  EXPECT_EQ(Run({"import", path, "a"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: " + path + ": no good"));
}

TEST_F(CommandTest, AWrongChangeIsAUsageErrorBeforeTheUpload) {
  Write("root.tar", "bytes");
  bool sent = false;
  farm_.on_put = [&](const Digest &) { sent = true; };
  EXPECT_EQ(Run({"import", "-c", "RUN make", context_ / "root.tar", "a"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("--change: RUN is not a valid change instruction"));
  EXPECT_FALSE(sent);
}

TEST_F(CommandTest, HelpListsEveryExitStatus) {
  EXPECT_EQ(Run({"--help"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("1 the build or command failed"), HasSubstr("130")));
}

TEST(ExitCodeTest, ALocalErrorIsNoTroubleWithTheFarm) {
  const absl::Status full = absl::ResourceExhaustedError("no space");
  EXPECT_EQ(ExitCodeFor(full), kExitFarmTrouble);
  EXPECT_EQ(ExitCodeFor(AsLocalError(full)), kExitFailed);
  EXPECT_EQ(ExitCodeFor(Annotate(AsLocalError(full), "output")), kExitFailed);
  EXPECT_EQ(ExitCodeFor(AsLocalError(absl::OkStatus())), kExitDone);
}

}  // namespace
}  // namespace farm
