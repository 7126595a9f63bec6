#include "cli/local_farm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"
#include "base/version.h"
#include "cli/testing/fake_farm_client.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// A coordinator as far as a client sees it before it speaks gRPC: it listens on the socket that its
// configuration names, and ends when somebody says "stop".
constexpr char kFakeCoordinator[] = R"(#!/bin/sh
echo "coordinator started" >> "$FAKE_DIR/starts"
exec perl -MIO::Socket::UNIX -e '
  open(my $f, "<", $ARGV[1]) or die; my $text = join("", <$f>);
  $text =~ m{unix:([^"\s\]]+)} or die "no socket in the configuration";
  unlink $1;
  my $s = IO::Socket::UNIX->new(Local => $1, Listen => 20) or die "listen: $!";
  while (my $c = $s->accept) { my $l = <$c>; last if defined $l && $l =~ /stop/; }
  unlink $1;' -- "$@"
)";
// A worker that registers (leaves a file) and ends when its coordinator is gone.
constexpr char kFakeWorker[] = R"(#!/bin/sh
echo "worker started" >> "$FAKE_DIR/starts"
echo $$ > "$FAKE_DIR/worker.pid"
exec perl -e 'open(my $f, ">", "$ENV{FAKE_DIR}/registered");
  select(undef, undef, undef, 0.01) while -S "$ENV{FAKE_DIR}/run/farm.sock";
  unlink "$ENV{FAKE_DIR}/registered"'
)";

class LocalFarmTest : public ::testing::Test {
 protected:
  LocalFarmTest() {
    // Short, for the socket in it.
    std::string pattern = "/tmp/farm-XXXXXX";
    dir_ = mkdtemp(pattern.data());
    setenv("FAKE_DIR", dir_.c_str(), 1);
    fs::create_directory(dir_ / "bin");
    options_.runtime_dir = dir_ / "run";
    options_.state_dir = dir_ / "state";
    options_.program_dirs = {(dir_ / "bin").string()};
    options_.start_timeout = absl::Seconds(20);
    Install("farm-coordinator", kFakeCoordinator);
    Install("farm-worker", kFakeWorker);
  }
  ~LocalFarmTest() override {
    EXPECT_OK(Farm().Stop());
    fs::remove_all(dir_);
  }

  void Install(const std::string& name, const std::string& script) {
    std::ofstream(dir_ / "bin" / name) << script;
    fs::permissions(dir_ / "bin" / name, static_cast<fs::perms>(0755));
  }

  LocalFarm Farm() {
    return LocalFarm(
        options_,
        [this](const std::string& address) -> absl::StatusOr<std::unique_ptr<FarmClient>> {
          auto client = std::make_unique<FakeFarmClient>();
          client->info = [this] {
            v1::InfoResponse info;
            if (std::exchange(ends_when_asked_, false)) {
              info.set_stopping(true);
              EXPECT_OK(Say((dir_ / "run/farm.sock").string(), "stop\n"));
            }
            info.set_version(version_);
            info.set_builds_running(builds_running_);
            if (fs::exists(dir_ / "registered")) info.add_workers()->set_name("local");
            return info;
          };
          client->shutdown = [this, address] {
            version_ = Version();
            return Say(address.substr(5), "stop\n");
          };
          return client;
        },
        [this](absl::string_view line) { notes_.emplace_back(line); });
  }

  static absl::Status Say(const std::string& path, const std::string& line) {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      return absl::UnavailableError("nobody listens");
    }
    FdSink sink(fd.get());
    return sink.Write(line);
  }

  std::vector<std::string> Starts() {
    const auto text = ReadFile(dir_ / "starts");
    return text.ok() ? absl::StrSplit(*text, '\n', absl::SkipEmpty()) : std::vector<std::string>();
  }

  fs::path dir_;
  LocalFarmOptions options_;
  std::string version_ = Version();
  int builds_running_ = 0;
  bool ends_when_asked_ = false;  // The next Info() says that it is stopping, and it does.
  std::vector<std::string> notes_;
};

TEST_F(LocalFarmTest, ItIsStartedOnceAndThenUsed) {
  EXPECT_OK(Farm().Ensure());
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(Starts(), SizeIs(2));
  struct stat info {};
  ASSERT_EQ(stat((dir_ / "state").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(LocalFarmTest, AWorkerThatWasKilledIsReplacedWhileSomebodyWaits) {
  EXPECT_OK(Farm().Ensure());
  const LocalWorkerGuard guard(std::make_unique<LocalFarm>(Farm()), absl::Milliseconds(5));
  ASSERT_OK_AND_ASSIGN(const std::string pid, ReadFile(dir_ / "worker.pid"));
  ASSERT_EQ(kill(atoi(pid.c_str()), SIGKILL), 0);
  const absl::Time give_up = absl::Now() + absl::Seconds(20);
  while (Starts().size() < 3 && absl::Now() < give_up) absl::SleepFor(absl::Milliseconds(5));
  EXPECT_THAT(Starts(), ElementsAre("coordinator started", "worker started", "worker started"));
}

TEST_F(LocalFarmTest, NoWorkerIsStartedForAFarmThatIsGone) {
  EXPECT_OK(Farm().Ensure());
  EXPECT_OK(Farm().Stop());
  EXPECT_OK(Farm().ReplaceLostWorker());
  EXPECT_THAT(Starts(), SizeIs(2));
}

TEST_F(LocalFarmTest, StopWaitsUntilBothProgramsAreGone) {
  EXPECT_OK(Farm().Ensure());
  EXPECT_OK(Farm().Stop());
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<FarmClient> client, Farm().IfRunning());
  EXPECT_EQ(client, nullptr);
  EXPECT_FALSE(fs::exists(dir_ / "registered"));
}

TEST_F(LocalFarmTest, AStaleSocketIsNoFarm) {
  fs::create_directories(dir_ / "run");
  {
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (dir_ / "run/farm.sock").string().copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  EXPECT_OK(Farm().Ensure());
}

TEST_F(LocalFarmTest, AnIdleFarmOfAnotherVersionIsReplaced) {
  EXPECT_OK(Farm().Ensure());
  version_ = "0.0.1";
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(Starts(), SizeIs(4));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("replacing version 0.0.1")));
}

TEST_F(LocalFarmTest, ABusyFarmOfAnotherVersionIsUsedWithAWord) {
  EXPECT_OK(Farm().Ensure());
  version_ = "0.0.1";
  builds_running_ = 1;
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(Starts(), SizeIs(2));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("busy")));
}

TEST_F(LocalFarmTest, AFarmThatIsStoppingIsWaitedForAndStartedAnew) {
  EXPECT_OK(Farm().Ensure());
  builds_running_ = 2;
  ends_when_asked_ = true;
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(Starts(), SizeIs(4));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("2 under way")));
  builds_running_ = 0;
}

TEST_F(LocalFarmTest, AWorkerThatHasDiedIsStartedAgainThoughTheCoordinatorHasNotNoticed) {
  EXPECT_OK(Farm().Ensure());
  ASSERT_OK_AND_ASSIGN(const std::string pid, ReadFile(dir_ / "worker.pid"));
  ASSERT_EQ(kill(std::atoi(pid.c_str()), SIGKILL), 0);
  ASSERT_EQ(waitpid(std::atoi(pid.c_str()), nullptr, 0), std::atoi(pid.c_str()));
  EXPECT_OK(Farm().Ensure());
  // The coordinator still counts the old one, so nobody waited for the new one's first word.
  for (int i = 0; i < 1000 && Starts().size() < 3; ++i) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_THAT(Starts(), SizeIs(3));
}

TEST_F(LocalFarmTest, ACoordinatorThatEndsAtStartIsAnErrorWithItsLastWords) {
  Install("farm-coordinator", "#!/bin/sh\necho 'the index is locked' >&2\nexit 3\n");
  EXPECT_THAT(Farm().Ensure(), StatusIs(absl::StatusCode::kUnavailable,
                                        AllOf(HasSubstr("farm-coordinator ended at start"),
                                              HasSubstr("the index is locked"))));
}

TEST_F(LocalFarmTest, ACoordinatorThatEndedInOrderAtStartIsStartedAgain) {
  Install("real-coordinator", kFakeCoordinator);
  Install("farm-coordinator",
          "#!/bin/sh\n"
          "[ -e $FAKE_DIR/idle ] || { touch $FAKE_DIR/idle; exit 0; }\n"
          "exec $FAKE_DIR/bin/real-coordinator \"$@\"\n");
  EXPECT_OK(Farm().Ensure());
}

TEST_F(LocalFarmTest, AWorkerThatEndsAtStartIsAnErrorWithItsLastWords) {
  Install("farm-worker", "#!/bin/sh\necho 'no permission to mount' >&2\nexit 1\n");
  EXPECT_THAT(Farm().Ensure(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no permission to mount")));
}

TEST_F(LocalFarmTest, ALostWorkerIsStartedAgain) {
  Install("farm-worker", "#!/bin/sh\nexit 1\n");
  EXPECT_THAT(Farm().Ensure(), StatusIs(absl::StatusCode::kUnavailable));
  Install("farm-worker", kFakeWorker);
  EXPECT_OK(Farm().Ensure());
}

TEST_F(LocalFarmTest, AMissingProgramIsNamedWithThePlacesLookedAt) {
  fs::remove(dir_ / "bin/farm-worker");
  EXPECT_THAT(Farm().Ensure(),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("farm-worker"), HasSubstr((dir_ / "bin").string()))));
}

TEST_F(LocalFarmTest, AFileOfSettingsIsTakenOver) {
  fs::create_directory(dir_ / "config");
  options_.config_dirs = {(dir_ / "config").string()};
  std::ofstream(dir_ / "config/local-worker.yaml") << "slots: 7\nnetworks: [none]\n";
  EXPECT_OK(Farm().Ensure());
  ASSERT_OK_AND_ASSIGN(const std::string config, ReadFile(dir_ / "state/worker.yaml"));
  EXPECT_THAT(config, HasSubstr("slots: 7"));
  EXPECT_THAT(config, Not(HasSubstr("host")));
}

TEST_F(LocalFarmTest, InsecureRunsArePermittedUnlessTheSettingsSayNo) {
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(ReadFile(dir_ / "state/worker.yaml"),
              IsOkAndHolds(HasSubstr("insecure_allowed: true")));
}

TEST_F(LocalFarmTest, SettingsMayForbidInsecureRuns) {
  fs::create_directory(dir_ / "config");
  options_.config_dirs = {(dir_ / "config").string()};
  std::ofstream(dir_ / "config/local-worker.yaml") << "insecure_allowed: false\n";
  EXPECT_OK(Farm().Ensure());
  EXPECT_THAT(ReadFile(dir_ / "state/worker.yaml"),
              IsOkAndHolds(HasSubstr("insecure_allowed: false")));
}

TEST_F(LocalFarmTest, ASocketPathThatIsTooLongIsRefused) {
  EXPECT_THAT(ProbeSocket("/tmp/" + std::string(200, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("107")));
}

TEST_F(LocalFarmTest, AnothersLookAtWhetherItLivesDoesNotKeepItFromStarting) {
  fs::create_directories(dir_ / "state");
  const UniqueFd look(
      open((dir_ / "state/worker.alive").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(flock(look.get(), LOCK_SH), 0);
  // Until the coordinator has started, and longer than that takes.
  std::thread ends([&] {
    while (Starts().empty()) absl::SleepFor(absl::Milliseconds(1));
    absl::SleepFor(absl::Milliseconds(50));
    flock(look.get(), LOCK_UN);
  });
  EXPECT_OK(Farm().Ensure());
  ends.join();
}

}  // namespace
}  // namespace farm
