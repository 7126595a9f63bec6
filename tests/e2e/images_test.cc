// Images that farm makes are read by others, and the other way round.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

constexpr char kDigest[] = "sha256:[0-9a-f]+";
constexpr size_t kDigestSize = 71;

std::string WithoutNewline(const std::string& text) {
  return std::string(absl::StripSuffix(text, "\n"));
}

// `skopeo ARGS...`'s output; a test failure unless it ends with 0.
std::string SkopeoOk(std::vector<std::string> args) {
  args.insert(args.begin(), "skopeo");
  const CommandResult result = RunCommand(args);
  EXPECT_EQ(result.exit_code, 0) << result.all();
  return WithoutNewline(result.out);
}

class ImagesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    farm_ = new LocalFarmUnderTest;
    farm_->FarmOk({"import", "--change", "CMD [\"/bin/sh\"]", BusyboxRootTar(), "base:1"});
    ScratchDir context;
    context.Write("Dockerfile",
                  "FROM base:1\nRUN echo made by farm > /made && rm /bin/yes\nCMD cat /made\n");
    farm_->FarmOk({"build", "-t", "app:1", context.path()});
  }
  static void TearDownTestSuite() {
    delete farm_;
    farm_ = nullptr;
  }

  static std::string Inspect(const LocalFarmUnderTest& farm, const std::string& format,
                             const std::string& image) {
    return WithoutNewline(farm.FarmOk({"inspect", "--format", format, image}).out);
  }
  // As the registry has it.
  static std::string PushedDigest(const std::string& name) {
    const std::string digest = SkopeoOk({"inspect", "--tls-verify=false", "--format", "{{.Digest}}",
                                         absl::StrCat("docker://", name)});
    EXPECT_THAT(digest, MatchesRegex(kDigest));
    EXPECT_EQ(digest.size(), kDigestSize);
    return digest;
  }

  // Another program reads every byte of the image, and finds each blob to be what it is called.
  void ExpectCopiedByDigest(const std::string& from) {
    const ScratchDir out;
    SkopeoOk({"copy", "--src-tls-verify=false", from, "dir:" + (out / "copy")});
    const CommandResult blobs = RunShell(
        "set -e; cd copy; for blob in $(ls | grep -xE '[0-9a-f]{64}'); do\n"
        "test $(sha256sum < $blob | cut -c 1-64) = $blob; echo; done | wc -l",
        {.dir = out.path()});
    // Two layers and a config.
    EXPECT_EQ(blobs.out, "3\n") << from << "\n" << blobs.all();
  }

  static LocalFarmUnderTest* farm_;
};
LocalFarmUnderTest* ImagesTest::farm_ = nullptr;

TEST_F(ImagesTest, APushAndPullRoundTripKeepsIdAndDigest) {
  if (!RegistryUnderTest::Available()) GTEST_SKIP() << "docker-registry is not installed";
  RegistryUnderTest registry;
  const std::string name = absl::StrCat(registry.host(), "/team/app:1");
  farm_->FarmOk({"tag", "app:1", name});
  const std::string id = farm_->FarmOk({"images", "-q", "--no-trunc", "app:1"}).out;
  const CommandResult pushed = farm_->FarmOk({"push", name});
  const std::string digest = PushedDigest(name);
  EXPECT_THAT(pushed.all(), HasSubstr(digest));
  ExpectCopiedByDigest("docker://" + name);

  LocalFarmUnderTest other;
  other.FarmOk({"pull", name});
  EXPECT_EQ(other.FarmOk({"images", "-q", "--no-trunc", name}).out, id);
  EXPECT_EQ(Inspect(other, "{{.Metadata.Manifest}}", name), digest);
  // A build on the pulled image by its digest.
  ScratchDir context;
  context.Write("Dockerfile", absl::StrCat("FROM ", registry.host(), "/team/app@", digest,
                                           "\nRUN grep farm /made && [ ! -e /bin/yes ]\n"));
  other.FarmOk({"build", context.path()});
  // What was pulled is pushed as it was, to where none of it is yet.
  RegistryUnderTest mirror;
  const std::string mirrored = absl::StrCat(mirror.host(), "/team/app:1");
  other.FarmOk({"tag", name, mirrored});
  other.FarmOk({"push", mirrored});
  EXPECT_EQ(PushedDigest(mirrored), digest);
}

TEST_F(ImagesTest, TwoFarmsPushAnImageUnderOneDigest) {
  if (!RegistryUnderTest::Available()) GTEST_SKIP() << "docker-registry is not installed";
  RegistryUnderTest registry;
  const std::string first = absl::StrCat(registry.host(), "/first/app:1");
  const std::string second = absl::StrCat(registry.host(), "/second/app:1");
  farm_->FarmOk({"tag", "app:1", first});
  farm_->FarmOk({"push", first});
  // The other one gets the layers as tars, and compresses them itself.
  ScratchDir out;
  farm_->FarmOk({"save", "-o", out / "app.tar", "app:1"});
  LocalFarmUnderTest other;
  other.FarmOk({"load", "-i", out / "app.tar"});
  other.FarmOk({"tag", "app:1", second});
  other.FarmOk({"push", second});
  EXPECT_EQ(PushedDigest(second), PushedDigest(first));
}

TEST_F(ImagesTest, ABuildPushesWhatItMade) {
  if (!RegistryUnderTest::Available()) GTEST_SKIP() << "docker-registry is not installed";
  RegistryUnderTest registry;
  ScratchDir context;
  context.Write("Dockerfile", "FROM app:1\nRUN echo pushed > /pushed\nLABEL made=here\n");
  const std::string by_flag = absl::StrCat(registry.host(), "/team/flag:1");
  const std::string by_output = absl::StrCat(registry.host(), "/team/output:1");
  const CommandResult flag = farm_->FarmOk({"build", "--push", "-t", by_flag, context.path()});
  const CommandResult output =
      farm_->FarmOk({"build", "-o", "type=registry", "-t", by_output, context.path()});
  EXPECT_THAT(flag.err, HasSubstr(absl::StrCat(by_flag, "@", PushedDigest(by_flag))));
  EXPECT_THAT(output.err, HasSubstr(absl::StrCat(by_output, "@", PushedDigest(by_output))));
  EXPECT_EQ(PushedDigest(by_flag), PushedDigest(by_output));
  const std::string label = SkopeoOk({"inspect", "--tls-verify=false", "--format",
                                      "{{.Labels.made}}", absl::StrCat("docker://", by_flag)});
  EXPECT_EQ(label, "here");
}

// Registry, lease and client each could try again, and five times three is fifteen.
TEST_F(ImagesTest, ADeadRegistryIsAskedFiveTimesInAll) {
  const std::string name = "127.0.0.1:1/team/base:1";
  farm_->FarmOk({"tag", "base:1", name});
  for (const char* command : {"push", "pull"}) {
    const CommandResult result = farm_->Farm({command, "--progress", "plain", name});
    EXPECT_EQ(result.exit_code, 3) << result.all();
    EXPECT_THAT(result.err, HasSubstr("gave up after 5 attempts"));
    const std::vector<std::string> parts = absl::StrSplit(result.err, "; attempt ");
    EXPECT_EQ(parts.size(), 5U) << result.all();  // Each but the first is told of.
  }
  farm_->FarmOk({"rmi", name});
}

TEST_F(ImagesTest, AnOciArchiveIsReadByOthers) {
  ScratchDir out;
  ScratchDir context;
  context.Write("Dockerfile", "FROM app:1\n");
  farm_->FarmOk({"build", "-t", "app:2", "-o", absl::StrCat("type=oci,dest=", out / "image.tar"),
                 context.path()});
  EXPECT_THAT(SkopeoOk({"inspect", "oci-archive:" + (out / "image.tar")}), HasSubstr("sha256:"));
  ExpectCopiedByDigest("oci-archive:" + (out / "image.tar"));

  SkopeoOk(
      {"copy", "oci-archive:" + (out / "image.tar"), absl::StrCat("oci:", out / "layout", ":app")});
  const CommandResult unpacked =
      RunShell("umoci unpack --image layout:app bundle", {.dir = out.path()});
  ASSERT_EQ(unpacked.exit_code, 0) << unpacked.all();
  const CommandResult tree =
      RunShell("cat made && ls bin/yes bin/busybox 2> /dev/null", {.dir = out / "bundle/rootfs"});
  EXPECT_EQ(tree.out, "made by farm\nbin/busybox\n");
}

TEST_F(ImagesTest, ASavedImageIsLoadedBack) {
  ScratchDir out;
  const std::string id = farm_->FarmOk({"images", "-q", "--no-trunc", "app:1"}).out;
  farm_->FarmOk({"save", "-o", out / "app.tar", "app:1"});
  EXPECT_THAT(SkopeoOk({"inspect", "docker-archive:" + (out / "app.tar")}), HasSubstr("sha256:"));
  ExpectCopiedByDigest("docker-archive:" + (out / "app.tar"));
  LocalFarmUnderTest other;
  other.FarmOk({"load", "-i", out / "app.tar"});
  EXPECT_EQ(other.FarmOk({"images", "-q", "--no-trunc", "app:1"}).out, id);
}

TEST_F(ImagesTest, ADockerEngineLoadsAndRunsTheImage) {
  if (!DockerUnderTest::Available()) GTEST_SKIP() << "docker.io is not installed";
  DockerUnderTest docker;
  if (!docker.ready()) GTEST_SKIP() << "dockerd does not start here: " << docker.Logs();
  ScratchDir out;
  farm_->FarmOk({"save", "-o", out / "app.tar", "app:1"});
  const CommandResult loaded = docker.Docker({"load", "-i", out / "app.tar"});
  ASSERT_EQ(loaded.exit_code, 0) << loaded.all() << docker.Logs();
  CommandResult ran = docker.Docker({"run", "--rm", "--network", "none", "app:1"});
  EXPECT_EQ(ran.out, "made by farm\n") << ran.err;
  ran = docker.Docker({"run", "--rm", "--network", "none", "app:1", "/bin/sh", "-c",
                       "test ! -e /bin/yes && ls /bin/sh"});
  EXPECT_EQ(ran.out, "/bin/sh\n") << ran.err;

  // Straight from a build.
  ScratchDir context;
  context.Write("Dockerfile", "FROM app:1\nRUN echo loaded > /made\n");
  farm_->FarmOk({"build", "--load", "-t", "loaded:1", context.path()},
                {.env = {{"DOCKER_HOST", docker.address()}}});
  ran = docker.Docker({"run", "--rm", "--network", "none", "loaded:1"});
  EXPECT_EQ(ran.out, "loaded\n") << ran.err;
}

}  // namespace
}  // namespace farm
