// farm build --cgroup-parent on a real local farm, under the farm's own sandbox and under an OCI
// runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/runtime_test.h"
#include "worker/testing/host_group.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kNeedsProcesses[] =
    "FROM base\nRUN for i in $(seq 40); do sleep 5 & done; echo enough\n";

// With a farm of its own: what it offers is in its configuration.
class CgroupParentTest : public testing::TestWithParam<const char*> {
 protected:
  CgroupParentTest() {
    farm_.ConfigureWorker(
        absl::StrCat("runtime: ", GetParam(), "\ncgroup_parents: [", host_.path(), "]\n"));
    farm_.FarmOk({"import", BusyboxRootTar(), "base"});
  }

  CommandResult Build(const std::string& parent) {
    context_.Write("Dockerfile", kNeedsProcesses);
    return farm_.Farm(
        {"build", "--progress=plain", "--no-cache", "--cgroup-parent", parent, context_.path()});
  }

  const HostGroup host_;  // Goes when the farm has stopped.
  LocalFarmUnderTest farm_;
  ScratchDir context_;
};
RUNTIME_TEST_SUITE(CgroupParentTest);

TEST_P(CgroupParentTest, WhatLimitsTheGroupLimitsTheRunsInIt) {
  const CommandResult unlimited = Build(host_.path());
  ASSERT_EQ(unlimited.exit_code, 0) << unlimited.all();
  if (!host_.LimitProcesses(20)) GTEST_SKIP() << "no pids controller";
  const CommandResult limited = Build(host_.path());
  EXPECT_EQ(limited.exit_code, 1) << limited.all();
  EXPECT_THAT(limited.err, HasSubstr("can't fork"));
  EXPECT_EQ(farm_.Farm({"build", "--no-cache", context_.path()}).exit_code, 0)
      << "without --cgroup-parent it is not limited";
}

TEST_P(CgroupParentTest, AGroupThatNoWorkerOffersIsRefusedByName) {
  const CommandResult refused = Build("/system.slice");
  EXPECT_EQ(refused.exit_code, 1) << refused.all();
  EXPECT_THAT(refused.err, AllOf(HasSubstr("Dockerfile:2"), HasSubstr("/system.slice"),
                                 HasSubstr("cgroup_parents")));
}

TEST_P(CgroupParentTest, NothingIsLeftInTheGroup) {
  const CommandResult built = Build(host_.path().substr(1));  // As docker has it, without a slash.
  ASSERT_EQ(built.exit_code, 0) << built.all();
  ASSERT_FALSE(host_.Directories().empty());
  farm_.FarmOk({"local", "stop"});
  for (const std::string& directory : host_.Directories()) {
    // One hierarchy may have several names.
    EXPECT_TRUE(rmdir(directory.c_str()) == 0 || errno == ENOENT) << directory;
  }
}

}  // namespace
}  // namespace farm
