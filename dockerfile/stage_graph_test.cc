#include "dockerfile/stage_graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/status_matchers.h"
#include "dockerfile/parser.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Key;
using Kind = SourceRef::Kind;

absl::StatusOr<StageGraph> Graph(const std::string& text, const StageGraphOptions& options = {}) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  if (!source.ok()) return source.status();
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return file.status();
  return StageGraph::Create(*file, options);
}

MATCHER_P(IsStage, index, "") { return arg.kind == Kind::kStage && arg.stage == index; }
MATCHER_P(IsImage, name, "") { return arg.kind == Kind::kImage && arg.image == name; }
MATCHER_P(IsMistake, message, "") {
  return testing::ExplainMatchResult(
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)), arg, result_listener);
}

TEST(StageGraphTest, StagesHaveNamesBasesAndInstructions) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("ARG X\n"
                                               "FROM alpine AS Build\n"
                                               "RUN make\n"
                                               "RUN test\n"
                                               "FROM scratch\n"
                                               "FROM build\n"
                                               "USER x\n"));
  ASSERT_EQ(graph.stages().size(), 3u);
  EXPECT_EQ(graph.stages()[0].name, "build");
  EXPECT_THAT(graph.stages()[0].base, IsImage("alpine"));
  EXPECT_EQ(graph.stages()[0].position.line, 2);
  EXPECT_EQ(graph.stages()[0].begin, 2u);
  EXPECT_EQ(graph.stages()[0].end, 4u);
  EXPECT_EQ(graph.stages()[1].name, "");
  EXPECT_EQ(graph.stages()[1].base.kind, Kind::kScratch);
  EXPECT_EQ(graph.stages()[1].begin, graph.stages()[1].end);
  EXPECT_THAT(graph.stages()[2].base, IsStage(0));
}

// Files in the place of "src", an image in that of "base:1".
std::optional<SourceRef> FindContext(absl::string_view name) {
  SourceRef source;
  if (name == "src") {
    source.kind = Kind::kContext;
    source.context = "src";
    return source;
  }
  source.image = "other";
  return name == "base:1" ? std::optional<SourceRef>(source) : std::nullopt;
}

TEST(StageGraphTest, TheBuildMayReplaceWhatIsNoStage) {
  ASSERT_OK_AND_ASSIGN(
      const StageGraph graph,
      Graph("FROM base:1\nCOPY --from=src a /\nRUN --mount=from=base:1,target=/m x\n"
            "FROM src\nFROM base\n",
            {.find_context = FindContext}));
  EXPECT_THAT(graph.stages()[0].base, IsImage("other"));
  EXPECT_EQ(graph.stages()[1].base.kind, Kind::kContext);
  EXPECT_EQ(graph.stages()[1].base.context, "src");
  EXPECT_THAT(graph.stages()[2].base, IsImage("base"));
  ASSERT_OK_AND_ASSIGN(const SourceRef source,
                       graph.ResolveSource("src", 0, StageGraph::SourceUse::kCopy, {}));
  EXPECT_EQ(source.kind, Kind::kContext);
}

TEST(StageGraphTest, AReplacedStageHasNoInstructionsAndIsStillAStage) {
  ASSERT_OK_AND_ASSIGN(const StageGraph graph,
                       Graph("FROM a AS src\nCOPY --from=later x y\nFROM b AS later\n"
                             "COPY --from=src x y\n",
                             {.find_context = FindContext}));
  const Stage& replaced = graph.stages()[0];
  EXPECT_TRUE(replaced.is_replaced);
  EXPECT_EQ(replaced.base.kind, Kind::kContext);
  EXPECT_EQ(replaced.begin, replaced.end);
  EXPECT_THAT(graph.DependenciesOf(0), testing::IsEmpty());
  EXPECT_THAT(graph.DependenciesOf(1), ElementsAre(Key(0)));
}

TEST(StageGraphTest, FromSeesTheGlobalArgs) {
  const std::string text =
      "ARG TAG=1\nARG IMAGE=alpine:$TAG\nARG NONE\nFROM --platform=linux/${ARCH:-arm64} $IMAGE\n";
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph(text));
  EXPECT_THAT(graph.stages()[0].base, IsImage("alpine:1"));
  EXPECT_EQ(graph.stages()[0].platform, "linux/arm64");
  EXPECT_EQ(graph.global_args().count("NONE"), 0u);
  ASSERT_OK_AND_ASSIGN(graph, Graph(text, {.build_args = {{"TAG", "2"}, {"NONE", "x"}}}));
  EXPECT_THAT(graph.stages()[0].base, IsImage("alpine:2"));
  EXPECT_EQ(graph.global_args().at("NONE"), "x");
}

TEST(StageGraphTest, ABuildArgWithoutItsArgIsNotSeen) {
  EXPECT_THAT(Graph("FROM x$TAG\n", {.build_args = {{"TAG", "2"}}})->stages()[0].base,
              IsImage("x"));
}

TEST(StageGraphTest, PlatformArgsAreBuiltIn) {
  ASSERT_OK_AND_ASSIGN(
      StageGraph graph,
      Graph("FROM --platform=$BUILDPLATFORM a-$TARGETARCH$TARGETVARIANT-$BUILDOS AS last\n",
            {.target_platform = "linux/arm/v7", .build_args = {{"BUILDOS", "bsd"}}}));
  EXPECT_THAT(graph.stages()[0].base, IsImage("a-armv7-bsd"));
  EXPECT_EQ(graph.stages()[0].platform, "linux/amd64");
  EXPECT_EQ(graph.global_args().at("TARGETPLATFORM"), "linux/arm/v7");
  EXPECT_EQ(graph.global_args().at("TARGETSTAGE"), "last");
  EXPECT_EQ(graph.global_args().at("BUILDVARIANT"), "");
}

TEST(StageGraphTest, AStageMayHaveTheNameOfItsImage) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM alpine AS alpine\nFROM alpine\n"));
  EXPECT_THAT(graph.stages()[0].base, IsImage("alpine"));
  EXPECT_THAT(graph.stages()[1].base, IsStage(0));
}

TEST(StageGraphTest, OfTwoStagesOfANameTheLastEarlierOneIsMeant) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph,
                       Graph("FROM a AS x\nFROM x AS x\nFROM x\nCOPY --from=x /a /b\n"));
  EXPECT_THAT(graph.stages()[1].base, IsStage(0));
  EXPECT_THAT(graph.stages()[2].base, IsStage(1));
  EXPECT_THAT(graph.FindTarget("x"), IsOkAndHolds(1));
}

TEST(StageGraphTest, FromKnowsNoIndexAndNoCase) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM a AS x\nFROM 0\nFROM X\n"));
  EXPECT_THAT(graph.stages()[1].base, IsImage("0"));
  EXPECT_THAT(graph.stages()[2].base, IsImage("X"));
}

TEST(StageGraphTest, NeededFollowsFromCopyAndMounts) {
  ASSERT_OK_AND_ASSIGN(
      StageGraph graph,
      Graph("FROM a AS base\n"
            "FROM a AS tools\n"
            "FROM a AS unused\n"
            "FROM base AS build\n"
            "RUN --mount=type=bind,from=Tools,target=/t --mount=type=cache,target=$X make\n"
            "FROM scratch AS final\n"
            "COPY --from=3 /a /b\n"
            "COPY --from=nginx /a /b\n"));
  EXPECT_THAT(graph.Needed(4), ElementsAre(true, true, false, true, true));
  EXPECT_THAT(graph.Needed(2), ElementsAre(false, false, true, false, false));
  EXPECT_THAT(graph.DependenciesOf(3), ElementsAre(Key(0), Key(1)));
}

TEST(StageGraphTest, AddedDependenciesAreFollowed) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM a AS x\nFROM b\n"));
  EXPECT_THAT(graph.Needed(1), ElementsAre(false, true));
  graph.AddDependency(1, 0, {});
  EXPECT_THAT(graph.Needed(1), ElementsAre(true, true));
}

TEST(StageGraphTest, SourcesAreStagesOrImages) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM a AS x\nFROM b\n"));
  const auto resolve = [&](absl::string_view from, StageGraph::SourceUse use) {
    return graph.ResolveSource(from, 1, use, {}).value();
  };
  EXPECT_THAT(resolve("X", StageGraph::SourceUse::kCopy), IsStage(0));
  EXPECT_THAT(resolve("0", StageGraph::SourceUse::kCopy), IsStage(0));
  EXPECT_THAT(resolve("0", StageGraph::SourceUse::kMount), IsImage("0"));
  EXPECT_THAT(resolve("x", StageGraph::SourceUse::kMount), IsStage(0));
  EXPECT_THAT(resolve("y:1", StageGraph::SourceUse::kCopy), IsImage("y:1"));
  EXPECT_EQ(resolve("scratch", StageGraph::SourceUse::kCopy).kind, Kind::kScratch);
}

TEST(StageGraphTest, AStageCannotReadFromALaterOne) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM a AS x\nCOPY --from=y /a /b\nFROM b AS y\n"));
  EXPECT_THAT(graph.ResolveSource("y", 0, StageGraph::SourceUse::kCopy,
                                  {.file = "Dockerfile", .line = 2, .column = 1}),
              IsMistake("Dockerfile:2:1: cannot copy from stage \"y\", it needs to be defined "
                        "before current stage \"x\""));
}

TEST(StageGraphTest, StagesInACircleAreRefused) {
  EXPECT_THAT(Graph("FROM a AS x\nCOPY --from=x /a /b\n"),
              IsMistake("Dockerfile:2:1: circular dependency detected on stage \"x\""));
  // At the first line that leads into the circle.
  EXPECT_THAT(Graph("FROM a AS z\nFROM a AS x\nCOPY --from=z /a /b\nCOPY --from=y /a /b\n"
                    "FROM a AS y\nRUN --mount=from=x y\n"),
              IsMistake("Dockerfile:4:1: circular dependency detected on stage \"x\""));
  EXPECT_THAT(Graph("FROM a\nCOPY --from=0 /a /b\n"), IsMistake("circular dependency"));
}

TEST(StageGraphTest, MistakesAreRefusedWithTheirPlace) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"RUN x\nFROM a\n", "Dockerfile:1:1: no build stage in current context"},
      {"ARG X\n", "no stages to build"},
      {"FROM $NONE\n", "Dockerfile:1:1: base name ($NONE) should not be blank"},
      {"ARG IMAGE=\nFROM $IMAEG\n", "should not be blank (did you mean IMAGE?)"},
      {"FROM --platform=$NONE a\n", "empty platform value from expression $NONE"},
      {"FROM --platform=$BUILDPLATFROM a\n", "(did you mean BUILDPLATFORM?)"},
      {"FROM ${X\n", "syntax error"},
      {"ARG X=${Y?no}\nFROM a\n", "Dockerfile:1:1: cannot expand \"${Y?no}\": Y: no"},
      {"FROM a\nCOPY --from=7 a b\n", "Dockerfile:2:1: invalid stage index 7"},
      {"FROM a\nCOPY --from=-1 a b\n", "invalid stage index -1"},
      {"FROM a\nCOPY --from=$X a b\n", "variable expansion is not supported for --from"},
      {"FROM a\nRUN --mount=from=$X,target=/x y\n", "'from' doesn't support variable expansion"}};
  for (const auto& [text, message] : cases) EXPECT_THAT(Graph(text), IsMistake(message)) << text;
}

TEST(StageGraphTest, ATargetIsANameOrAnIndex) {
  ASSERT_OK_AND_ASSIGN(StageGraph graph, Graph("FROM a AS build\nFROM b AS test\nFROM c\n"));
  EXPECT_THAT(graph.FindTarget(""), IsOkAndHolds(2));
  EXPECT_THAT(graph.FindTarget("Build"), IsOkAndHolds(0));
  EXPECT_THAT(graph.FindTarget("1"), IsOkAndHolds(1));
  EXPECT_THAT(graph.FindTarget("biuld"),
              IsMistake("target stage \"biuld\" could not be found (did you mean build?)"));
  EXPECT_THAT(graph.FindTarget("3"), IsMistake("could not be found"));
  EXPECT_THAT(graph.FindTarget("-1"), IsMistake("could not be found"));
}

TEST(StageGraphTest, StagesAreBounded) {
  std::string text;
  for (size_t i = 0; i < kStagesMax; ++i) text += "FROM scratch\n";
  EXPECT_OK(Graph(text));
  EXPECT_THAT(Graph(text + "FROM scratch\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("Dockerfile:1001:1"), HasSubstr("more than 1000 stages"))));
}

}  // namespace
}  // namespace farm
