#include "coordinator/coordinator_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(CoordinatorConfigTest, AFarmIsLocalIfItListensOnUnixSocketsAlone) {
  v1::CoordinatorConfig config;
  config.add_listen("unix:/run/farm/farm.sock");
  EXPECT_TRUE(IsLocal(config));
  config.add_listen("127.0.0.1:7070");
  EXPECT_FALSE(IsLocal(config));
}

}  // namespace
}  // namespace farm
