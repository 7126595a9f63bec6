#include "base/config_file.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>

#include "base/byte_stream.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "proto/farm/v1/config.pb.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ConfigFileTest, FieldsOfEveryKindAreRead) {
  v1::WorkerConfig config;
  ASSERT_OK(ParseConfig(R"(# A worker.
coordinator: farm.example.com:7070
slots: 4
layers_bytes_max: 53687091200
networks: [none, HOST]
tls: {ca_file: /etc/farm/ca.pem}
limits:
  cpus: 1.5
  timeout: 1h30m
registries:
  insecure:
    - one:5000
  mirrors:
    - host: docker.io
      mirrors: [mirror.example.com]
)",
                        "worker.yaml", config));
  EXPECT_EQ(config.coordinator(), "farm.example.com:7070");
  EXPECT_EQ(config.slots(), 4);
  EXPECT_EQ(config.layers_bytes_max(), int64_t{50} << 30);
  EXPECT_THAT(config.networks(), ElementsAre(v1::NETWORK_MODE_NONE, v1::NETWORK_MODE_HOST));
  EXPECT_EQ(config.tls().ca_file(), "/etc/farm/ca.pem");
  EXPECT_EQ(config.limits().cpus(), 1.5);
  EXPECT_EQ(config.limits().timeout().seconds(), 5400);
  EXPECT_THAT(config.registries().insecure(), ElementsAre("one:5000"));
  EXPECT_EQ(config.registries().mirrors(0).host(), "docker.io");
}

TEST(ConfigFileTest, EmptyFileChangesNothing) {
  v1::WorkerConfig config;
  config.set_slots(3);
  ASSERT_OK(ParseConfig("# nothing\n", "f", config));
  EXPECT_EQ(config.slots(), 3);
}

TEST(ConfigFileTest, FileOverridesWhatWasThere) {
  v1::WorkerConfig config;
  config.set_slots(3);
  config.add_networks(v1::NETWORK_MODE_HOST);
  ASSERT_OK(ParseConfig("slots: 5\nnetworks: [none]", "f", config));
  EXPECT_EQ(config.slots(), 5);
  EXPECT_THAT(config.networks(), ElementsAre(v1::NETWORK_MODE_NONE));
}

TEST(ConfigFileTest, MistakesAreShownWhereTheyAre) {
  struct Case {
    const char* yaml;
    int line;
    int column;
    const char* message;
  };
  const Case cases[] = {
      {"slots: 4\ncoordinater: x", 2, 1,
       "unknown field \"coordinater\"; did you mean \"coordinator\"?"},
      {"limits:\n  cpu: 2", 2, 3, "did you mean \"cpus\"?"},
      {"qqqq: 1", 1, 1, "unknown field \"qqqq\""},
      {"slots: many", 1, 8, "slots: expected a whole number, got \"many\""},
      {"slots: 99999999999", 1, 8, "expected a whole number"},
      {"slots: 1.5", 1, 8, "expected a whole number"},
      {"slots: [1]", 1, 8, "expected a whole number, got a list"},
      {"slots: 1\nname:", 2, 1, "expected a text, got nothing"},
      {"networks: host", 1, 11, "expected a list"},
      {"networks: [hots]", 1, 12,
       "expected one of none, host, isolated, got \"hots\"; did you mean \"host\"?"},
      {"tls: yes", 1, 6, "expected fields"},
      {"limits: {timeout: 5 minutes}", 1, 19, "expected a duration"},
      {"limits: {timeout: -5s}", 1, 19, "expected a duration"},
      {"limits: {cpus: two}", 1, 16, "expected a number"},
      {"slots: 1\nslots: 2", 2, 1, "there twice"},
      {"- a\n- b", 1, 1, "expected fields"},
      {"slots: [1", 1, 1, "end of sequence flow not found"},
      {"just text", 1, 1, "expected fields"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.yaml);
    v1::WorkerConfig config;
    const absl::Status status = ParseConfig(c.yaml, "w.yaml", config);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)));
    const auto position = PositionOf(status);
    ASSERT_TRUE(position.has_value());
    EXPECT_EQ(position->file, "w.yaml");
    EXPECT_EQ(position->line, c.line);
    EXPECT_EQ(position->column, c.column);
  }
}

TEST(ConfigFileTest, ErrorCarriesTheLineItself) {
  v1::WorkerConfig config;
  std::string line;
  PositionOf(ParseConfig("a\n: b: c", "f", config), &line);
  PositionOf(ParseConfig("slots: 1\nnmae: x", "f", config), &line);
  EXPECT_EQ(line, "nmae: x");
}

TEST(ConfigFileTest, AbsentFileIsNamed) {
  v1::WorkerConfig config;
  EXPECT_THAT(LoadConfigFile("/does/not/exist.yaml", config),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/does/not/exist.yaml")));
}

TEST(ConfigFileTest, AnErrorInWhatAFieldSaysIsShownWhereItStands) {
  const std::string path = ::testing::TempDir() + "/worker.yaml";
  ASSERT_OK(WriteFileAtomically(path, "name: x\nlimits:\n  cpus: -1\n"));
  const absl::Status error = absl::InvalidArgumentError("limits.cpus: -1 is negative");
  std::string line;
  const absl::Status at = AtItsField(error, path);
  EXPECT_EQ(at.message(), path + ":3:9: limits.cpus: -1 is negative");
  EXPECT_TRUE(PositionOf(at, &line).has_value());
  EXPECT_EQ(line, "  cpus: -1");
  for (const char* other : {"slots: 0 is too few", "limits.timeout: odd", "no field at all"}) {
    EXPECT_EQ(AtItsField(absl::InvalidArgumentError(other), path).message(), other);
  }
  EXPECT_OK(AtItsField(absl::OkStatus(), path));
}

TEST(ConfigFileTest, AnErrorOfTheSettingsIsKnownAsSuchWithItsContext) {
  const absl::Status error = absl::NotFoundError("ca.pem");
  EXPECT_FALSE(IsConfigError(error));
  EXPECT_TRUE(IsConfigError(Annotate(AsConfigError(error), "tls")));
  EXPECT_FALSE(IsConfigError(AsConfigError(absl::OkStatus())));
}

TEST(ConfigFileTest, WhatIsPrintedReadsBackEqual) {
  v1::WorkerConfig config;
  config.set_name("w: \"1\"\n#");
  config.set_slots(2);
  config.add_networks(v1::NETWORK_MODE_NONE);
  config.mutable_limits()->set_cpus(0.25);
  config.mutable_limits()->mutable_timeout()->set_seconds(21600);
  config.mutable_registries()->add_mirrors()->set_host("docker.io");
  const std::string yaml = ConfigToYaml(config);
  v1::WorkerConfig again;
  ASSERT_OK(ParseConfig(yaml, "f", again)) << yaml;
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again)) << yaml;
}

}  // namespace
}  // namespace farm
