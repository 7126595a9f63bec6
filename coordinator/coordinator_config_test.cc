#include "coordinator/coordinator_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

TEST(CoordinatorConfigTest, ExampleFileIsAccepted) {
  CoordinatorFlags flags;
  flags.file = "deploy/examples/coordinator.yaml";
  ASSERT_OK_AND_ASSIGN(const v1::CoordinatorConfig config, EffectiveConfig(flags));
  EXPECT_EQ(config.listen_size(), 2);
  EXPECT_EQ(config.run_network_default(), v1::NETWORK_MODE_ISOLATED);
}

TEST(CoordinatorConfigTest, RunIsIsolatedByDefaultButOnALocalFarmWhoseWorkerChooses) {
  CoordinatorFlags flags;
  flags.listen = {"unix:/run/farm.sock"};
  ASSERT_OK_AND_ASSIGN(v1::CoordinatorConfig config, EffectiveConfig(flags));
  EXPECT_EQ(config.run_network_default(), v1::NETWORK_MODE_UNSPECIFIED);
  flags.listen = {"unix:/run/farm.sock", "127.0.0.1:7070"};
  ASSERT_OK_AND_ASSIGN(config, EffectiveConfig(flags));
  EXPECT_EQ(config.run_network_default(), v1::NETWORK_MODE_ISOLATED);
}

TEST(CoordinatorConfigTest, AValueThatMakesNoSenseIsShownWhereItStands) {
  CoordinatorFlags flags;
  flags.file = ::testing::TempDir() + "/coordinator.yaml";
  for (const auto& [yaml, message] :
       {std::pair("lease_ttl: 1s", ":1:12: lease_ttl: it is under 3s"),
        std::pair("listen: [a:1, 5]", ":1:9: listen: address \"5\": no port"),
        std::pair("storage:\n  grace: 1s", ":2:10: storage.grace: it is under 10s"),
        std::pair("builds_max: -1", ":1:13: builds_max: -1 is negative")}) {
    ASSERT_OK(WriteFileAtomically(flags.file, yaml));
    EXPECT_THAT(EffectiveConfig(flags), StatusIs(absl::StatusCode::kInvalidArgument,
                                                 ::testing::StartsWith(flags.file + message)));
  }
  flags.listen = {"5"};
  ASSERT_OK(WriteFileAtomically(flags.file, "listen: [a:1]"));
  EXPECT_THAT(EffectiveConfig(flags),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::StartsWith("--listen: ")));
}

TEST(CoordinatorConfigTest, AFarmIsLocalIfItListensOnUnixSocketsAlone) {
  v1::CoordinatorConfig config;
  config.add_listen("unix:/run/farm/farm.sock");
  EXPECT_TRUE(IsLocal(config));
  config.add_listen("127.0.0.1:7070");
  EXPECT_FALSE(IsLocal(config));
}

}  // namespace
}  // namespace farm
