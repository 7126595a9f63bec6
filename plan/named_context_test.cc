// What --build-context changes in a plan.
#include "plan/named_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/testing/status_matchers.h"
#include "dockerfile/parser.h"
#include "plan/plan_json.h"
#include "plan/planner.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

Dockerfile Parse(const std::string& text) {
  return *ParseDockerfile(*DockerfileSource::Create("Dockerfile", text));
}

// "files": the client's; "image": bar:1; "url": a file; "git": a repository; "none": scratch.
PlanOptions Options() {
  PlanOptions options;
  options.build_platform.set_os("linux");
  options.build_platform.set_architecture("amd64");
  options.contexts["files"] = {.kind = NamedContext::Kind::kFiles, .index = 1};
  options.contexts["image"] = {.kind = NamedContext::Kind::kImage, .image = "bar:1"};
  options.contexts["none"] = {.kind = NamedContext::Kind::kImage, .image = "scratch"};
  options.contexts["url"] = {.kind = NamedContext::Kind::kRemote,
                             .remote = {.kind = RemoteSource::Kind::kHttp,
                                        .url = "https://example.com/x",
                                        .file_name = "context"}};
  return options;
}

struct Planned {
  absl::StatusOr<Dockerfile> file;
  absl::StatusOr<Plan> plan;
  std::vector<std::string> images;  // that it needs
};

Planned PlanOf(const std::string& text, const PlanOptions& options = Options()) {
  Planned planned{.file = Parse(text), .plan = absl::UnknownError(""), .images = {}};
  ImageConfig config;
  config.platform = {.os = "linux", .architecture = "amd64"};
  config.diff_ids = {"sha256:" + std::string(64, '0')};
  config.config.on_build = {"COPY --from=files / /triggered"};
  ResolvedImages images;
  const absl::StatusOr<std::vector<ImageKey>> missing =
      ImagesToResolve(*planned.file, images, options);
  if (missing.ok()) {
    for (const ImageKey& key : *missing) {
      images[key] = {.reference = key.name, .manifest = {}, .config = config};
      planned.images.push_back(key.name);
    }
  }
  planned.plan = MakePlan(*planned.file, images, options);
  return planned;
}

// Names of the steps, without numbers.
std::vector<std::string> Steps(const Plan& plan) {
  std::vector<std::string> names;
  for (const PlanStep& step : plan.steps) names.push_back(step.name);
  return names;
}

FileSystemRef Files() { return {FileSystemRef::Kind::kContext, 1}; }

TEST(ContextNameTest, NamesAreComparedAsReferences) {
  for (const char* name : {"alpine", "alpine:latest", "docker.io/library/alpine"}) {
    EXPECT_THAT(ContextName(name), IsOkAndHolds("alpine")) << name;
  }
  EXPECT_THAT(ContextName("alpine:3"), IsOkAndHolds("alpine:3"));
  EXPECT_THAT(ContextName("A b"), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr("invalid context name \"A b\"")));
}

TEST(NamedContextTest, CopyReadsItsFiles) {
  const Planned planned = PlanOf("FROM scratch\nCOPY --from=files a /a\nCOPY b /b\n");
  ASSERT_OK(planned.plan);
  EXPECT_EQ(planned.plan->steps[0].sources[0].from, Files());
  EXPECT_EQ(planned.plan->steps[1].sources[0].from,
            (FileSystemRef{FileSystemRef::Kind::kContext, 0}));
  const std::string json = PlanJson(planned.file, planned.plan);
  EXPECT_THAT(json, HasSubstr(R"("from":{"context":"files"},"sources":["/a"])"));
  EXPECT_THAT(json, HasSubstr(R"("deps":["context","context:files"])"));
}

TEST(NamedContextTest, AMountReadsItsFiles) {
  const Planned planned = PlanOf("FROM scratch\nRUN --mount=from=files,target=/m x\n");
  ASSERT_OK(planned.plan);
  EXPECT_EQ(planned.plan->steps[0].sources[0].from, Files());
}

TEST(NamedContextTest, AUrlIsFetchedOnceAndItsNamesMayHaveWildcards) {
  const Planned planned = PlanOf(
      "FROM scratch\nCOPY --from=url c* /a\nRUN --mount=from=url,target=/m x\n"
      "ADD https://example.com/y /y\n");
  ASSERT_OK(planned.plan);
  ASSERT_EQ(planned.plan->remotes.size(), 2u);
  EXPECT_EQ(planned.plan->remotes[0].url, "https://example.com/x");
  const FileSystemRef remote = {FileSystemRef::Kind::kRemote, 0};
  EXPECT_EQ(planned.plan->steps[0].sources[0].from, remote);
  EXPECT_FALSE(planned.plan->steps[0].sources[0].literal);
  EXPECT_EQ(planned.plan->steps[1].sources[0].from, remote);
  EXPECT_TRUE(planned.plan->steps[2].sources[0].literal);
}

TEST(NamedContextTest, AnImageIsTakenInPlaceOfTheNamedOne) {
  const Planned planned = PlanOf("FROM image\nCOPY --from=image:latest /a /a\n");
  ASSERT_OK(planned.plan);
  EXPECT_THAT(planned.images, ElementsAre("docker.io/library/bar:1"));
  EXPECT_OK(PlanOf("FROM none\nCOPY a /a\n").plan);
  EXPECT_THAT(PlanOf("FROM none\n").images, IsEmpty());
}

TEST(NamedContextTest, TheNameMayBeThatOfAnImage) {
  PlanOptions options = Options();
  options.contexts["alpine:3"] = options.contexts["image"];
  EXPECT_THAT(PlanOf("FROM docker.io/library/alpine:3\n", options).images,
              ElementsAre("docker.io/library/bar:1"));
  EXPECT_THAT(PlanOf("FROM alpine\n", options).images,
              ElementsAre("docker.io/library/alpine:latest"));
}

TEST(NamedContextTest, AStageIsReplacedWithoutLookingAtWhatItDoes) {
  const Planned planned = PlanOf(
      "FROM alpine AS files\nRUN never\nFROM scratch\nCOPY --from=files a /a\n"
      "COPY --from=0 b /b\n");
  ASSERT_OK(planned.plan);
  EXPECT_THAT(planned.images, IsEmpty());
  ASSERT_EQ(planned.plan->steps.size(), 2u);
  EXPECT_EQ(planned.plan->steps[0].sources[0].from, Files());
  EXPECT_EQ(planned.plan->steps[1].sources[0].from, Files());
  EXPECT_THAT(PlanJson(planned.file, planned.plan), HasSubstr(R"("from":{"stage":0})"));
}

TEST(NamedContextTest, AStageOnFilesBeginsWithALayerOfThem) {
  const Planned planned = PlanOf("FROM files AS a\nENV X=1\nFROM a\nRUN x\n");
  ASSERT_OK(planned.plan);
  EXPECT_THAT(Steps(*planned.plan),
              ElementsAre("[context files] load as a base", HasSubstr("RUN x")));
  const PlanStep& base = planned.plan->steps[0];
  EXPECT_EQ(base.parent, FileSystemRef());
  EXPECT_EQ(base.sources[0].from, Files());
  EXPECT_THAT(base.sources[0].patterns, ElementsAre(""));
  EXPECT_EQ(base.identity.copy().dest(), "/");
  EXPECT_EQ(planned.plan->steps[1].parent, (FileSystemRef{FileSystemRef::Kind::kStep, 0}));
  std::vector<int> layers;
  for (const PlanHistory& line : planned.plan->history) {
    if (line.step >= 0) layers.push_back(line.step);
  }
  EXPECT_THAT(layers, ElementsAre(0, 1));
}

TEST(NamedContextTest, AnImageMayBeFilesAlone) {
  const Planned planned = PlanOf("FROM files\nCMD x\n");
  ASSERT_OK(planned.plan);
  EXPECT_EQ(planned.plan->result, (FileSystemRef{FileSystemRef::Kind::kStep, 0}));
  EXPECT_THAT(PlanJson(planned.file, planned.plan), HasSubstr(R"("base":{"context":"files"})"));
}

TEST(NamedContextTest, OnlyWhatTheTargetNeedsIsNeeded) {
  PlanOptions options = Options();
  const Dockerfile file = Parse(
      "FROM scratch AS other\nCOPY --from=files a /a\nFROM url AS url-stage\n"
      "FROM scratch AS target\nCOPY --from=url-stage b /b\n");
  EXPECT_THAT(ContextsNeeded(file, {}, options), IsOkAndHolds(IsEmpty()));
  options.target = "other";
  EXPECT_THAT(ContextsNeeded(file, {}, options), IsOkAndHolds(UnorderedElementsAre("files")));
}

TEST(NamedContextTest, TriggersOfAnImageThatStandsForAStageDoNothingInIt) {
  const Planned planned =
      PlanOf("FROM alpine AS image\nRUN never\nFROM scratch\nCOPY --from=image a /a\n");
  ASSERT_OK(planned.plan);
  EXPECT_THAT(Steps(*planned.plan), ElementsAre(HasSubstr("COPY --from=image a /a")));
}

TEST(NamedContextTest, TriggersOfAnImageReadThemToo) {
  const Planned planned = PlanOf("FROM image\n");
  ASSERT_OK(planned.plan);
  EXPECT_THAT(Steps(*planned.plan), ElementsAre(HasSubstr("ONBUILD COPY --from=files")));
  EXPECT_EQ(planned.plan->steps[0].sources[0].from, Files());
}

}  // namespace
}  // namespace farm
