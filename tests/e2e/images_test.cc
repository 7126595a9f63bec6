// Images that farm makes are read by others, and the other way round.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

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
  EXPECT_THAT(pushed.all(), HasSubstr("sha256:"));
  const CommandResult seen =
      RunCommand({"skopeo", "inspect", "--tls-verify=false", absl::StrCat("docker://", name)});
  EXPECT_EQ(seen.exit_code, 0) << seen.all();
  const std::string digest = RunCommand({"skopeo", "inspect", "--tls-verify=false", "--format",
                                         "{{.Digest}}", absl::StrCat("docker://", name)})
                                 .out;
  EXPECT_THAT(pushed.all(), HasSubstr(digest.substr(0, 71)));
  LocalFarmUnderTest other;
  other.FarmOk({"pull", name});
  EXPECT_EQ(other.FarmOk({"images", "-q", "--no-trunc", name}).out, id);
  // A build on the pulled image by its digest.
  ScratchDir context;
  context.Write("Dockerfile",
                absl::StrCat("FROM ", registry.host(), "/team/app@", digest.substr(0, 71),
                             "\nRUN grep farm /made && [ ! -e /bin/yes ]\n"));
  other.FarmOk({"build", context.path()});
}

TEST_F(ImagesTest, AnOciArchiveIsReadBySkopeo) {
  ScratchDir out;
  ScratchDir context;
  context.Write("Dockerfile", "FROM app:1\nRUN echo more > /more\n");
  farm_->FarmOk(
      {"build", "-o", absl::StrCat("type=oci,dest=", out.path(), "/image.tar"), context.path()});
  const CommandResult seen =
      RunCommand({"skopeo", "inspect", absl::StrCat("oci-archive:", out.path(), "/image.tar")});
  EXPECT_EQ(seen.exit_code, 0) << seen.all();
  EXPECT_THAT(seen.out, HasSubstr("sha256:"));
}

TEST_F(ImagesTest, ASavedImageIsLoadedBack) {
  ScratchDir out;
  const std::string id = farm_->FarmOk({"images", "-q", "--no-trunc", "app:1"}).out;
  farm_->FarmOk({"save", "-o", out / "app.tar", "app:1"});
  const CommandResult seen =
      RunCommand({"skopeo", "inspect", absl::StrCat("docker-archive:", out / "app.tar")});
  EXPECT_EQ(seen.exit_code, 0) << seen.all();
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
  const CommandResult ran = docker.Docker({"run", "--rm", "--network", "none", "app:1"});
  EXPECT_EQ(ran.out, "made by farm\n") << ran.err;
}

}  // namespace
}  // namespace farm
