// What a step must not be able to do, tried in each sandbox.
#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/testing/status_matchers.h"
#include "worker/helper_pool.h"
#include "worker/namespace_sandbox.h"
#include "worker/oci_runtime_sandbox.h"
#include "worker/testing/sandbox_fixture.h"

namespace farm {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class EscapeTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto pool = HelperPool::Create(
        {.program = "worker/farm-sandbox", .warm = 0, .hide_unified = HostHasHybridCgroups()},
        world_.cgroups());
    FARM_CHECK_OK(pool.status());
    pool_ = std::move(pool).value();
    if (!IsOwn()) {
      auto sandbox = OciRuntimeSandbox::Create(GetParam(), *pool_);
      if (!sandbox.ok()) GTEST_SKIP() << sandbox.status();
      sandbox_ = std::move(sandbox).value();
    } else {
      sandbox_ = std::make_unique<NamespaceSandbox>(*pool_);
    }
    const absl::StatusOr<std::string> probe = ReadFile("worker/testing/escape-probe");
    FARM_CHECK_OK(probe.status());
    FARM_CHECK_OK(WriteFileAtomically(world_.base_layer() + "/bin/probe", *probe, 0755));
    before_ = Leftovers(world_.dir(), world_.cgroups());
  }

  void TearDown() override {
    if (IsSkipped()) return;
    pool_->WaitForCleanup();
    world_.trash().WaitUntilEmpty();
    EXPECT_EQ(Leftovers(world_.dir(), world_.cgroups()), before_);
  }

  bool IsOwn() const { return absl::string_view(GetParam()) == "own"; }
  RunResult Shell(const std::string& script) { return world_.Shell(*sandbox_, script); }

  SandboxWorld world_;
  std::unique_ptr<HelperPool> pool_;
  std::unique_ptr<Sandbox> sandbox_;
  std::string before_;
};

INSTANTIATE_TEST_SUITE_P(Sandboxes, EscapeTest, ::testing::Values("own", "crun", "runc"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(EscapeTest, RunsAtAll) {
  RunResult result = Shell("echo out; echo err >&2; exit 7");
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 7);
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
}

TEST_P(EscapeTest, UserDirectoryAndMountsAreTheSpecs) {
  SandboxSpec spec =
      world_.ShellSpec("id -u; id -G; pwd; hostname; cat /etc/hosts; ulimit -n; echo $HOME");
  spec.user = "app";
  spec.cwd = "/made/here";
  spec.hostname = "tester";
  spec.rlimits = {{.resource = RLIMIT_NOFILE, .soft = 100, .hard = 200}};
  spec.mounts = {
      {.kind = SandboxMount::Kind::kFile, .target = "/etc/hosts", .contents = "127.0.0.1 x\n"},
      {.kind = SandboxMount::Kind::kTmpfs, .target = "/scratch", .read_only = false}};
  const RunResult result = world_.Run(*sandbox_, spec);
  EXPECT_OK(result.exit);
  EXPECT_EQ(result.err, "");
  EXPECT_EQ(result.out, "1000\n1000 998\n/made/here\ntester\n127.0.0.1 x\n100\n/home/app\n");
}

TEST_P(EscapeTest, CommandThatIsNotFoundIs127) {
  const RunResult result =
      world_.Run(*sandbox_, {.args = {"nothing-of-this-name"}, .env = {"PATH=/bin"}});
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.exit->exit_code, 127);
  EXPECT_EQ(result.err, "exec: \"nothing-of-this-name\": executable file not found in $PATH\n");
}

TEST_P(EscapeTest, EveryDoorIsShut) {
  const RunResult result = world_.Run(*sandbox_, {.args = {"/bin/probe"}});
  ASSERT_OK(result.exit);
  ASSERT_EQ(result.exit->exit_code, 0) << result.err;
  std::map<std::string, std::string> got;
  for (absl::string_view line : absl::StrSplit(result.out, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, ' ');
    got.insert(pair);
  }
  for (const auto& [what, outcome] : got) {
    SCOPED_TRACE(what);
    if (what == "descriptors") {
      EXPECT_EQ(outcome, "0");
    } else if (absl::StartsWith(what, "mknod:")) {
      EXPECT_EQ(outcome, "ok");  // It reaches the layer; opening is what must not work.
    } else if (!IsOwn() && absl::StartsWith(what, "open:") && absl::EndsWith(what, "zero-node")) {
      // Runtimes tell devices by number alone, and /dev/zero's is allowed.
    } else if (absl::StartsWith(what, "open:")) {
      EXPECT_THAT(outcome, AnyOf("EACCES", "EPERM"));
    } else if (absl::StartsWith(what, "read:")) {
      EXPECT_THAT(outcome, AnyOf("empty", "ENOENT"));
    } else if (what == "/proc/1/exe") {
      EXPECT_THAT(outcome, AnyOf("EACCES", "ETXTBSY"));
    } else if (absl::StartsWith(what, "/")) {
      EXPECT_THAT(outcome, AnyOf("EROFS", "ENOENT"));
    } else if (what == "release_agent") {
      EXPECT_EQ(outcome, "ENOENT");
    } else if (what == "newer" && !IsOwn()) {
      EXPECT_THAT(outcome, AnyOf("ENOSYS", "EPERM"));
    } else if (what == "clone3" || what == "newer") {
      EXPECT_EQ(outcome, "ENOSYS");
    } else {
      EXPECT_EQ(outcome, "EPERM");
    }
  }
  EXPECT_GE(got.size(), 60u);
}

TEST_P(EscapeTest, OnlyAnInsecureCommandMayMountAndOpenDevices) {
  SandboxSpec spec = world_.ShellSpec(
      "mkdir /m; mount -t tmpfs none /m && echo mounted; mknod /z c 1 11; (: </z) && echo opened; "
      "mount -o remount,bind,rw /sys && echo remounted; test -e /dev/fuse && echo fuse");
  EXPECT_EQ(world_.Run(*sandbox_, spec).out, "");
  spec.insecure = true;
  EXPECT_EQ(world_.Run(*sandbox_, spec).out, "mounted\nopened\nremounted\nfuse\n");
  EXPECT_EQ(Shell("mount -t tmpfs none /sys || echo refused").out, "refused\n");
}

TEST_P(EscapeTest, HelperProgramCannotBeOverwritten) {
  // Tries for a while, as somebody who wins a race would.
  const RunResult result = Shell(
      "i=0; while [ $i -lt 200 ]; do for p in /proc/[0-9]*/exe; do "
      "(echo bad >$p) 2>/dev/null && echo written $p; done; i=$((i+20)); done; true");
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(Shell("echo intact").out, "intact\n");
}

TEST_P(EscapeTest, WorkingDirectoryIsNoDescriptorOfOurs) {
  for (int fd = 0; fd < 64; ++fd) {
    SandboxSpec spec = world_.ShellSpec("cd ../../.. && ls");
    spec.cwd = absl::StrCat("/proc/self/fd/", fd);
    const RunResult result = world_.Run(*sandbox_, spec);
    EXPECT_FALSE(result.exit.ok() && result.exit->ok()) << spec.cwd << ": " << result.out;
    if (!IsOwn() && fd == 12) break;  // Each takes long.
  }
}

TEST_P(EscapeTest, NothingSurvivesNotEvenWithoutDeathSignal) {
  const std::string mark = absl::StrCat("271828.", getpid());
  SandboxSpec spec = world_.ShellSpec(absl::StrCat("/bin/probe ", mark, "; /bin/probe ", mark,
                                                   "; while ! grep -qa ", mark,
                                                   " /proc/[0-9]*/cmdline; do :; done"));
  const RunResult result = world_.Run(*sandbox_, spec);
  EXPECT_OK(result.exit);
  const std::string find = "sleep" + std::string(1, '\0') + mark + std::string(1, '\0');
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    EXPECT_NE(ReadFile(absl::StrCat("/proc/", entry->d_name, "/cmdline")).value_or(""), find);
  }
  closedir(proc);
}

TEST_P(EscapeTest, DeadlineKillsAll) {
  SandboxSpec spec = world_.ShellSpec("setsid sleep 1000 & sleep 1000");
  spec.timeout = absl::Seconds(2);
  EXPECT_THAT(world_.Run(*sandbox_, spec).exit,
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("2s")));
}

TEST_P(EscapeTest, MemoryAndProcessesAreBounded) {
  const CgroupCapabilities& can = world_.cgroups().capabilities();
  if (!can.memory || !can.pids) GTEST_SKIP() << can.Describe();
  SandboxSpec spec = world_.ShellSpec("x=x; while :; do x=$x$x; done");
  spec.limits.memory_bytes = 64 << 20;
  RunResult result = world_.Run(*sandbox_, spec);
  ASSERT_OK(result.exit);
  EXPECT_TRUE(result.exit->oom_killed);

  spec = world_.ShellSpec("i=0; while [ $i -lt 60 ]; do sleep 9 & i=$((i+1)); done; echo all");
  spec.limits.pids = 40;
  result = world_.Run(*sandbox_, spec);
  ASSERT_OK(result.exit);
  EXPECT_EQ(result.out, "");
  EXPECT_THAT(result.err, HasSubstr("can't fork"));
}

}  // namespace
}  // namespace farm
