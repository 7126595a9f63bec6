#include "tests/testing/runtime_test.h"

#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"

namespace farm {

using ::testing::HasSubstr;
using ::testing::Not;

std::map<std::string, std::unique_ptr<LocalFarmUnderTest>> RuntimeTest::farms_;

void RuntimeTest::SetUp() {
  const std::string runtime = GetParam();
  if (runtime != "namespaces" && !HasProgram(runtime)) GTEST_SKIP() << "no " << runtime;
  std::unique_ptr<LocalFarmUnderTest>& farm = farms_[runtime];
  if (farm == nullptr) {
    farm = std::make_unique<LocalFarmUnderTest>();
    farm->ConfigureWorker(absl::StrCat("runtime: ", runtime, "\nslots: 2\n"));
    farm->FarmOk({"import", BusyboxRootTar(), "base"});
  }
  farm_ = farm.get();
}

void RuntimeTest::TearDown() {
  if (farm_ == nullptr) return;
  EXPECT_THAT(ReadFile("/proc/self/mountinfo").value_or(""), Not(HasSubstr(farm_->state_dir())));
  EXPECT_EQ(RunCommand({"find", farm_->state_dir(), "-path", "*/steps/*", "-prune"}).out, "");
}

}  // namespace farm
