// Whole commands over a fake farm, from the arguments to the exit status.
#include <fcntl.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/synchronization/notification.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "cli/program.h"
#include "cli/testing/command_test_base.h"
#include "oci/archive_reader.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

TEST_F(CommandTest, OutputThatCantBeWrittenIsAFailure) {
  std::ofstream full("/dev/full");
  full << "text";
  EXPECT_EQ(FinishOutput(full, err_, kExitDone), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("standard output"));
  EXPECT_EQ(FinishOutput(out_, err_, kExitDone), kExitDone);
}

TEST_F(CommandTest, EscapeSequencesOfErrorsDoNotReachTheTerminal) {
  Write("Dockerfile", "FROM scratch AS \x1b[2Ja\nRNU \x1b]0;title\x07x\n");
  EXPECT_EQ(Run({"build", "--check", context_}), kExitFailed);
  EXPECT_EQ(Run({"plan", "--offline", "-f", "no\x1b[2Jfile", context_}), kExitFailed);
  EXPECT_THAT(out_.str() + err_.str(), Not(HasSubstr("\x1b")));
}

TEST_F(CommandTest, SavedNamesThatBeginLikeAnIdAreNames) {
  v1::BuildEvent finished;
  finished.set_sequence(1);
  ASSERT_NO_FATAL_FAILURE(StoreImage(farm_, *finished.mutable_finished()->mutable_image()));
  const std::string hash = finished.finished().image().config().hash();
  const std::string like_id = hash.substr(0, 3);
  v1::Image tagged;
  tagged.add_tags(like_id + ":latest");
  farm_.images[like_id] = tagged;
  const FakeFarmClient::Script done = {{finished}, absl::OkStatus()};
  farm_.exports = {done, done, done, done};
  const std::string path = dir_ / "out.tar";
  // A part of "sha256:..." that is no prefix of the id; a tag that is one; a
  // name twice; an id.
  ASSERT_EQ(Run({"save", "-o", path, "sha", like_id, "sha", "sha256:" + hash}), kExitDone)
      << err_.str();
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<ArchiveReader> archive,
                       ArchiveReader::Open(UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC))));
  ASSERT_THAT(archive->images(), SizeIs(1));
  std::vector<std::string> names;
  for (const Reference &name : archive->images()[0].names) names.push_back(name.familiar());
  EXPECT_THAT(names, UnorderedElementsAre("sha:latest", like_id + ":latest"));
}

TEST_F(CommandTest, APullThatIsCancelledIsExitStatus130) {
  FakeFarmClient::Script script = Success();
  v1::BuildFinished &finished = *script.events[1].mutable_finished();
  finished.clear_image();
  finished.mutable_error()->set_code(static_cast<int>(absl::StatusCode::kCancelled));
  farm_.pulls = {script};
  absl::Notification cancelled;
  farm_.on_cancel = [&] { cancelled.Notify(); };
  farm_.on_pull = [&] {
    raise(SIGINT);
    cancelled.WaitForNotification();
  };
  EXPECT_EQ(Run({"pull", "app"}), kExitInterrupted);
}

TEST_F(CommandTest, APullTellsTheDigestOfTheIndex) {
  farm_.pulls = {Success()};
  v1::Image image;
  image.add_repo_digests("docker.io/library/app@sha256:" + std::string(64, 'e'));
  farm_.images["docker.io/library/app:latest"] = image;
  EXPECT_EQ(Run({"pull", "app"}), kExitDone) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("Digest: sha256:" + std::string(64, 'e')));
}

TEST_F(CommandTest, WhatAPruneTakesBeforeTheImportReadsItIsSentAgain) {
  Write("root.tar", "bytes");
  farm_.imports = {Failure(absl::StatusCode::kFailedPrecondition), Success()};
  EXPECT_EQ(Run({"import", context_ / "root.tar", "a"}), kExitDone) << err_.str();
}

TEST_F(CommandTest, TheConfiguredIdentityGoesToTheConfiguredFarmOnly) {
  fs::create_directories(dir_ / "farm");
  setenv("XDG_CONFIG_HOME", dir_.c_str(), 1);
  std::ofstream(dir_ / "farm/config.yaml") << "farm: a:1\ntoken_file: /token\n";
  EXPECT_EQ(Run({"--print-config"}), kExitDone) << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("a:1"), HasSubstr("/token")));
  out_.str("");
  EXPECT_EQ(Run({"--print-config", "--farm", "b:1"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("b:1"), Not(HasSubstr("/token"))));
  out_.str("");
  setenv("FARM_ADDR", "c:1", 1);
  EXPECT_EQ(Run({"--print-config", "--token-file", "/other"}), kExitDone);
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("c:1"), HasSubstr("/other")));
}

TEST_F(CommandTest, TheEffectiveConfigurationNamesTheLocalFarm) {
  setenv("FARM_LOCAL_DIR", dir_.c_str(), 1);
  EXPECT_EQ(Run({"--print-config"}), kExitDone) << err_.str();
  unsetenv("FARM_LOCAL_DIR");
  EXPECT_EQ(out_.str(), "farm: \"unix:" + dir_.string() + "/farm.sock\"\n");
}

TEST_F(CommandTest, ATokenFileThatIsNotThereIsAnErrorOfEveryFarm) {
  setenv("FARM_LOCAL_DIR", dir_.c_str(), 1);
  const std::string none = dir_ / "none";
  std::ofstream(dir_ / "config.yaml") << "token_file: " << none << "\n";
  const std::vector<std::vector<std::string>> cases = {
      {"workers", "--token-file", none},
      {"workers", "--config", dir_ / "config.yaml"},
      {"workers", "--token-file", none, "--farm", "127.0.0.1:1"}};
  for (const std::vector<std::string> &args : cases) {
    err_.str("");
    EXPECT_EQ(RunProgram(args, out_, err_, clock_), kExitFailed) << args[1];
    EXPECT_THAT(err_.str(), HasSubstr("token file: " + none + ": No such file"));
  }
  unsetenv("FARM_LOCAL_DIR");
}

TEST_F(CommandTest, TheExampleConfigurationIsAccepted) {
  EXPECT_EQ(Run({"--config", "deploy/examples/config.yaml", "--print-config"}), kExitDone)
      << err_.str();
  EXPECT_THAT(out_.str(), AllOf(HasSubstr("farm.example.com:7070"), HasSubstr("ca.pem")));
}

}  // namespace
}  // namespace farm
