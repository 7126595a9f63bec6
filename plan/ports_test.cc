#include "plan/ports.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(PortsTest, BadWordsAreRefusedAsDockerDoes) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no port specified: <empty>"},
      {"/tcp", "no port specified: /tcp<empty>"},
      {"80/http", "invalid proto: http"},
      {"a", "invalid containerPort: a"},
      {"70000", "invalid containerPort: 70000"},
      {"90-80", "invalid containerPort: 90-80"},
      {"1-2-3", "invalid containerPort: 1-2-3"},
      {"x:80", "invalid hostPort: x"},
      {"300.1.1.1:80:80", "invalid IP address: 300.1.1.1"},
      {"1-2:1-3", "invalid ranges specified for container and host Ports: 1-3 and 1-2"},
  };
  for (const auto& [word, message] : cases) {
    EXPECT_THAT(ParsePorts(word), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << word;
  }
}

TEST(PortsTest, HostSideIsCheckedAndDropped) {
  EXPECT_THAT(*ParsePorts("[::1]:8080-8090:80"), ElementsAre("80/tcp"));
  EXPECT_THAT(*ParsePorts("127.0.0.1::53/udp"), ElementsAre("53/udp"));
}

}  // namespace
}  // namespace farm
