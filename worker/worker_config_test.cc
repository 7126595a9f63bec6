#include "worker/worker_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

WorkerFlags WithFile(const std::string& yaml) {
  const std::string path = ::testing::TempDir() + "/worker.yaml";
  EXPECT_OK(WriteFileAtomically(path, yaml));
  WorkerFlags flags;
  flags.file = path;
  return flags;
}

TEST(WorkerConfigTest, AValueThatMakesNoSenseIsShownWhereItStands) {
  WorkerFlags flags = WithFile("slots: 5000\ncoordinator: a:1\n");
  EXPECT_THAT(EffectiveWorkerConfig(flags),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       ::testing::StartsWith(flags.file + ":1:8: slots: 5000 is not between")));
  flags.slots = 6000;
  EXPECT_THAT(EffectiveWorkerConfig(flags), StatusIs(absl::StatusCode::kInvalidArgument,
                                                     ::testing::StartsWith("slots: 6000 is not")));
}

TEST(WorkerConfigTest, DefaultsAreFilledIn) {
  ASSERT_OK_AND_ASSIGN(const v1::WorkerConfig config,
                       EffectiveWorkerConfig(WithFile("coordinator: farm.example.com:7070")));
  EXPECT_NE(config.name(), "");
  EXPECT_EQ(config.state_dir(), "/var/lib/farm/worker");
  EXPECT_GE(config.slots(), 1);
  EXPECT_EQ(config.runtime(), "namespaces");
  EXPECT_EQ(config.caches_bytes_max(), int64_t{20} << 30);
  EXPECT_THAT(config.networks(), ElementsAre(v1::NETWORK_MODE_ISOLATED, v1::NETWORK_MODE_NONE));
  EXPECT_EQ(config.limits().processes_max(), 32768);
  EXPECT_EQ(config.limits().timeout().seconds(), 6 * 3600);
  EXPECT_FALSE(config.sources().loopback_allowed());
  EXPECT_EQ(config.sources().bytes_max(), int64_t{16} << 30);
  EXPECT_EQ(config.sources().timeout().seconds(), 3600);
}

TEST(WorkerConfigTest, HostNetworkIsPermittedWhereItIsNamedAlone) {
  // Others may reach a coordinator that its worker reaches by a unix socket.
  ASSERT_OK_AND_ASSIGN(const v1::WorkerConfig config,
                       EffectiveWorkerConfig(WithFile("coordinator: unix:/run/farm.sock")));
  EXPECT_THAT(config.networks(), ElementsAre(v1::NETWORK_MODE_ISOLATED, v1::NETWORK_MODE_NONE));
  ASSERT_OK_AND_ASSIGN(
      const v1::WorkerConfig closed,
      EffectiveWorkerConfig(WithFile("coordinator: unix:/run/farm.sock\nnetworks: [none]")));
  EXPECT_THAT(closed.networks(), ElementsAre(v1::NETWORK_MODE_NONE));
}

TEST(WorkerConfigTest, IsolatedNetworksAreAsTheFileSays) {
  ASSERT_OK_AND_ASSIGN(
      const v1::WorkerConfig config,
      EffectiveWorkerConfig(WithFile("coordinator: farm.example.com:7070\nslots: 2\n"
                                     "isolated_network:\n  subnet: 10.9.0.0/24\n"
                                     "  dns: [10.0.0.53]\n  deny_private_networks: true\n"
                                     "  allowed_networks: [10.1.0.0/16, 10.2.3.4]\n")));
  ASSERT_OK_AND_ASSIGN(const IsolatedNetwork::Options options, IsolatedNetworkOptions(config));
  EXPECT_EQ(options.subnet.ToString(), "10.9.0.0/24");
  EXPECT_EQ(options.networks_max, 8);
  EXPECT_THAT(options.resolvers, ElementsAre(0x0a000035));
  EXPECT_TRUE(options.deny_private_networks);
  ASSERT_EQ(options.allowed_networks.size(), 2u);
  EXPECT_EQ(options.allowed_networks[1].ToString(), "10.2.3.4/32");
  EXPECT_EQ(options.coordinator, "farm.example.com:7070");
}

TEST(WorkerConfigTest, FlagsOverrideTheFile) {
  WorkerFlags flags = WithFile("coordinator: a:1\nname: one\nslots: 2");
  flags.name = "two";
  flags.slots = 7;
  ASSERT_OK_AND_ASSIGN(const v1::WorkerConfig config, EffectiveWorkerConfig(flags));
  EXPECT_EQ(config.coordinator(), "a:1");
  EXPECT_EQ(config.name(), "two");
  EXPECT_EQ(config.slots(), 7);
}

TEST(WorkerConfigTest, ExampleFileIsAccepted) {
  WorkerFlags flags;
  flags.file = "deploy/examples/worker.yaml";
  ASSERT_OK_AND_ASSIGN(const v1::WorkerConfig config, EffectiveWorkerConfig(flags));
  EXPECT_EQ(config.token_file(), "/etc/farm/worker.token");
}

TEST(WorkerConfigTest, WhatMakesNoSenseIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"name: x", "no coordinator"},
      {"coordinator: nowhere", "no port"},
      {"coordinator: a:1\nslots: -1", "slots: -1"},
      {"coordinator: a:1\nslots: 5000", "slots: 5000"},
      {"coordinator: a:1\nstate_dir: here", "state_dir: here is not absolute"},
      {"coordinator: a:1\nlayers_bytes_max: -1", "layers_bytes_max"},
      {"coordinator: a:1\nsources: {bytes_max: -1}", "sources.bytes_max"},
      {"coordinator: a:1\nlimits: {cpus: -1}", "limits.cpus"},
      {"coordinator: a:1\nlimits: {cpus: nan}", "limits.cpus"},
      {"coordinator: a:1\nlimits: {memory_bytes: -1}", "limits.memory_bytes"},
      {"coordinator: a:1\nlimits: {disk_bytes: 1}", "not supported"},
      {"coordinator: a:1\ncgroup_parents: [/ci, /ci]", "cgroup_parents: /ci is given twice"},
      {"coordinator: a:1\ncgroup_parents: [/ci, /ci/../x]", "cgroup_parents: \"/ci/../x\" is no"},
      {"coordinator: a:1\nisolated_network: {subnet: 10.0.0.1/8}", "did you mean 10.0.0.0/8"},
      {"coordinator: a:1\nisolated_network: {subnet: 0.0.0.0/0}", "isolated_network.subnet"},
      {"coordinator: a:1\nisolated_network: {dns: [resolver]}", "isolated_network.dns"},
      {"coordinator: a:1\nisolated_network: {allowed_networks: [10.0.0.0/8]}",
       "only with deny_private_networks"},
  };
  for (const auto& [yaml, message] : cases) {
    EXPECT_THAT(EffectiveWorkerConfig(WithFile(yaml)),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << yaml;
  }
}

}  // namespace
}  // namespace farm
