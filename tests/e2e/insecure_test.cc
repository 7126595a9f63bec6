// RUN --security=insecure on a real local farm, under the farm's own sandbox and under an OCI
// runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/runtime_test.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class InsecureTest : public RuntimeTest {
 protected:
  static CommandResult Build(LocalFarmUnderTest& farm, const ScratchDir& context,
                             const std::string& dockerfile) {
    context.Write("Dockerfile", dockerfile);
    return farm.Farm({"build", "--progress=plain", "--allow", "security.insecure", context.path()});
  }
  void BuildOk(const std::string& lines) {
    const CommandResult built = Build(*farm_, context_, absl::StrCat("FROM base\n", lines));
    EXPECT_EQ(built.exit_code, 0) << built.all();
  }
};
RUNTIME_TEST_SUITE(InsecureTest);

constexpr char kMayMount[] = "mkdir -p /m && mount -t tmpfs none /m && touch /m/x && umount /m";
constexpr char kIsFiltered[] = "grep -q '^Seccomp:.*2$' /proc/self/status";

TEST_P(InsecureTest, ACommandHasAllCapabilitiesAndSystemCalls) {
  BuildOk(absl::StrCat("RUN --security=insecure ", kMayMount, " && ! ", kIsFiltered,
                       "\n"
                       // Of the others none has changed.
                       "RUN ! mount -t tmpfs none /m && ",
                       kIsFiltered, "\n"));
}

TEST_P(InsecureTest, AUserOtherThanRootHasThemToo) {
  BuildOk(absl::StrCat("RUN mkdir /m\nUSER 7:8\n", "RUN --security=insecure test $(id -u) = 7 && ",
                       "mount -t tmpfs none /m\n", "RUN ! mount -t tmpfs none /m\n"));
}

TEST_P(InsecureTest, NothingIsHiddenOrReadOnly) {
  BuildOk(
      "RUN --security=insecure grep -q ' /sys sysfs rw' /proc/mounts && "
      "! grep -q ' /proc/[a-z]' /proc/mounts && test -n \"$(cat /proc/interrupts)\" && "
      "v=$(cat /proc/sys/kernel/domainname) && echo \"$v\" > /proc/sys/kernel/domainname\n"
      "RUN grep -q ' /sys sysfs ro' /proc/mounts && ! sh -c "
      "'echo x > /proc/sys/kernel/domainname'\n");
}

TEST_P(InsecureTest, DevicesAreThereAndCanBeOpened) {
  BuildOk(
      "RUN --security=insecure test -c /dev/fuse && test -c /dev/net/tun && test -b /dev/loop0 && "
      // One of its own, beside and beneath the root.
      "mknod /zero c 1 5 && test $(head -c 3 /zero | wc -c) = 3 && "
      "mknod /dev/own c 1 5 && test $(head -c 3 /dev/own | wc -c) = 3\n"
      "RUN test ! -e /dev/fuse && test ! -e /dev/own\n");
}

TEST_P(InsecureTest, WhatItMountsAndStartsIsGoneWithIt) {
  BuildOk(
      "RUN --security=insecure mkdir /kept /hidden && mount -t tmpfs none /hidden && "
      "touch /hidden/x /kept/y && { setsid sleep 31415926 & } && "
      "until pidof sleep; do usleep 10000; done\n"
      "RUN test -e /kept/y && test ! -e /hidden/x\n");
  EXPECT_EQ(RunCommand({"pgrep", "-f", "31415926"}).out, "");
}

TEST_P(InsecureTest, AWorkerThatDoesNotPermitItGetsNone) {
  LocalFarmUnderTest strict;
  strict.ConfigureWorker(absl::StrCat("runtime: ", GetParam(), "\ninsecure_allowed: false\n"));
  strict.FarmOk({"import", BusyboxRootTar(), "base"});
  const CommandResult refused =
      Build(strict, context_, "FROM base\nRUN --security=insecure echo never\n");
  EXPECT_EQ(refused.exit_code, 1) << refused.all();
  EXPECT_THAT(refused.err, AllOf(HasSubstr("Dockerfile:2"), HasSubstr("insecure_allowed"),
                                 Not(HasSubstr("never\n#"))));
}

}  // namespace
}  // namespace farm
