// `farm build` over a fake farm, from the arguments to the exit status.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/build_output.h"
#include "cli/exit_code.h"
#include "cli/testing/command_test_base.h"
#include "layer/table.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

// Its standard input is what the test says.
class StandardInput {
 public:
  explicit StandardInput(const std::string &bytes) : saved_(dup(0)) {
    const UniqueFd file(memfd_create("stdin", MFD_CLOEXEC));
    EXPECT_OK(FdSink(file.get()).Write(bytes));
    lseek(file.get(), 0, SEEK_SET);
    dup2(file.get(), 0);
  }
  ~StandardInput() { dup2(saved_.get(), 0); }

 private:
  const UniqueFd saved_;
};

TEST_F(BuildCommandTest, FlagsBecomeTheRequest) {
  Write("Dockerfile", "FROM scratch\n");
  setenv("FARM_TEST_ARG", "from-env", 1);
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"-t",
                   "app",
                   "--tag=host:5000/team/app:1",
                   "--build-arg",
                   "A=1=2",
                   "--build-arg",
                   "FARM_TEST_ARG",
                   "--build-arg",
                   "FARM_TEST_UNSET",
                   "--label",
                   "x=y",
                   "--target",
                   "t",
                   "--no-cache",
                   "--pull",
                   "--network",
                   "none",
                   "--add-host",
                   "h:10.0.0.1",
                   "--platform",
                   "linux/arm64",
                   "--explain"}),
            kExitDone)
      << err_.str();
  ASSERT_THAT(*requests_, SizeIs(1));
  const v1::StartBuildRequest &request = requests_->front();
  EXPECT_EQ(request.dockerfile(), "FROM scratch\n");
  EXPECT_THAT(request.tags(), ElementsAre("docker.io/library/app:latest", "host:5000/team/app:1"));
  EXPECT_THAT(request.build_args(),
              UnorderedElementsAre(Pair("A", "1=2"), Pair("FARM_TEST_ARG", "from-env")));
  EXPECT_THAT(request.labels(), UnorderedElementsAre(Pair("x", "y")));
  EXPECT_EQ(request.target(), "t");
  EXPECT_TRUE(request.no_cache());
  EXPECT_TRUE(request.pull());
  EXPECT_TRUE(request.explain());
  EXPECT_EQ(request.network(), v1::NETWORK_MODE_NONE);
  EXPECT_EQ(request.extra_hosts(0).address(), "10.0.0.1");
  EXPECT_EQ(request.platform().architecture(), "arm64");
  ASSERT_EQ(request.exports_size(), 1);
  EXPECT_EQ(request.exports(0).kind(), v1::Export::KIND_IMAGE);
}

TEST_F(BuildCommandTest, TheIgnoreFileIsSentForMessages) {
  Write("Dockerfile", "FROM scratch\n");
  Write(".dockerignore", "# none\n*.o\n");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({}), kExitDone) << err_.str();
  ASSERT_THAT(*requests_, SizeIs(1));
  EXPECT_EQ(requests_->front().ignore_file().name(), ".dockerignore");
  EXPECT_EQ(requests_->front().ignore_file().text(), "# none\n*.o\n");
}

TEST_F(BuildCommandTest, SourceDateEpochOfTheEnvironmentIsABuildArgument) {
  Write("Dockerfile", "FROM scratch\n");
  farm_.starts = {Success()};
  setenv("SOURCE_DATE_EPOCH", "5", 1);
  EXPECT_EQ(Build({}), kExitDone) << err_.str();
  unsetenv("SOURCE_DATE_EPOCH");
  ASSERT_THAT(*requests_, SizeIs(1));
  EXPECT_THAT(requests_->front().build_args(),
              UnorderedElementsAre(Pair("SOURCE_DATE_EPOCH", "5")));
  EXPECT_FALSE(requests_->front().rewrite_timestamps());
}

TEST_F(BuildCommandTest, ABuildArgumentGoesBeforeTheEnvironment) {
  Write("Dockerfile", "FROM scratch\n");
  farm_.starts = {Success()};
  setenv("SOURCE_DATE_EPOCH", "5", 1);
  EXPECT_EQ(Build({"--build-arg", "SOURCE_DATE_EPOCH=6"}), kExitDone) << err_.str();
  unsetenv("SOURCE_DATE_EPOCH");
  ASSERT_THAT(*requests_, SizeIs(1));
  EXPECT_THAT(requests_->front().build_args(),
              UnorderedElementsAre(Pair("SOURCE_DATE_EPOCH", "6")));
}

TEST_F(BuildCommandTest, AnOutputMayAskForRewrittenTimes) {
  Write("Dockerfile", "FROM scratch\n");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--output", "type=image,rewrite-timestamp=true"}), kExitDone) << err_.str();
  ASSERT_THAT(*requests_, SizeIs(1));
  EXPECT_TRUE(requests_->front().rewrite_timestamps());
}

TEST_F(BuildCommandTest, TimesAreRewrittenForAllOutputsOrForNone) {
  Write("Dockerfile", "FROM scratch\n");
  EXPECT_EQ(Build({"--output", "type=image,rewrite-timestamp=true", "--output", "type=image"}),
            kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("of all or of none"));
}

TEST_F(BuildCommandTest, QuietPrintsTheImagesIdAlone) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"-q", "--iidfile", dir_ / "id"}), kExitDone);
  EXPECT_EQ(out_.str(), "sha256:" + std::string(64, 'c') + "\n");
  EXPECT_EQ(err_.str(), "");
  EXPECT_THAT(ReadFile(dir_ / "id"), IsOkAndHolds("sha256:" + std::string(64, 'c')));
}

TEST_F(BuildCommandTest, AStepThatFailsIsExitStatus1) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Failure(absl::StatusCode::kUnknown, 3)};
  EXPECT_EQ(Build({}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("ERROR: no good"));
}

TEST_F(BuildCommandTest, AFarmThatIsBrokenIsExitStatus3) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Failure(absl::StatusCode::kUnavailable)};
  EXPECT_EQ(Build({}), kExitFarmTrouble);
}

TEST_F(BuildCommandTest, AWrongFlagIsExitStatus2) {
  Write("Dockerfile", "FROM scratch");
  EXPECT_EQ(Build({"-t", "UPPER"}), kExitUsage);
  EXPECT_THAT(err_.str(), HasSubstr("invalid tag \"UPPER\""));
}

TEST_F(BuildCommandTest, FilesThatTheFarmLacksAreSentOnce) {
  Write("Dockerfile", "FROM scratch");
  Write("a", "same");
  Write("b", "same");
  Write("large", std::string(1 << 20, 'x'));
  farm_.starts = {Success()};
  auto sent = std::make_shared<std::vector<Digest>>();
  farm_.on_put = [sent](const Digest &digest) { sent->push_back(digest); };
  EXPECT_EQ(Build({}), kExitDone) << err_.str();
  // Dockerfile, "same", large, and at last the table.
  ASSERT_THAT(*sent, SizeIs(4));
  EXPECT_EQ(sent->back().hex(), requests_->front().context_table().hash());
}

TEST_F(BuildCommandTest, ATableThatTheFarmHasSendsNothing) {
  Write("Dockerfile", "FROM scratch");
  struct stat info {};
  ASSERT_EQ(stat((context_ / "Dockerfile").c_str(), &info), 0);
  TableEntry entry;
  entry.path = "Dockerfile";
  entry.mode = info.st_mode & 07777;
  entry.mtime = absl::TimeFromTimespec(info.st_mtim);
  entry.content = DigestOf("FROM scratch");
  ASSERT_OK_AND_ASSIGN(const Table table, Table::FromEntries({entry}));
  ASSERT_OK(PutBytes(farm_.blobs(), table.Encode()));
  farm_.starts = {Success()};
  auto sent = std::make_shared<std::vector<Digest>>();
  farm_.on_put = [sent](const Digest &digest) { sent->push_back(digest); };
  EXPECT_EQ(Build({}), kExitDone);
  EXPECT_THAT(*sent, SizeIs(0));
}

TEST_F(BuildCommandTest, WhatTheFarmHasLostIsSentAgain) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {{{}, absl::FailedPreconditionError("blobs are missing")}, Success()};
  EXPECT_EQ(Build({}), kExitDone) << err_.str();
  EXPECT_THAT(*requests_, SizeIs(2));
}

TEST_F(BuildCommandTest, ABuildThatARestartedFarmDoesNotKnowIsStartedAgain) {
  Write("Dockerfile", "FROM scratch");
  FakeFarmClient::Script lost = Success();
  lost.events.pop_back();
  lost.end = absl::UnavailableError("killed");
  farm_.starts = {lost, Success()};
  farm_.attaches = {{{}, absl::NotFoundError("no build b1 is kept")}};
  EXPECT_EQ(Build({}), kExitDone) << err_.str();
  EXPECT_THAT(*requests_, SizeIs(2));
}

TEST_F(BuildCommandTest, AMissingDockerfileIsTheErrorOfDocker) {
  EXPECT_EQ(Build({}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("open Dockerfile: no such file or directory"));
}

TEST_F(BuildCommandTest, ALargeContextWithoutIgnoreFileIsToldOfOne) {
  Write("Dockerfile", "FROM scratch");
  Write("large", "");
  fs::resize_file(context_ / "large", 101'000'000);  // sparse
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--progress", "plain"}), kExitDone) << err_.str();
  EXPECT_EQ(std::vector<std::string>(absl::StrSplit(err_.str(), "a .dockerignore file")).size(), 2)
      << err_.str();
  Write(".dockerignore", "none\n");
  err_.str("");
  client_ = std::make_unique<FakeFarmClient>();
  client_->starts = {Success()};
  EXPECT_EQ(Build({"--progress", "plain"}), kExitDone) << err_.str();
  EXPECT_THAT(err_.str(), Not(HasSubstr("a .dockerignore file")));
}

TEST_F(BuildCommandTest, AnIidfileThatIsNoRegularFileIsWrittenToAndNeverReplaced) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  const fs::path target = dir_ / "target", link = dir_ / "link", pipe = dir_ / "pipe";
  std::ofstream(target) << "of before, and longer than what comes "
                           "................................";
  fs::create_symlink(target, link);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const UniqueFd reader(open(pipe.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_EQ(Build({"-q", "--iidfile", link, "--metadata-file", pipe}), kExitDone) << err_.str();
  const std::string id = "sha256:" + std::string(64, 'c');
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_THAT(ReadFile(target), IsOkAndHolds(id));
  EXPECT_TRUE(fs::is_fifo(pipe));
  char buffer[1024];
  EXPECT_GT(read(reader.get(), buffer, sizeof(buffer)), 0);
}

TEST_F(BuildCommandTest, AnIidfileOfABuildBeforeIsGoneWhenTheBuildFails) {
  Write("Dockerfile", "FROM scratch");
  std::ofstream(dir_ / "id") << "sha256:old";
  farm_.starts = {Failure(absl::StatusCode::kUnknown, 3)};
  EXPECT_EQ(Build({"--iidfile", dir_ / "id"}), kExitFailed);
  EXPECT_FALSE(fs::exists(dir_ / "id"));
}

TEST_F(BuildCommandTest, WhatCantBeWrittenIsFoundOutBeforeTheBuild) {
  Write("Dockerfile", "FROM scratch");
  Write("file", "");
  const std::string none = dir_ / "none/x";
  const std::string path = getenv("PATH");
  setenv("PATH", dir_.c_str(), 1);  // There is no docker.
  const std::vector<std::pair<std::vector<std::string>, int>> cases = {
      {{"-o", "type=oci,dest=" + none}, kExitFailed},
      {{"-o", "type=tar,dest=" + dir_.string()}, kExitFailed},
      {{"-o", (context_ / "file").string()}, kExitFailed},
      {{"-o", "/dev/full"}, kExitFailed},
      {{"--iidfile", none}, kExitFailed},
      {{"--metadata-file", none}, kExitFailed},
      {{"-o", "type=oci,tar=false"}, kExitUsage},
      {{"--load"}, kExitUsage}};
  for (const auto &[flags, code] : cases) {
    client_ = std::make_unique<FakeFarmClient>();
    EXPECT_EQ(Build(flags), code) << flags.back();
    EXPECT_THAT(*requests_, SizeIs(0)) << flags.back();
  }
  setenv("PATH", path.c_str(), 1);
}

TEST_F(BuildCommandTest, AnOutputThatCantBeWrittenIsNamed) {
  Write("Dockerfile", "FROM scratch");
  Write("file", "");
  const std::string none = dir_ / "none/x", below = context_ / "file/x";
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"-o", "type=oci,dest=" + none}, "output: " + none + ": " + (dir_ / "none").string() + ": "},
      {{"-o", "type=tar,dest=" + dir_.string()}, "output: " + dir_.string() + ": Is a directory"},
      {{"-o", below}, "output: " + below + ": /"},
      {{"--iidfile", none}, none + ": "}};
  for (const auto &[flags, message] : cases) {
    client_ = std::make_unique<FakeFarmClient>();
    err_.str("");
    EXPECT_EQ(Build(flags), kExitFailed) << flags.back();
    EXPECT_THAT(err_.str(), HasSubstr(message));
  }
  EXPECT_THAT(WriteOutputFile("/dev/full", [](ByteSink &sink) { return sink.Write("bytes"); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("/dev/full: ")));
}

TEST_F(BuildCommandTest, ANameOfTypeImageIsATagAlsoOfWhatIsPushed) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"-t", "app", "-o", "type=image,\"name=app:1,app\"", "-o",
                   "type=image,name=h.io/app:2,push=true", "-o", "type=registry,name=h.io/app:3"}),
            kExitDone)
      << err_.str();
  EXPECT_THAT(requests_->front().tags(),
              ElementsAre("docker.io/library/app:latest", "docker.io/library/app:1", "h.io/app:2"));
  ASSERT_EQ(requests_->front().exports_size(), 3);
  EXPECT_THAT(requests_->front().exports(1).names(), ElementsAre("h.io/app:2"));
}

TEST_F(BuildCommandTest, NoProgressIsNoWordAtTheEndEither) {
  Write("Dockerfile", "FROM scratch");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--progress", "quiet"}), kExitDone);
  EXPECT_EQ(err_.str(), "");
}

TEST_F(BuildCommandTest, ATarOnStandardInputIsTheContext) {
  const std::string tar = TarBuilder()
                              .File("d/Dockerfile", "FROM scratch\nCOPY a /\n")
                              .File(".dockerignore", "b\n")
                              .File("a", "kept")
                              .File("b", "ignored")
                              .Build();
  const std::string scratch = dir_ / "tmp";
  fs::create_directory(scratch);
  setenv("TMPDIR", scratch.c_str(), 1);
  farm_.starts = {Success()};
  auto sent = std::make_shared<std::vector<Digest>>();
  farm_.on_put = [sent](const Digest &digest) { sent->push_back(digest); };
  auto requests = std::make_shared<std::vector<v1::StartBuildRequest>>();
  farm_.on_start = [requests](const v1::StartBuildRequest &r) { requests->push_back(r); };
  {
    const StandardInput input(tar);
    EXPECT_EQ(Run({"build", "-f", "d/Dockerfile", "-"}), kExitDone) << err_.str();
  }
  unsetenv("TMPDIR");
  ASSERT_THAT(*requests, SizeIs(1));
  EXPECT_EQ(requests->front().dockerfile(), "FROM scratch\nCOPY a /\n");
  EXPECT_THAT(*sent, AllOf(Contains(DigestOf("kept")), Not(Contains(DigestOf("ignored")))));
  EXPECT_TRUE(fs::is_empty(scratch));
}

TEST_F(BuildCommandTest, CredentialsThatCantBeHadAreNeededForAPushOnly) {
  Write("Dockerfile", "FROM h.io/base");
  setenv("DOCKER_CONFIG", dir_.c_str(), 1);
  std::ofstream(dir_ / "config.json") << R"({"credsStore":"that-is-not-there"})";
  farm_.starts = {Success()};
  EXPECT_EQ(Build({}), kExitDone);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr("credentials for h.io"), HasSubstr("going on without")));
  client_ = std::make_unique<FakeFarmClient>();
  EXPECT_EQ(Build({"--push", "-t", "p.io/app"}), kExitFailed);
  EXPECT_THAT(err_.str(), HasSubstr("docker login p.io"));
}

TEST_F(BuildCommandTest, AContextFromAUrlIsTheFarmsToFetch) {
  fs::create_directory(dir_ / ".docker");
  std::ofstream(dir_ / ".docker/config.json") << R"({"auths":{"h.io":{"auth":"dTpw"}}})";
  farm_.starts = {Success()};
  context_ = "https://u:p@example.com/r.git#main";
  EXPECT_EQ(Build({"-f", "docker/app"}), kExitDone) << err_.str();
  const v1::StartBuildRequest &request = requests_->at(0);
  EXPECT_EQ(request.context_url(), "https://u:p@example.com/r.git#main");
  EXPECT_EQ(request.dockerfile_path(), "docker/app");
  EXPECT_FALSE(request.has_context_table());
  EXPECT_EQ(request.dockerfile(), "");
  // Which images the Dockerfile names is not known here.
  ASSERT_THAT(request.credentials(), SizeIs(1));
  EXPECT_EQ(request.credentials(0).host(), "h.io");
  EXPECT_THAT(err_.str(), Not(HasSubstr("u:p@")));
}

}  // namespace
}  // namespace farm
