// What every Sandbox does, and that none of its runs leaves anything.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/testing/sanitizers.h"
#include "base/testing/status_matchers.h"
#include "worker/helper_pool.h"
#include "worker/namespace_sandbox.h"
#include "worker/remove_tree.h"
#include "worker/root_path.h"
#include "worker/testing/host_group.h"
#include "worker/testing/sandbox_fixture.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kPatience = absl::Seconds(30);

class SandboxTest : public ::testing::Test {
 protected:
  SandboxTest() {
    auto pool = HelperPool::Create({.program = "worker/farm-sandbox", .warm = 0}, world_.cgroups());
    FARM_CHECK_OK(pool.status());
    pool_ = std::move(pool).value();
    sandbox_ = std::make_unique<NamespaceSandbox>(*pool_);
    before_ = Leftovers(world_.dir(), world_.cgroups());
  }

  ~SandboxTest() override {
    // Snapshots are thrown away by the time a run returns; deleting them takes longer.
    pool_->WaitForCleanup();
    world_.trash().WaitUntilEmpty();
    EXPECT_EQ(Leftovers(world_.dir(), world_.cgroups()), before_);
  }

  RunResult Shell(const std::string& script) { return world_.Shell(*sandbox_, script); }
  RunResult Run(SandboxSpec spec) { return world_.Run(*sandbox_, std::move(spec)); }
  SandboxSpec ShellSpec(const std::string& script) { return world_.ShellSpec(script); }
  // What a script prints, which must succeed.
  std::string Output(SandboxSpec spec) {
    const RunResult result = Run(std::move(spec));
    EXPECT_THAT(result.exit, IsOk());
    EXPECT_EQ(result.exit.value_or(ExitState{.exit_code = -1}).exit_code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return result.out;
  }
  std::string Output(const std::string& script) { return Output(ShellSpec(script)); }

  SandboxWorld world_;
  std::unique_ptr<HelperPool> pool_;
  std::unique_ptr<Sandbox> sandbox_;
  std::string before_;
};

// Cancels once the command has said so on its standard output.
class CancellingLog final : public LogSink {
 public:
  explicit CancellingLog(CancelToken& cancel) : cancel_(cancel) {}
  void Append(LogStream, absl::string_view bytes) override {
    text_.append(bytes.data(), bytes.size());
    if (text_.find("ready") != std::string::npos) cancel_.Cancel();
  }

 private:
  CancelToken& cancel_;
  std::string text_;
};

std::vector<std::string> Numbers(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  while (const dirent* entry = readdir(dir)) {
    if (isdigit(entry->d_name[0])) names.push_back(entry->d_name);
  }
  closedir(dir);
  return names;
}

bool HostProcessExists(const std::string& argument) {
  for (const std::string& pid : Numbers("/proc")) {
    const std::string command = ReadFile("/proc/" + pid + "/cmdline").value_or("");
    if (command == absl::StrCat("sleep", std::string(1, '\0'), argument, std::string(1, '\0'))) {
      return true;
    }
  }
  return false;
}

// Kills the children of this process, which are helpers, and returns when they are dead.
void KillHelpers() {
  for (const std::string& task : Numbers("/proc/self/task")) {
    const std::string children = ReadFile("/proc/self/task/" + task + "/children").value_or("");
    for (absl::string_view pid : absl::StrSplit(children, ' ', absl::SkipWhitespace())) {
      int number = 0;
      siginfo_t info;
      FARM_CHECK(absl::SimpleAtoi(pid, &number));
      kill(number, SIGKILL);
      waitid(P_PID, static_cast<id_t>(number), &info, WEXITED | WNOWAIT);  // The owner reaps.
    }
  }
}

// A process that no signal to a group or session reaches. The argument is what to find it by (here
// cut in two, so that the shell's own command line is not found).
std::string Daemon(const std::string& mark) {
  return "setsid sh -c 'setsid sleep " + mark + " &' & while ! grep -qa " + mark.substr(0, 4) +
         "'" + mark.substr(4) + "' /proc/[0-9]*/cmdline; do :; done; ";
}

// --- How it ends ---

TEST_F(SandboxTest, TrueSucceeds) {
  const RunResult result = Run({.args = {"/bin/true"}});
  ASSERT_OK(result.exit);
  EXPECT_TRUE(result.exit->ok());
  EXPECT_EQ(result.out + result.err, "");
}

TEST_F(SandboxTest, ExitCodeIsTheCommands) {
  const RunResult result = Shell("exit 42");
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 42);
  EXPECT_EQ(result.exit->signal, 0);
}

TEST_F(SandboxTest, SignalIsReportedAsAShellDoes) {
  const RunResult result = Shell("kill -SEGV $$");
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->signal, SIGSEGV);
  EXPECT_EQ(result.exit->exit_code, 128 + SIGSEGV);
}

TEST_F(SandboxTest, CommandThatIsNotFoundIs127) {
  const RunResult result = Run({.args = {"nothing-of-this-name"}, .env = {"PATH=/bin"}});
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 127);
  EXPECT_EQ(result.err, "exec: \"nothing-of-this-name\": executable file not found in $PATH\n");
}

TEST_F(SandboxTest, PathThatIsNotFoundIs127) {
  const RunResult result = Run({.args = {"/no/such/file"}});
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 127);
  EXPECT_EQ(result.err, "exec /no/such/file: no such file or directory\n");
}

TEST_F(SandboxTest, FileThatIsNotExecutableIs126) {
  const RunResult result = Run({.args = {"/etc/passwd"}});
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 126);
  EXPECT_EQ(result.err, "exec /etc/passwd: permission denied\n");
}

TEST_F(SandboxTest, UsageIsCounted) {
  const RunResult result = Shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
  ASSERT_OK(result.exit);
  EXPECT_GT(result.exit->usage.cpu_time, absl::ZeroDuration());
  EXPECT_GT(result.exit->usage.memory_peak_bytes, 0);
  EXPECT_GE(result.exit->wall_time, absl::ZeroDuration());
}

// --- What it is given ---

TEST_F(SandboxTest, ArgumentsAndEnvironmentArriveAsTheyAre) {
  EXPECT_EQ(Output({.args = {"/bin/sh", "-c", "echo \"$0|$1|$X|$Y\"", "a b", "", "c\"'"},
                    .env = {"X=1 2", "Y="}}),
            "a b||1 2|\n");
}

TEST_F(SandboxTest, EnvironmentIsTheSpecsPlusHome) {
  EXPECT_EQ(Output({.args = {"/bin/env"}, .env = {"A=1"}}), "A=1\nHOME=/root\n");
  EXPECT_EQ(Output({.args = {"/bin/env"}, .env = {"HOME=/x"}}), "HOME=/x\n");
}

TEST_F(SandboxTest, CommandIsSearchedInPath) {
  EXPECT_EQ(Output({.args = {"echo", "found"}, .env = {"PATH=/nothing:/bin"}}), "found\n");
}

TEST_F(SandboxTest, StandardInputIsEmpty) { EXPECT_EQ(Output("cat; echo end"), "end\n"); }

TEST_F(SandboxTest, WorkingDirectoryIsEntered) {
  SandboxSpec spec = ShellSpec("pwd");
  spec.cwd = "/usr/bin";
  EXPECT_EQ(Output(spec), "/usr/bin\n");
}

TEST_F(SandboxTest, MissingWorkingDirectoryIsMadeAndOwnedByTheUser) {
  SandboxSpec spec = ShellSpec("pwd; stat -c '%u:%g %a' . ..");
  spec.cwd = "/work/dir";
  spec.user = "app";
  EXPECT_EQ(Output(spec), "/work/dir\n1000:1000 755\n1000:1000 755\n");
}

TEST_F(SandboxTest, WorkingDirectoryThatIsAFileIsRefused) {
  SandboxSpec spec = ShellSpec("true");
  spec.cwd = "/etc/passwd";
  EXPECT_THAT(Run(spec).exit,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/etc/passwd")));
}

TEST_F(SandboxTest, UserByNameHasItsGroupsAndHome) {
  SandboxSpec spec = ShellSpec("id -u; id -g; id -G; echo $HOME");
  spec.user = "app";
  EXPECT_EQ(Output(spec), "1000\n1000\n1000 998\n/home/app\n");
}

TEST_F(SandboxTest, UserByNumbersNeedsNoEntry) {
  SandboxSpec spec = ShellSpec("id -u; id -g; id -G");
  spec.user = "123:456";
  EXPECT_EQ(Output(spec), "123\n456\n456\n");
}

TEST_F(SandboxTest, UnknownUserIsRefused) {
  SandboxSpec spec = ShellSpec("true");
  spec.user = "nobody";
  EXPECT_THAT(
      Run(spec).exit,
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("unable to find user nobody: no matching entries in passwd file")));
}

TEST_F(SandboxTest, UserCanWriteToItsStandardStreamsByName) {
  SandboxSpec spec = ShellSpec("echo out >/dev/stdout; echo more >/proc/self/fd/1");
  spec.user = "app";
  EXPECT_EQ(Output(spec), "out\nmore\n");
}

TEST_F(SandboxTest, EmptyCommandAndNulBytesAreRefused) {
  EXPECT_THAT(Run({}).exit, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("command")));
  EXPECT_THAT(Run({.args = {std::string("a\0b", 3)}}).exit,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
}

TEST_F(SandboxTest, ArgumentsBeyondTheKernelsLimitAreRefused) {
  EXPECT_THAT(Run({.args = {"/bin/true", std::string(3 << 20, 'x')}}).exit,
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too long")));
}

TEST_F(SandboxTest, ManyArgumentsArrive) {
  SandboxSpec spec = ShellSpec("echo $#");
  spec.args.resize(10003, std::string(90, 'x'));
  EXPECT_EQ(Output(spec), "9999\n");
}

TEST_F(SandboxTest, HostnameIsTheSpecs) {
  SandboxSpec spec = ShellSpec("hostname");
  spec.hostname = "tester";
  EXPECT_EQ(Output(spec), "tester\n");
}

TEST_F(SandboxTest, RlimitsAreSetAndClamped) {
  rlimit own{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &own), 0);
  SandboxSpec spec = ShellSpec("ulimit -n; ulimit -Hn; ulimit -c");
  spec.rlimits = {{.resource = RLIMIT_NOFILE, .soft = 100, .hard = RLIM_INFINITY}};
  EXPECT_EQ(Output(spec), absl::StrCat("100\n", own.rlim_max, "\n0\n"));
}

// 0 would not keep a piped core_pattern, whose program runs on the host, from getting the core.
TEST_F(SandboxTest, CoresAreNotEvenPiped) {
  EXPECT_EQ(Output("grep core /proc/self/limits | awk '{print $5, $6}'"), "1 1\n");
}

TEST_F(SandboxTest, ThrottlingOfCpusIsHidden) {
  if (access("/sys/devices/system/cpu/cpu0/thermal_throttle", F_OK) != 0) {
    GTEST_SKIP() << "this host does not count it";
  }
  EXPECT_EQ(Output("ls -A /sys/devices/system/cpu/cpu*/thermal_throttle | grep -v : | grep ."), "");
}

TEST_F(SandboxTest, ShmHasTheWantedSize) {
  const std::string script =
      "awk '$2 == \"/dev/shm\" {print $4}' /proc/mounts | tr , '\\n' | grep size";
  EXPECT_EQ(Output(script), "size=65536k\n");
  SandboxSpec spec = ShellSpec(script);
  spec.shm_bytes = 1 << 20;
  EXPECT_EQ(Output(spec), "size=1024k\n");
}

TEST_F(SandboxTest, ReadOnlyRootCannotBeWritten) {
  SandboxSpec spec = ShellSpec("touch /x 2>&1; echo shm >/dev/shm/x && cat /dev/shm/x");
  spec.read_only_root = true;
  EXPECT_THAT(Output(spec), AllOf(HasSubstr("Read-only file system"), HasSubstr("shm\n")));
}

// --- What it sees ---

TEST_F(SandboxTest, IsNotFirstProcessAndSeesOnlyItsOwn) {
  EXPECT_EQ(Output("echo $$ /proc/[0-9]*"), "2 /proc/1 /proc/2\n");
}

TEST_F(SandboxTest, DevicesAreDockersSix) {
  EXPECT_EQ(Output("ls /dev"),
            "core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\n"
            "urandom\nzero\n");
  EXPECT_EQ(
      Output("head -c 3 /dev/zero | wc -c; echo x >/dev/null; head -c 5 /dev/urandom | wc -c"),
      "3\n5\n");
}

TEST_F(SandboxTest, ChangingADeviceNodeDoesNotReachTheHost) {
  struct stat before, after;
  ASSERT_EQ(stat("/dev/null", &before), 0);
  EXPECT_EQ(Output("chmod 600 /dev/null /dev/stdin && stat -c %a /dev/null"), "600\n");
  ASSERT_EQ(stat("/dev/null", &after), 0);
  EXPECT_EQ(after.st_mode, before.st_mode);
}

TEST_F(SandboxTest, NetworkNoneHasOnlyLoopback) {
  EXPECT_EQ(Output("ls /sys/class/net; ip addr show lo | grep -c 127.0.0.1/8"), "lo\n1\n");
}

TEST_F(SandboxTest, NetworkHostIsTheWorkers) {
  SandboxSpec spec = ShellSpec("readlink /proc/self/ns/net");
  spec.network = NetworkMode::kHost;
  char link[64] = {};
  ASSERT_GT(readlink("/proc/self/ns/net", link, sizeof(link) - 1), 0);
  EXPECT_EQ(Output(spec), absl::StrCat(link, "\n"));
}

TEST_F(SandboxTest, OutputComesAsItIsWritten) {
  const RunResult result = Shell("echo one; echo two >&2; exec 3>/dev/stdout; echo three >&3");
  EXPECT_EQ(result.out, "one\nthree\n");
  EXPECT_EQ(result.err, "two\n");
}

TEST_F(SandboxTest, LongOutputIsComplete) {
  EXPECT_EQ(Output("yes 0123456789 | head -n 200000").size(), 200000u * 11);
}

TEST_F(SandboxTest, OutputIsStreamedWhileTheCommandRuns) {
  // The command only ends because its first output was seen.
  CancelToken cancel;
  CancellingLog log(cancel);
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec("echo ready; sleep 1000");
  spec.root_fd = root->root_fd();
  spec.timeout = kPatience;
  EXPECT_THAT(sandbox_->Run(spec, log, cancel),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

// --- Mounts ---

TEST_F(SandboxTest, FilesInMemoryAreMountedAndLeaveNoTrace) {
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec(
      "cat /etc/hosts /run/secrets/key; stat -c '%a %u' /run/secrets/key; echo x 2>&1 "
      ">>/etc/hosts");
  spec.root_fd = root->root_fd();
  spec.mounts = {
      {.kind = SandboxMount::Kind::kFile, .target = "/etc/hosts", .contents = "127.0.0.1 x\n"},
      {.kind = SandboxMount::Kind::kFile,
       .target = "/run/secrets/key",
       .contents = "secret\n",
       .mode = 0400,
       .uid = 7}};
  RecordingLog log;
  CancelToken cancel;
  ASSERT_OK(sandbox_->Run(spec, log, cancel));
  EXPECT_THAT(log.out + log.err,
              AllOf(HasSubstr("127.0.0.1 x\nsecret\n400 7\n"), HasSubstr("Read-only file system")));
  EXPECT_THAT(OpenInRoot(root->root_fd(), "/etc/hosts", O_PATH),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("hosts")));
  EXPECT_THAT(OpenInRoot(root->root_fd(), "/run/secrets", O_PATH),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("secrets")));
}

TEST_F(SandboxTest, ReadOnlyRootIsLeftWithoutStubsToo) {
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec("cat /etc/hosts");
  spec.root_fd = root->root_fd();
  spec.read_only_root = true;
  spec.mounts = {{.kind = SandboxMount::Kind::kFile, .target = "/etc/hosts", .contents = "x\n"}};
  RecordingLog log;
  CancelToken cancel;
  ASSERT_OK(sandbox_->Run(spec, log, cancel));
  EXPECT_EQ(log.out, "x\n");
  EXPECT_THAT(OpenInRoot(root->root_fd(), "/etc/hosts", O_PATH),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("hosts")));
}

// The sandbox's mounts live a little longer than the run; they must not be seen from outside.
TEST_F(SandboxTest, MountsOfTheRunAreNotInTheSnapshot) {
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec("true");
  spec.root_fd = root->root_fd();
  RecordingLog log;
  CancelToken cancel;
  ASSERT_OK(sandbox_->Run(spec, log, cancel));
  EXPECT_THAT(OpenInRoot(root->root_fd(), "/proc/version", O_PATH),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("version")));
}

TEST_F(SandboxTest, HostDirectoriesAreBound) {
  const std::string cache = world_.NewPath("cache");
  ASSERT_EQ(mkdir(cache.c_str(), 0755), 0);
  UniqueFd fd(open(cache.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  SandboxSpec spec = ShellSpec("echo kept >/root/.cache/file");
  spec.mounts = {{.target = "/root/.cache", .read_only = false, .source_fd = fd.get()}};
  Output(spec);
  EXPECT_EQ(ReadFile(cache + "/file").value_or(""), "kept\n");

  spec = ShellSpec("cat /a/b/file; touch /a/b/new 2>&1");
  spec.mounts = {{.target = "/a/b", .source_fd = fd.get()}};
  const RunResult result = Run(spec);
  EXPECT_THAT(result.out, AllOf(HasSubstr("kept"), HasSubstr("Read-only file system")));
  ASSERT_EQ(unlink((cache + "/file").c_str()), 0);
  ASSERT_EQ(rmdir(cache.c_str()), 0);
}

TEST_F(SandboxTest, AnotherSnapshotIsBound) {
  const std::unique_ptr<Snapshot> other = world_.NewRoot();
  SandboxSpec spec = ShellSpec("cat /other/etc/group | head -n 1");
  spec.mounts = {{.target = "/other", .source_fd = other->root_fd()}};
  EXPECT_EQ(Output(spec), "root:x:0:\n");
}

TEST_F(SandboxTest, TmpfsIsEmptyWritableAndBounded) {
  SandboxSpec spec = ShellSpec(
      "ls -A /bin2; stat -c '%a %u' /bin2; dd if=/dev/zero of=/bin2/x bs=1k count=2048 2>&1; true");
  spec.mounts = {{.kind = SandboxMount::Kind::kTmpfs,
                  .target = "/bin2",
                  .read_only = false,
                  .size_bytes = 1 << 20,
                  .mode = 01777,
                  .uid = 5}};
  EXPECT_THAT(Output(spec), AllOf(HasSubstr("1777 5\n"), HasSubstr("No space left on device")));
}

TEST_F(SandboxTest, MountsNestInTheirOrder) {
  SandboxSpec spec = ShellSpec("ls /m; cat /m/sub/file");
  spec.mounts = {{.kind = SandboxMount::Kind::kTmpfs, .target = "/m", .mode = 0755},
                 {.kind = SandboxMount::Kind::kFile, .target = "/m/sub/file", .contents = "x\n"}};
  spec.mounts[0].read_only = false;
  EXPECT_EQ(Output(spec), "sub\nx\n");
}

TEST_F(SandboxTest, MountsOverTheKernelsFilesAreRefused) {
  for (const char* target : {"/proc/1", "/sys/kernel", "/", "relative", "/x/"}) {
    SandboxSpec spec = ShellSpec("true");
    spec.mounts = {{.kind = SandboxMount::Kind::kTmpfs, .target = target}};
    EXPECT_THAT(Run(spec).exit, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(target)));
  }
}

TEST_F(SandboxTest, RootWithoutMountPointsGetsThem) {
  ASSERT_OK_AND_ASSIGN(const auto empty, world_.snapshotter().Prepare({}, world_.NewPath("step")));
  ASSERT_EQ(mkdirat(empty->root_fd(), "bin", 0755), 0);
  UniqueFd busybox(openat(empty->root_fd(), "bin/busybox", O_CREAT | O_WRONLY | O_CLOEXEC, 0755));
  ASSERT_OK(FdSink(busybox.get()).Write(ReadFile("/bin/busybox").value_or("")));
  busybox.Reset();
  SandboxSpec spec;
  spec.args = {"/bin/busybox", "ls", "/"};
  spec.root_fd = empty->root_fd();
  RecordingLog log;
  CancelToken cancel;
  ASSERT_OK(sandbox_->Run(spec, log, cancel));
  EXPECT_EQ(log.out, "bin\ndev\nproc\nsys\n");
}

// --- Stopping it ---

TEST_F(SandboxTest, DaemonsDieWithTheCommand) {
  EXPECT_EQ(Output(Daemon("31415926.1") + "echo started"), "started\n");
  EXPECT_FALSE(HostProcessExists("31415926.1"));
}

TEST_F(SandboxTest, CancelKillsDaemonsToo) {
  CancelToken cancel;
  CancellingLog log(cancel);
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec(Daemon("31415926.2") + "echo ready; sleep 1000");
  spec.root_fd = root->root_fd();
  spec.timeout = kPatience;
  EXPECT_THAT(sandbox_->Run(spec, log, cancel),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
  EXPECT_FALSE(HostProcessExists("31415926.2"));
}

TEST_F(SandboxTest, CancelledBeforeTheStartEndsAtOnce) {
  CancelToken cancel;
  cancel.Cancel();
  RecordingLog log;
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec("sleep 1000");
  spec.root_fd = root->root_fd();
  EXPECT_THAT(sandbox_->Run(spec, log, cancel),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("cancelled")));
}

TEST_F(SandboxTest, DeadlineKills) {
  SandboxSpec spec = ShellSpec(Daemon("31415926.3") + "sleep 1000");
  spec.timeout = absl::Milliseconds(500);
  EXPECT_THAT(Run(spec).exit, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("500ms")));
  EXPECT_FALSE(HostProcessExists("31415926.3"));
}

TEST_F(SandboxTest, EndlessOutputDoesNotHinderTheDeadline) {
  SandboxSpec spec = ShellSpec("yes");
  spec.timeout = absl::Milliseconds(300);
  EXPECT_THAT(Run(spec).exit, StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("300ms")));
}

// --- Limits ---

TEST_F(SandboxTest, MemoryLimitKillsAndSaysSo) {
  if (!world_.cgroups().capabilities().memory) GTEST_SKIP() << "no memory controller";
  SandboxSpec spec = ShellSpec("x=x; while :; do x=$x$x; done");
  spec.limits.memory_bytes = 32 << 20;
  spec.timeout = kPatience;
  const RunResult result = Run(spec);
  ASSERT_OK(result.exit);
  EXPECT_TRUE(result.exit->oom_killed);
  EXPECT_NE(result.exit->exit_code, 0);
  EXPECT_LE(result.exit->usage.memory_peak_bytes, 32 << 20);
}

TEST_F(SandboxTest, PidsLimitBoundsAForkBomb) {
  if (!world_.cgroups().capabilities().pids) GTEST_SKIP() << "no pids controller";
  SandboxSpec spec = ShellSpec("b() { b | b & }; b; sleep 1; ls -d /proc/[0-9]* | wc -l");
  spec.limits.pids = 20;
  spec.timeout = absl::Seconds(5);
  const RunResult result = Run(spec);
  // It may or may not get as far as the count; that it ends, with nothing left, is the point.
  if (result.exit.ok()) {
    EXPECT_THAT(result.err, HasSubstr("can't fork"));
  }
}

TEST_F(SandboxTest, PidsLimitIsWhatTheStepMayHave) {
  if (!world_.cgroups().capabilities().pids) GTEST_SKIP() << "no pids controller";
  SandboxSpec spec = ShellSpec("sleep 9 & sleep 9 & echo two; sleep 9 & echo three");
  spec.limits.pids = 3;
  const RunResult result = Run(spec);
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.out, "two\n");
  EXPECT_THAT(result.err, HasSubstr("can't fork"));
}

TEST_F(SandboxTest, WhatLimitsTheParentGroupLimitsTheRunsInIt) {
  const HostGroup host;
  auto parents = OpenCgroupParents({host.path()}, "owner", world_.cgroups().capabilities());
  if (!host.LimitProcesses(3)) GTEST_SKIP() << "no pids controller";
  ASSERT_OK_AND_ASSIGN(const auto pool, HelperPool::Create({.program = "worker/farm-sandbox",
                                                            .warm = 0,
                                                            .cgroup_parents = std::move(parents)},
                                                           world_.cgroups()));
  NamespaceSandbox sandbox(*pool);
  // The helper is one of the three.
  SandboxSpec spec = ShellSpec("sleep 9 & echo one; sleep 9 & echo two");
  spec.cgroup_parent = host.path();
  const RunResult result = world_.Run(sandbox, spec);
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.out, "one\n");
  EXPECT_THAT(result.err, HasSubstr("can't fork"));
}

TEST_F(SandboxTest, ARunDoesNotSeeItsParentGroup) {
  const HostGroup host;
  ASSERT_OK_AND_ASSIGN(
      const auto pool,
      HelperPool::Create({.program = "worker/farm-sandbox",
                          .warm = 0,
                          .cgroup_parents = OpenCgroupParents({host.path()}, "owner", {})},
                         world_.cgroups()));
  NamespaceSandbox sandbox(*pool);
  SandboxSpec spec = ShellSpec("cat /proc/self/cgroup");
  spec.cgroup_parent = host.path();
  const RunResult result = world_.Run(sandbox, spec);
  ASSERT_OK(result.exit);
  EXPECT_THAT(result.out, AllOf(HasSubstr(":/\n"), Not(HasSubstr("farm")), Not(HasSubstr(".."))));
}

TEST_F(SandboxTest, AParentGroupThatTheWorkerDoesNotOfferIsRefused) {
  SandboxSpec spec = ShellSpec("true");
  spec.cgroup_parent = "/system.slice";
  EXPECT_THAT(Run(spec).exit,
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("cgroup_parents")));
}

// --- When others fail ---

class HelperKillingLog final : public LogSink {
 public:
  void Append(LogStream, absl::string_view) override { KillHelpers(); }
};

TEST_F(SandboxTest, KilledHelperTakesEverythingAlong) {
  HelperKillingLog log;
  CancelToken cancel;
  const std::unique_ptr<Snapshot> root = world_.NewRoot();
  SandboxSpec spec = ShellSpec(Daemon("31415926.4") + "echo ready; sleep 1000");
  spec.root_fd = root->root_fd();
  EXPECT_THAT(sandbox_->Run(spec, log, cancel),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("killed")));
  EXPECT_FALSE(HostProcessExists("31415926.4"));
}

TEST_F(SandboxTest, KilledWorkerTakesEverythingAlong) {
  if (kIsThreadSanitized) GTEST_SKIP() << kForkedHasNoThreads;
  const std::string mark = "31415926.5";
  const pid_t worker = fork();
  if (worker == 0) {
    // A worker of its own, as the pool's thread was not forked.
    auto pool = HelperPool::Create({.program = "worker/farm-sandbox", .warm = 1}, world_.cgroups());
    NamespaceSandbox sandbox(**pool);
    world_.Shell(sandbox, Daemon(mark) + "sleep 1000");
    _exit(1);
  }
  const absl::Time give_up = absl::Now() + kPatience;
  while (!HostProcessExists(mark) && absl::Now() < give_up) sched_yield();
  ASSERT_TRUE(HostProcessExists(mark));
  kill(worker, SIGKILL);
  waitpid(worker, nullptr, 0);
  while (HostProcessExists(mark) && absl::Now() < give_up) sched_yield();
  EXPECT_FALSE(HostProcessExists(mark));
  // What a restarted worker does first; the groups are all that is left.
  world_.cgroups().RemoveLeftovers();
  RemoveTree(world_.dir() + "/step-0").IgnoreError();
  RemoveTree(world_.dir() + "/scratch-1").IgnoreError();
}

TEST_F(SandboxTest, RunsGoOnSideBySide) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this, i] {
      for (int j = 0; j < 5; ++j) {
        const std::unique_ptr<Snapshot> root = world_.NewRoot();
        SandboxSpec spec = ShellSpec(absl::StrCat("echo ", i, " ", j, " >/f; cat /f"));
        spec.root_fd = root->root_fd();
        RecordingLog log;
        CancelToken cancel;
        EXPECT_OK(sandbox_->Run(spec, log, cancel));
        EXPECT_EQ(log.out, absl::StrCat(i, " ", j, "\n"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SandboxTest, MissingHelperProgramIsNamed) {
  EXPECT_THAT(HelperPool::Create({.program = "/no/farm-sandbox"}, world_.cgroups()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/farm-sandbox")));
}

// --- The pool ---

TEST_F(SandboxTest, WarmHelpersServeAndAreReplaced) {
  ASSERT_OK_AND_ASSIGN(const auto pool, HelperPool::Create({.program = "worker/farm-sandbox",
                                                            .warm = 2,
                                                            .refill_delay = absl::ZeroDuration()},
                                                           world_.cgroups()));
  NamespaceSandbox sandbox(*pool);
  pool->Warm(HelperKind::kNoNetwork);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(world_.Shell(sandbox, "echo run").out, "run\n");
  }
}

TEST_F(SandboxTest, HelperKilledWhileIdleIsReplaced) {
  ASSERT_OK_AND_ASSIGN(
      const auto pool,
      HelperPool::Create({.program = "worker/farm-sandbox", .warm = 1}, world_.cgroups()));
  NamespaceSandbox sandbox(*pool);
  pool->Warm(HelperKind::kNoNetwork);
  KillHelpers();
  EXPECT_EQ(world_.Shell(sandbox, "echo run").out, "run\n");
}

}  // namespace
}  // namespace farm
