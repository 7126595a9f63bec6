#include "plan/config_changes.h"

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Platform Amd64() {
  v1::Platform platform;
  platform.set_os("linux");
  platform.set_architecture("amd64");
  return platform;
}

TEST(ConfigChangesTest, InstructionsBecomeTheConfig) {
  ASSERT_OK_AND_ASSIGN(const ContainerConfig config,
                       ApplyConfigChanges({"CMD [\"sh\"]", "env A=1"}, Amd64()));
  EXPECT_THAT(config.cmd, ElementsAre("sh"));
  EXPECT_THAT(config.env, Contains("A=1"));
}

TEST(ConfigChangesTest, AnInstructionThatNeedsAStepIsRefusedWithThoseThatDoNot) {
  EXPECT_THAT(ApplyConfigChanges({"RUN make"}, Amd64()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("--change: RUN is not"), HasSubstr("CMD, ENTRYPOINT"))));
}

TEST(ConfigChangesTest, AMistakeInAnInstructionIsToldOfTheFlag) {
  EXPECT_THAT(ApplyConfigChanges({"ENV novalue"}, Amd64()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--change:")));
}

}  // namespace
}  // namespace farm
