// Whole commands over a fake farm, from the arguments to the exit status.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/notification.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/build_output.h"
#include "cli/exit_code.h"
#include "cli/program.h"
#include "cli/testing/command_test_base.h"
#include "layer/table.h"
#include "layer/testing/tar_builder.h"
#include "oci/archive_reader.h"
#include "oci/image_config.h"
#include "oci/manifest.h"

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

// An image without layers, in the farm's store.
void StoreImage(FakeFarmClient &farm, v1::BuiltImage &image) {
  ImageConfig config;
  config.platform = {.os = "linux", .architecture = "amd64", .variant = ""};
  Manifest manifest;
  manifest.config.media_type = kOciConfigType;
  ASSERT_OK_AND_ASSIGN(manifest.config.digest,
                       PutBytes(farm.blobs(), SerializeImageConfig(config)));
  ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(farm.blobs(), SerializeManifest(manifest)));
  *image.mutable_manifest() = *image.add_export_manifests() = DigestToProto(digest);
  *image.mutable_config() = DigestToProto(manifest.config.digest);
}

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

// ---- build

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

// ---- what is written

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

// ---- a context on standard input

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

// ---- images

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

// ---- credentials

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

// ---- configuration

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

// ---- plan, context

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

// ---- --output

TEST(BuildOutputTest, ADirectoryAloneIsLocalAndADashATar) {
  ASSERT_OK_AND_ASSIGN(BuildOutput output, ParseBuildOutput("out"));
  EXPECT_EQ(output.type, BuildOutput::Type::kLocal);
  EXPECT_EQ(output.dest, "out");
  ASSERT_OK_AND_ASSIGN(output, ParseBuildOutput("-"));
  EXPECT_EQ(output.type, BuildOutput::Type::kTar);
}

TEST(BuildOutputTest, ArchivesGoToStandardOutputUnlessTheyHaveAPlace) {
  for (const char *text : {"type=tar", "type=oci", "type=docker"}) {
    ASSERT_OK_AND_ASSIGN(const BuildOutput output, ParseBuildOutput(text));
    EXPECT_EQ(output.dest, "-") << text;
  }
}

TEST(BuildOutputTest, FieldsMayBeQuoted) {
  ASSERT_OK_AND_ASSIGN(const BuildOutput output,
                       ParseBuildOutput("type=image,\"name=a:1,b:2\",push=true,compression=zstd"));
  EXPECT_EQ(output.type, BuildOutput::Type::kRegistry);
  EXPECT_THAT(output.names, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(ExportOf(output).compression(), "zstd");
}

TEST(BuildOutputTest, WrongOutputsAreRefused) {
  for (const char *text :
       {"", "dest=x", "type=zip,dest=x", "type=oci,tar=false", "type=local", "type=local,dest=-",
        "type=image,push=maybe", "type=oci,dest=x,foo=1", "type=oci,dest=x,compression=lzma"}) {
    EXPECT_THAT(ParseBuildOutput(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(ParseBuildOutput("type=dokcer"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean docker?")));
}

TEST_F(CommandTest, WhatIsUnpackedBelongsToTheCallerWithItsModes) {
  TarEntry entry;
  entry.name = "tool";
  entry.mode = 04755;
  entry.uid = 1234;
  entry.gid = 1234;
  v1::BuiltImage image;
  ASSERT_OK_AND_ASSIGN(const Digest tar,
                       PutBytes(farm_.blobs(), TarBuilder().Add(entry, "x").Build()));
  *image.mutable_flattened() = DigestToProto(tar);
  ASSERT_OK_AND_ASSIGN(const BuildOutput output, ParseBuildOutput((dir_ / "out").string()));
  ASSERT_OK(WriteBuildOutput(output, 0, image, {}, farm_));
  struct stat info {};
  ASSERT_EQ(stat((dir_ / "out/tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, geteuid());
  EXPECT_EQ(info.st_gid, getegid());
  EXPECT_EQ(info.st_mode & 0777, 0755u);
  // A tar that is not there is the farm's fault, a file in the way is not.
  image.mutable_flattened()->set_hash(std::string(64, '0'));
  EXPECT_FALSE(
      WriteBuildOutput(output, 0, image, {}, farm_).GetPayload(kLocalErrorPayload).has_value());
  *image.mutable_flattened() = DigestToProto(tar);
  ASSERT_OK_AND_ASSIGN(const BuildOutput file, ParseBuildOutput((dir_ / "out/tool").string()));
  EXPECT_EQ(ExitCodeFor(WriteBuildOutput(file, 0, image, {}, farm_)), kExitFailed);
}

TEST_F(CommandTest, WhatDockerLoadSaysIsToldIfItFails) {
  v1::BuiltImage image;
  ASSERT_NO_FATAL_FAILURE(StoreImage(farm_, image));
  const std::string path = getenv("PATH");
  setenv("PATH", absl::StrCat(dir_.string(), ":", path).c_str(), 1);
  const BuildOutput output = {.type = BuildOutput::Type::kDocker};
  const auto load = [&](const std::string &script) {
    EXPECT_OK(WriteFileAtomically(dir_ / "docker", "#!/bin/sh\n" + script, 0755));
    return WriteBuildOutput(output, 0, image, {"app:1"}, farm_);
  };
  EXPECT_OK(load("test $1 = load && cat > /dev/null && echo Loaded image: app:1"));
  const absl::Status failed = load("cat > /dev/null; echo no space left >&2; exit 3");
  EXPECT_EQ(ExitCodeFor(failed), kExitFailed);
  EXPECT_THAT(failed.message(), AllOf(HasSubstr("status 3"), HasSubstr("no space left")));
  setenv("PATH", path.c_str(), 1);
}

TEST_F(CommandTest, AnOutputFileAppearsOnlyWhole) {
  const std::string path = dir_ / "out.tar";
  EXPECT_THAT(WriteOutputFile(path,
                              [](ByteSink &sink) {
                                EXPECT_OK(sink.Write("half"));
                                return absl::DataLossError("broken");
                              }),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_FALSE(fs::exists(path));
  EXPECT_OK(WriteOutputFile(path, [](ByteSink &sink) { return sink.Write("whole"); }));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("whole"));
  EXPECT_THAT(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 2);
}

}  // namespace
}  // namespace farm
