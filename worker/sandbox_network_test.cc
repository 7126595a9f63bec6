// The parts of a sandbox's network that are pure functions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "base/testing/status_matchers.h"
#include "worker/ipv4_network.h"
#include "worker/resolv_conf.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Ipv4Network Network(const char* text) { return *ParseIpv4Network(text); }

TEST(Ipv4NetworkTest, TextIsReadAndWritten) {
  for (const char* text : {"10.0.0.0/8", "192.168.4.0/22", "1.2.3.4/32", "0.0.0.0/0"}) {
    EXPECT_EQ(Network(text).ToString(), text);
  }
  EXPECT_EQ(Network("1.2.3.4").ToString(), "1.2.3.4/32");
}

TEST(Ipv4NetworkTest, NetworksOverlapIfOneIsWithinTheOther) {
  EXPECT_TRUE(Network("10.0.0.0/8").Overlaps(Network("10.87.0.0/20")));
  EXPECT_TRUE(Network("10.87.0.0/20").Overlaps(Network("10.0.0.0/8")));
  EXPECT_TRUE(Network("10.87.15.255/32").Overlaps(Network("10.87.0.0/20")));
  EXPECT_FALSE(Network("10.87.16.0/20").Overlaps(Network("10.87.0.0/20")));
  EXPECT_TRUE(Network("0.0.0.0/0").Overlaps(Network("10.87.0.0/20")));
}

TEST(Ipv4NetworkTest, WhatIsNoNetworkIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "no IPv4 address"},
      {"10.0.0/8", "no IPv4 address"},
      {"fd00::1", "no IPv4 address"},
      {"10.0.0.0/", "no IPv4 network"},
      {"10.0.0.0/33", "no IPv4 network"},
      {"10.0.0.0/-1", "no IPv4 network"},
      {"10.0.0.1/8", "did you mean 10.0.0.0/8?"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseIpv4Network(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << text;
  }
}

TEST(SandboxResolvConfTest, ReachableResolversAndSearchDomainsStay) {
  const SandboxResolvConf conf = MakeSandboxResolvConf(
      "# made by hand\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver fd00::2\n"
      "search example.com\noptions ndots:2\n",
      "nameserver 10.0.0.3\n", {});
  EXPECT_EQ(conf.text, "nameserver 10.0.0.2\nsearch example.com\noptions ndots:2\n");
  EXPECT_THAT(conf.resolvers, ElementsAre(0x0a000002));
}

TEST(SandboxResolvConfTest, ALocalStubIsReplacedByWhatItAsks) {
  const SandboxResolvConf conf = MakeSandboxResolvConf(
      "nameserver 127.0.0.53\nsearch lan\n", "nameserver 10.0.0.3\nnameserver 10.0.0.4\n", {});
  EXPECT_EQ(conf.text, "nameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch lan\n");
}

TEST(SandboxResolvConfTest, ConfiguredResolversGoBeforeAllOthers) {
  const SandboxResolvConf conf =
      MakeSandboxResolvConf("nameserver 10.0.0.2\n", "nameserver 10.0.0.3\n", {0x0a090909});
  EXPECT_EQ(conf.text, "nameserver 10.9.9.9\n");
}

TEST(SandboxResolvConfTest, AHostWithoutReachableResolversHasNone) {
  const SandboxResolvConf conf =
      MakeSandboxResolvConf("nameserver ::1\nnameserver 127.0.0.1\n", "", {});
  EXPECT_EQ(conf.text, "");
  EXPECT_THAT(conf.resolvers, IsEmpty());
}

}  // namespace
}  // namespace farm
