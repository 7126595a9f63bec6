// Configs, manifests, platforms.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/platform.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;

const std::string kDigestA = DigestOf("a").oci();
const std::string kDigestB = DigestOf("b").oci();

absl::Time At(int64_t seconds) { return absl::FromUnixSeconds(seconds); }

// Platforms ---------------------------------------------------------------------------------------

std::string Parsed(absl::string_view text) {
  const absl::StatusOr<Platform> platform = Platform::Parse(text);
  return platform.ok() ? platform->ToString() : std::string(platform.status().message());
}

TEST(PlatformTest, SpellingsAreNormalised) {
  EXPECT_EQ(Parsed("linux/x86_64"), "linux/amd64");
  EXPECT_EQ(Parsed("Linux/AMD64/v1"), "linux/amd64");
  EXPECT_EQ(Parsed("linux/amd64/v3"), "linux/amd64/v3");
  EXPECT_EQ(Parsed("linux/aarch64"), "linux/arm64");
  EXPECT_EQ(Parsed("linux/arm64/v8"), "linux/arm64");
  EXPECT_EQ(Parsed("linux/arm"), "linux/arm/v7");
  EXPECT_EQ(Parsed("linux/arm/6"), "linux/arm/v6");
  EXPECT_EQ(Parsed("linux/armhf"), "linux/arm/v7");
  EXPECT_EQ(Parsed("macos/arm64"), "darwin/arm64");
}

TEST(PlatformTest, OnePartIsASystemOrAnArchitecture) {
  EXPECT_EQ(Parsed("linux"), Platform::Host().ToString());
  EXPECT_EQ(Parsed("s390x"), "linux/s390x");
  EXPECT_THAT(Parsed("lunix"), HasSubstr("unknown operating system or architecture"));
}

TEST(PlatformTest, OtherFormsAreRefused) {
  for (const char* bad : {"", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux//v8"}) {
    EXPECT_THAT(Platform::Parse(bad), StatusIs(kInvalid, HasSubstr("os[/arch[/variant]]"))) << bad;
  }
}

TEST(PlatformTest, OlderVariantsRunOnNewerOnes) {
  const auto matches = [](absl::string_view wanted, absl::string_view image) {
    return PlatformMatches(*Platform::Parse(wanted), *Platform::Parse(image));
  };
  EXPECT_TRUE(matches("linux/arm/v7", "linux/arm/v6"));
  EXPECT_FALSE(matches("linux/arm/v6", "linux/arm/v7"));
  EXPECT_TRUE(matches("linux/arm64", "linux/arm/v7"));
  EXPECT_FALSE(matches("linux/arm/v7", "linux/arm64"));
  EXPECT_TRUE(matches("linux/amd64", "linux/386"));
  EXPECT_TRUE(matches("linux/amd64/v3", "linux/amd64"));
  EXPECT_FALSE(matches("linux/amd64", "linux/amd64/v2"));
  EXPECT_TRUE(matches("linux/arm64/v9", "linux/arm64/v8.5"));
  EXPECT_FALSE(matches("linux/arm64/v9", "linux/arm64/v8.6"));
  EXPECT_FALSE(matches("linux/amd64", "windows/amd64"));
  EXPECT_FALSE(PlatformMatches(Platform::Host(), Platform()));
}

// Configs -----------------------------------------------------------------------------------------

constexpr char kDebianLikeConfig[] = R"({
  "architecture": "amd64",
  "config": {"Hostname": "", "Env": ["PATH=/bin", "A=<&>"], "Cmd": ["bash"], "Image": "",
             "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "WorkingDir": "/",
             "Entrypoint": null, "OnBuild": null, "Labels": {"b": "2", "a": "1"},
             "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5000000000, "Retries": 2}},
  "container": "ignored",
  "created": "2023-12-19T01:20:16.123456789Z",
  "docker_version": "20.10.23",
  "history": [
    {"created": "2023-12-19T02:20:16+01:00", "created_by": "/bin/sh -c #(nop) ADD file:1 in / "},
    {"created": "2023-12-19T01:20:17Z", "created_by": "CMD [\"bash\"]", "empty_layer": true}],
  "os": "linux",
  "rootfs": {"type": "layers", "diff_ids": [
    "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"]}})";

TEST(ImageConfigTest, DockersConfigIsRead) {
  ASSERT_OK_AND_ASSIGN(const ImageConfig config, ParseImageConfig(kDebianLikeConfig));
  EXPECT_EQ(config.platform.ToString(), "linux/amd64");
  EXPECT_EQ(config.config.env, (std::vector<std::string>{"PATH=/bin", "A=<&>"}));
  EXPECT_THAT(config.config.exposed_ports, ElementsAre("80/tcp"));
  EXPECT_THAT(config.config.volumes, ElementsAre("/data"));
  EXPECT_EQ(config.config.healthcheck->interval, absl::Seconds(5));
  EXPECT_EQ(config.config.healthcheck->retries, 2);
  EXPECT_EQ(config.config.labels.at("b"), "2");
  EXPECT_EQ(*config.created, At(1702948816) + absl::Nanoseconds(123456789));
  EXPECT_THAT(config.diff_ids, ElementsAre(kDigestA));
  ASSERT_EQ(config.history.size(), 2u);
  EXPECT_EQ(*config.history[0].created, At(1702948816));
  EXPECT_TRUE(config.history[1].empty_layer);
}

TEST(ImageConfigTest, BytesAreThoseOfBuildKit) {
  ASSERT_OK_AND_ASSIGN(const ImageConfig config, ParseImageConfig(kDebianLikeConfig));
  EXPECT_EQ(
      SerializeImageConfig(config),
      R"({"architecture":"amd64","config":{"ExposedPorts":{"80/tcp":{}},)"
      R"("Env":["PATH=/bin","A=\u003c\u0026\u003e"],"Cmd":["bash"],"Volumes":{"/data":{}},)"
      R"("WorkingDir":"/","Labels":{"a":"1","b":"2"},)"
      R"("Healthcheck":{"Test":["CMD-SHELL","true"],"Interval":5000000000,"Retries":2}},)"
      R"("created":"2023-12-19T01:20:16.123456789Z","history":[)"
      R"({"created":"2023-12-19T01:20:16Z","created_by":"/bin/sh -c #(nop) ADD file:1 in / "},)"
      R"({"created":"2023-12-19T01:20:17Z","created_by":"CMD [\"bash\"]","empty_layer":true}],)"
      R"("os":"linux","rootfs":{"type":"layers","diff_ids":[)"
      R"("sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"]}})");
}

TEST(ImageConfigTest, EveryFieldSurvivesARoundTrip) {
  ImageConfig config;
  config.created = At(5) + absl::Milliseconds(10);
  config.author = "me \"quoted\" \xE2\x80\xA8";
  config.platform = {.os = "linux",
                     .architecture = "arm",
                     .variant = "v7",
                     .os_version = "1",
                     .os_features = {"f"}};
  config.config = {.user = "u",
                   .exposed_ports = {"1/udp"},
                   .env = {"A=1", "A=2"},
                   .entrypoint = {"e"},
                   .cmd = {"c", ""},
                   .volumes = {"/v"},
                   .working_dir = "/w",
                   .labels = {{"k", "v"}},
                   .stop_signal = "SIGTERM",
                   .args_escaped = true,
                   .healthcheck = Healthcheck{.test = {"NONE"},
                                              .interval = absl::Seconds(1),
                                              .timeout = absl::Seconds(2),
                                              .start_period = absl::Seconds(3),
                                              .start_interval = absl::Seconds(4),
                                              .retries = 5},
                   .on_build = {"RUN x"},
                   .shell = {"/bin/sh", "-c"}};
  config.diff_ids = {kDigestA, kDigestB};
  config.history = {
      {.created = At(1), .created_by = "b", .author = "a", .comment = "c", .empty_layer = true},
      {.created = {}, .created_by = "n", .author = "", .comment = "", .empty_layer = false}};
  EXPECT_THAT(ParseImageConfig(SerializeImageConfig(config)), IsOkAndHolds(config));
}

TEST(ImageConfigTest, FaultsAreNamedByTheirPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "image config: not a JSON document"},
      {"[]", "image config: expected an object, found an array"},
      {"null", "image config: expected an object"},
      {R"({"config":{"Env":["a",3]}})", "config.Env[1]: expected a string, found a number"},
      {R"({"config":{"Env":[null]}})", "config.Env[0]: expected a string, found null"},
      {R"({"config":7})", "config: expected an object, found a number"},
      {R"({"created":"yesterday"})", "created: expected a time"},
      {R"({"created":"infinite-future"})", "created: expected a time"},
      {R"({"rootfs":{"diff_ids":["sha256:1"]}})", "rootfs.diff_ids[0]: expected a digest"},
      {R"({"rootfs":{"type":"zip"}})", "rootfs.type: expected \"layers\""},
      {R"({"config":{"Healthcheck":{"Retries":1.5}}})", "Retries: expected a whole number"},
      {R"({"config":{"Healthcheck":{"Retries":18446744073709551615}}})", "too large"},
      {"{} {}", "not a JSON document"},
      {"{\"author\":\"\xff\"}", "not a JSON document"},
  };
  for (const auto& [json, error] : cases) {
    EXPECT_THAT(ParseImageConfig(json), StatusIs(kInvalid, HasSubstr(error))) << json;
  }
}

TEST(ImageConfigTest, SizesAreBounded) {
  EXPECT_THAT(ParseImageConfig(std::string(kImageConfigBytesMax + 1, ' ')), StatusIs(kExhausted));
  EXPECT_THAT(ParseImageConfig(std::string(100'000, '[')), StatusIs(kExhausted));
  std::string many = R"({"rootfs":{"diff_ids":[)";
  for (int i = 0; i <= kImageLayersMax; ++i) absl::StrAppend(&many, i ? "," : "", "\"x\"");
  EXPECT_THAT(ParseImageConfig(many + "]}}"), StatusIs(kExhausted, HasSubstr("diff_ids")));
}

// Manifests ---------------------------------------------------------------------------------------

Descriptor Blob(absl::string_view media_type, absl::string_view bytes) {
  Descriptor result;
  result.media_type = std::string(media_type);
  result.digest = DigestOf(bytes);
  return result;
}

Manifest SmallManifest() {
  Manifest manifest;
  manifest.config = Blob(kOciConfigType, "config");
  manifest.layers = {Blob(kOciLayerGzipType, "layer")};
  manifest.annotations = {{"k", "v"}};
  return manifest;
}

TEST(ManifestTest, ManifestSurvivesARoundTrip) {
  EXPECT_THAT(ParseManifest(SerializeManifest(SmallManifest()), kOciManifestType),
              IsOkAndHolds(SmallManifest()));
}

TEST(ManifestTest, IndexSurvivesARoundTrip) {
  ImageIndex index;
  index.manifests = {Blob(kOciManifestType, "m")};
  index.manifests[0].platform = Platform{
      .os = "linux", .architecture = "arm", .variant = "v7", .os_version = "", .os_features = {}};
  index.manifests[0].annotations = {{"org.opencontainers.image.ref.name", "x"}};
  EXPECT_THAT(ParseImageIndex(SerializeImageIndex(index), kOciIndexType), IsOkAndHolds(index));
}

TEST(ManifestTest, TheDocumentsShapeDecidesWithoutAMediaType) {
  EXPECT_OK(ParseManifest(absl::StrCat(
      R"({"schemaVersion":2,"layers":[],"config":{"mediaType":"x","size":1,"digest":")", kDigestA,
      R"("}})")));
  EXPECT_OK(ParseImageIndex(R"({"schemaVersion":2,"manifests":[]})"));
}

TEST(ManifestTest, ADocumentOfTwoMeaningsIsRefused) {
  const std::string manifest = SerializeManifest(SmallManifest());
  EXPECT_THAT(ParseManifestOrIndex(manifest, kOciIndexType),
              StatusIs(kInvalid, HasSubstr("mediaType: expected")));
  EXPECT_THAT(ParseManifestOrIndex(manifest, kDockerManifestType),
              StatusIs(kInvalid, HasSubstr("as the registry says")));
  EXPECT_THAT(ParseManifestOrIndex(R"({"schemaVersion":2,"manifests":[],"layers":[]})", ""),
              StatusIs(kInvalid, HasSubstr("both")));
}

TEST(ManifestTest, Schema1IsRefusedClearly) {
  EXPECT_THAT(ParseManifest(R"({"schemaVersion":1,"fsLayers":[]})"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("schema 1")));
  EXPECT_THAT(ParseManifest(R"({"schemaVersion":2})",
                            "application/vnd.docker.distribution.manifest.v1+prettyjws"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("push the image again")));
}

TEST(ManifestTest, BadDescriptorsAreRefused) {
  const auto with_layer = [](const std::string& layer) {
    return absl::StrCat(R"({"schemaVersion":2,"config":{"mediaType":"x","size":1,"digest":")",
                        kDigestA, R"("},"layers":[)", layer, "]}");
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{}", "layers[0].mediaType: a media type is missing"},
      {R"({"mediaType":"x"})", "layers[0].size: a size is missing"},
      {absl::StrCat(R"({"mediaType":"x","size":-1,"digest":")", kDigestA, "\"}"),
       "0 bytes or more"},
      {R"({"mediaType":"x","size":1,"digest":"sha512:00"})", "expected a digest"},
      {"7", "layers[0]: expected an object"},
  };
  for (const auto& [layer, error] : cases) {
    EXPECT_THAT(ParseManifest(with_layer(layer)), StatusIs(kInvalid, HasSubstr(error))) << layer;
  }
  EXPECT_THAT(ParseManifest(R"({"schemaVersion":2})"),
              StatusIs(kInvalid, HasSubstr("config: a descriptor is missing")));
  EXPECT_THAT(ParseManifest("{}"), StatusIs(kInvalid, HasSubstr("schemaVersion: expected 2")));
}

ImageIndex IndexOf(const std::vector<std::string>& platforms) {
  ImageIndex index;
  for (const std::string& name : platforms) {
    Descriptor entry = Blob(kOciManifestType, name);
    entry.platform = Platform();
    std::vector<std::string> parts = {"", "", ""};
    size_t part = 0;
    for (char c : name) c == '/' ? void(++part) : parts[part].push_back(c);
    entry.platform->os = parts[0];
    entry.platform->architecture = parts[1];
    entry.platform->variant = parts[2];
    index.manifests.push_back(entry);
  }
  return index;
}

TEST(SelectPlatformTest, TheNearestIsTaken) {
  const ImageIndex index = IndexOf({"linux/386", "linux/arm/v5", "linux/arm/v6", "linux/amd64",
                                    "linux/arm64/v8", "unknown/unknown"});
  const auto selected = [&](absl::string_view wanted) {
    return SelectPlatform(index, *Platform::Parse(wanted))->platform->ToString();
  };
  EXPECT_EQ(selected("linux/amd64"), "linux/amd64");
  EXPECT_EQ(selected("linux/amd64/v3"), "linux/amd64");
  EXPECT_EQ(selected("linux/arm/v7"), "linux/arm/v6");
  EXPECT_EQ(selected("linux/arm/v5"), "linux/arm/v5");
  EXPECT_EQ(selected("linux/arm64"), "linux/arm64/v8");
}

TEST(SelectPlatformTest, WhatThereIsIsNamedIfNoneSuits) {
  EXPECT_THAT(SelectPlatform(IndexOf({"linux/amd64", "windows/amd64", "unknown/unknown"}),
                             *Platform::Parse("linux/s390x")),
              StatusIs(absl::StatusCode::kNotFound,
                       "no image for linux/s390x; there is linux/amd64, windows/amd64"));
}

}  // namespace
}  // namespace farm
