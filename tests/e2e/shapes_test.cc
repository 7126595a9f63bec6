// Dockerfiles as people write them for their languages: each is built on Debian, with packages of
// its mirror, and what the image says is to be run is run in it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "tests/testing/debian_root.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

// A slow mirror is not what is tested.
const CommandOptions kPatient{.timeout = absl::Minutes(15)};

struct Shape {
  const char* name;
  const char* folder;  // in tests/e2e/shapes
  Words flags;         // of the build
  Words check;         // script in tests/e2e/shapes that the image's command is given to
  const char* says;    // what it prints then; "": it is not run

  friend std::ostream& operator<<(std::ostream& out, const Shape& shape) {
    return out << shape.name;
  }
};

const Shape kShapes[] = {
    {"python", "python", {}, {"serve.sh", "8000"}, "hello from python 3 as 10001"},
    {"node", "node", {}, {"serve.sh", "3000"}, "hello 1.2.3 from node in production as 65534"},
    {"php",
     "php",
     {},
     {"serve.sh", "8080"},
     "hello from php as www-data with 64M in /var/www/html/public"},
    {"nginx",
     "nginx",
     {"--build-arg", "VERSION=1.2.3"},
     {"serve.sh", "80"},
     "hello from nginx, version 1.2.3"},
    {"postgres", "postgres", {}, {"query.sh"}, "words: 2"},
    {"monorepo_test", "monorepo", {"--target", "test"}, {}, ""},
    {"monorepo_api", "monorepo", {"--target", "api"}, {}, "greetings of api"},
    {"monorepo_worker", "monorepo", {"--target", "worker"}, {}, "greetings of --once"},
    {"go", "go", {"--build-arg", "VERSION=1.2.3"}, {}, "hello from go 1.2.3 for amd64 as 65532"},
    {"go_for_arm64", "go", {"--platform", "linux/arm64"}, {}, ""},
};

class ShapesTest : public testing::TestWithParam<Shape> {
 protected:
  static void SetUpTestSuite() {
    farm_ = new LocalFarmUnderTest;
    debian_ = new absl::StatusOr<std::string>(DebianRootTar());
    if (debian_->ok()) farm_->FarmOk({"import", **debian_, "debian:12"}, kPatient);
  }
  static void TearDownTestSuite() {
    delete farm_;
    delete debian_;
  }

  void SetUp() override {
    if (absl::IsNotFound(debian_->status()) || absl::IsUnavailable(debian_->status())) {
      GTEST_SKIP() << debian_->status().message();
    }
    ASSERT_TRUE(debian_->ok()) << debian_->status();
  }

  static CommandResult Build(const std::string& context, const Words& flags) {
    Words args = {"build", "--progress=plain"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.push_back(context);
    return farm_->FarmOk(args, kPatient);
  }

  // What a container of the image would run: its ENTRYPOINT with its CMD.
  static Words CommandOf(const std::string& image) {
    Words command;
    for (const char* part : {"Entrypoint", "Cmd"}) {
      const CommandResult inspected = farm_->FarmOk(
          {"inspect", "--format", absl::StrCat("{{json .Config.", part, "}}"), image});
      const nlohmann::json words = nlohmann::json::parse(inspected.out);
      for (const nlohmann::json& word : words) command.push_back(word.get<std::string>());
    }
    return command;
  }

  static LocalFarmUnderTest* farm_;
  static absl::StatusOr<std::string>* debian_;
};
LocalFarmUnderTest* ShapesTest::farm_ = nullptr;
absl::StatusOr<std::string>* ShapesTest::debian_ = nullptr;

TEST_P(ShapesTest, IsBuiltAndRuns) {
  const Shape& shape = GetParam();
  // As people have them: among the test's data they are links.
  const ScratchDir shapes;
  const CommandResult copied = RunCommand({"cp", "-rL", "tests/e2e/shapes/.", shapes.path()});
  ASSERT_EQ(copied.exit_code, 0) << copied.all();
  const std::string image = absl::StrCat("shape-", shape.name);
  Words flags = {"-t", image};
  flags.insert(flags.end(), shape.flags.begin(), shape.flags.end());
  Build(shapes / shape.folder, flags);
  EXPECT_THAT(Build(shapes / shape.folder, flags).err, HasSubstr("(0 steps run, "));
  if (*shape.says == '\0') return;

  const Words command = CommandOf(image);
  Words run = command;
  std::string flag;
  if (!shape.check.empty()) {
    run = {"/bin/bash", absl::StrCat("/check/", shape.check[0])};
    run.insert(run.end(), shape.check.begin() + 1, shape.check.end());
    run.insert(run.end(), command.begin(), command.end());
    flag = "--mount=target=/check ";
  }
  shapes.Write("Dockerfile",
               absl::StrCat("FROM ", image, "\nRUN ", flag, nlohmann::json(run).dump(), "\n"));
  EXPECT_THAT(Build(shapes.path(), {}).err, HasSubstr(shape.says));
}

INSTANTIATE_TEST_SUITE_P(Dockerfiles, ShapesTest, testing::ValuesIn(kShapes),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace farm
