#include "plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/source_position.h"
#include "base/ssh_agent_protocol.h"
#include "base/testing/status_matchers.h"
#include "plan/testing/plan_of.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(ImagesToResolveTest, NamesWhatTheTargetNeedsOnceAndCanonically) {
  const Dockerfile file = Parse(
      "FROM alpine AS a\nFROM node AS unused\nFROM docker.io/library/alpine:latest\n"
      "COPY --from=a /x /x\nCOPY --from=busybox:1 /y /y\nCOPY --from=scratch /z /z\n");
  EXPECT_THAT(*ImagesToResolve(file, {}, OnAmd64()),
              ElementsAre(ImageKey{"docker.io/library/alpine:latest", "linux/amd64"},
                          ImageKey{"docker.io/library/busybox:1", "linux/amd64"}));
}

TEST(ImagesToResolveTest, AStageHasItsPlatformAndOtherSourcesHaveThatOfTheBuild) {
  PlanOptions options = OnAmd64();
  options.platform.set_os("linux");
  options.platform.set_architecture("arm64");
  const Dockerfile file = Parse(
      "FROM --platform=$BUILDPLATFORM alpine AS a\nCOPY --from=busybox /x /x\n"
      "FROM --platform=linux/arm/v6 a AS b\nFROM alpine\nCOPY --from=b /x /x\n");
  EXPECT_THAT(*ImagesToResolve(file, {}, options),
              ElementsAre(ImageKey{"docker.io/library/alpine:latest", "linux/amd64"},
                          ImageKey{"docker.io/library/busybox:latest", "linux/arm64"},
                          ImageKey{"docker.io/library/alpine:latest", "linux/arm64"}));
}

TEST(ImagesToResolveTest, TriggersOfAResolvedImageNameMore) {
  const Dockerfile file = Parse("FROM builder\n");
  BaseImage builder{.reference = "builder", .manifest = {}, .config = OneLayer()};
  builder.config.config.on_build = {"COPY --from=node:22 /usr/bin/node /node"};
  const ImageKey key = {"docker.io/library/builder:latest", "linux/amd64"};
  EXPECT_THAT(*ImagesToResolve(file, {{key, builder}}, OnAmd64()),
              ElementsAre(ImageKey{"docker.io/library/node:22", "linux/amd64"}));
}

TEST(ImagesToResolveTest, MountsNameImages) {
  EXPECT_THAT(*ImagesToResolve(Parse("FROM scratch\nRUN --mount=from=busybox:1,target=/b x\n"), {},
                               OnAmd64()),
              ElementsAre(ImageKey{"docker.io/library/busybox:1", "linux/amd64"}));
}

TEST(ImagesToResolveTest, ATmpfsReadsNoImage) {
  const Dockerfile file = Parse("FROM scratch\nRUN --mount=type=tmpfs,target=/t,from=busybox x\n");
  EXPECT_THAT(*ImagesToResolve(file, {}, OnAmd64()), IsEmpty());
  EXPECT_OK(MakePlan(file, {}, OnAmd64()));
}

TEST(UnresolvedImageTest, TheErrorHasThePositionAndTheStageThatMayBeMeant) {
  const Dockerfile file = Parse(
      "FROM scratch AS build\nFROM scratch\nCOPY --from=biuld /a /a\nCOPY --from=biuld /b /b\n"
      "FROM scratch AS later\n");
  PlanOptions options = OnAmd64();
  options.target = "1";
  const ImageKey image{"docker.io/library/biuld:latest", "linux/amd64"};
  const absl::Status status =
      UnresolvedImage(file, {}, options, image, absl::NotFoundError("no such image"));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound,
                               "Dockerfile:3:1: no such image (did you mean the stage build?)"));
  std::string line;
  ASSERT_TRUE(PositionOf(status, &line).has_value());
  EXPECT_EQ(line, "COPY --from=biuld /a /a");
}

TEST(UnresolvedImageTest, AnImageThatATriggerNamesIsToldWithTheTrigger) {
  const ImageKey image{"docker.io/library/gone:latest", "linux/amd64"};
  EXPECT_THAT(UnresolvedImage(Parse("FROM scratch AS a\nONBUILD COPY --from=gone /a /a\nFROM a\n"),
                              {}, OnAmd64(), image, absl::NotFoundError("no such image")),
              StatusIs(absl::StatusCode::kNotFound,
                       "Dockerfile:3:1: no such image (from the stage a: ONBUILD COPY --from=gone "
                       "/a /a)"));
}

TEST(UnresolvedImageTest, ABaseMayMeanAStageBeforeIt) {
  const ImageKey image{"docker.io/library/bild:latest", "linux/amd64"};
  EXPECT_THAT(UnresolvedImage(Parse("FROM scratch AS build\nFROM bild\n"), {}, OnAmd64(), image,
                              absl::UnavailableError("registry")),
              StatusIs(absl::StatusCode::kUnavailable,
                       "Dockerfile:2:1: registry (did you mean the stage build?)"));
  EXPECT_THAT(UnresolvedImage(Parse("FROM bild\nFROM scratch AS build\nCOPY --from=0 /a /a\n"), {},
                              OnAmd64(), image, absl::UnavailableError("registry")),
              StatusIs(absl::StatusCode::kUnavailable, "Dockerfile:1:1: registry"));
}

TEST(MakePlanTest, AnErrorOfATriggerNamesItsImageAndText) {
  const struct {
    const char* trigger;
    const char* error;
  } kCases[] = {
      {"RNU make", "unknown instruction: RNU"},
      {"RUN --mount=type=bnd,target=/x y", "did you mean bind?"},
      {"COPY --chmod=999 a /a", "invalid chmod parameter"},
  };
  for (const auto& c : kCases) {
    ImageConfig config = OneLayer();
    config.config.on_build = {c.trigger};
    EXPECT_THAT(
        PlanOf("# a line\nFROM builder\n", {}, config),
        StatusIs(
            absl::StatusCode::kInvalidArgument,
            AllOf(StartsWith("Dockerfile:2:1: "), HasSubstr(c.error),
                  EndsWith(absl::StrCat(" (from the image builder: ONBUILD ", c.trigger, ")")))));
  }
}

TEST(MakePlanTest, AStepOfATriggerSaysWhereItComesFrom) {
  ImageConfig config = OneLayer();
  config.config.on_build = {"ADD https://u:secret@example.com/" + std::string(300, 'x') + " /"};
  ASSERT_OK_AND_ASSIGN(const Plan plan, PlanOf("FROM builder\nRUN own\n", {}, config));
  EXPECT_THAT(plan.steps[0].origin,
              AllOf(StartsWith("from the image builder: ONBUILD ADD https://xxxxx@example.com/x"),
                    EndsWith("x...")));
  EXPECT_EQ(plan.steps[1].origin, "");
  ASSERT_OK_AND_ASSIGN(const Plan of_stage, PlanOf("FROM scratch AS a\nONBUILD RUN t\nFROM a\n"));
  EXPECT_EQ(of_stage.steps[0].origin, "from the stage a: ONBUILD RUN t");
}

TEST(MakePlanTest, SourcesWhoseDotsLeadOutAreKnown) {
  ASSERT_OK_AND_ASSIGN(
      const Plan plan,
      PlanOf("FROM scratch\nARG UP=..\nCOPY a $UP/b c/../../d /x/\n"
             "COPY --parents a ../b a/./../c /y/\nRUN --mount=source=../e,target=/e z\n"));
  EXPECT_THAT(plan.steps[0].sources[0].patterns, ElementsAre("a", "b", "d"));
  EXPECT_THAT(plan.steps[0].sources[0].lead_out, ElementsAre(false, true, true));
  EXPECT_THAT(plan.steps[1].sources[0].lead_out, ElementsAre(false, true, true));
  EXPECT_THAT(plan.steps[2].sources[0].lead_out, ElementsAre(true));
}

TEST(MakePlanTest, AnImageThatIsNotResolvedIsFailedPrecondition) {
  EXPECT_THAT(MakePlan(Parse("FROM alpine\n"), {}, {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST(MakePlanTest, NamesOfImagesAreCheckedInStagesThatNobodyNeeds) {
  for (const char* lines :
       {"FROM UP AS a\n", "FROM b\nCOPY --from=UP /x /\n", "FROM b\nRUN --mount=from=UP x\n"}) {
    EXPECT_THAT(PlanOf(absl::StrCat(lines, "FROM scratch\n")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("UP")))
        << lines;
  }
  EXPECT_OK(PlanOf("FROM b AS a\nCOPY --from=later /x /\nFROM scratch AS later\n"));
}

TEST(MakePlanTest, RefusalsCarryTheirPosition) {
  const absl::StatusOr<Plan> plan = PlanOf("# syntax=example.com/frontend\nFROM alpine\n");
  EXPECT_THAT(plan, StatusIs(absl::StatusCode::kUnimplemented));
  ASSERT_TRUE(PositionOf(plan.status()).has_value());
  EXPECT_EQ(PositionOf(plan.status())->line, 1);
}

TEST(MakePlanTest, AFileOfAUrlIsNamedByTheLastPartOfItsPath) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://e.com/a/b.tar.gz?x=/y", "b.tar.gz"},
      {"https://e.com/a/b%20c%2Bd", "b c+d"},
      {"https://e.com/a%2Fb", "b"},
      {"https://e.com/a/b//", "b"},
      {"https://e.com", "__unnamed__"},
      {"https://e.com/", "__unnamed__"},
      {"https://e.com/a/..", "__unnamed__"},
      {"https://e.com/%2e%2e", "__unnamed__"},
      {"https://e.com/a%2", "__unnamed__"},
      {"https://e.com/a%zz", "__unnamed__"},
      {"https://e.com/a%00", "__unnamed__"},
  };
  for (const auto& [url, name] : cases) {
    const absl::StatusOr<Plan> plan = PlanOf(absl::StrCat("FROM scratch\nADD ", url, " /\n"));
    ASSERT_OK(plan) << url;
    EXPECT_EQ(plan->remotes[0].file_name, name) << url;
  }
}

TEST(MakePlanTest, PasswordsOfUrlsAreNotShown) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM scratch\nARG T=tok3n\nADD https://u:$T@e.com/f https://$T@e.com/r.git /\n");
  ASSERT_OK(plan);
  EXPECT_EQ(plan->remotes[0].url, "https://u:tok3n@e.com/f");
  EXPECT_EQ(plan->remotes[1].git.remote, "https://tok3n@e.com/r.git");
  EXPECT_THAT(plan->steps[0].name,
              HasSubstr("ADD https://xxxxx@e.com/f https://xxxxx@e.com/r.git"));
  EXPECT_EQ(plan->steps[0].source_line, "ADD https://xxxxx@e.com/f https://xxxxx@e.com/r.git /");
  EXPECT_EQ(plan->history.back().created_by,
            "ADD https://xxxxx@e.com/f https://xxxxx@e.com/r.git / # buildkit");
}

TEST(MakePlanTest, FlagsOfAddAndItsGitReferenceAgree) {
  const std::string commit(40, 'a');
  const absl::StatusOr<Plan> plan = PlanOf(
      "FROM scratch\nADD --keep-git-dir=false --checksum=aaaa https://e.com/r.git?keep-git-dir=0#" +
      commit + ":d /\n");
  ASSERT_OK(plan);
  EXPECT_EQ(plan->remotes[0].git, (GitReference{.remote = "https://e.com/r.git",
                                                .ref = commit,
                                                .subdir = "d",
                                                .checksum = "aaaa",
                                                .keep_git_dir = false}));
  const std::pair<std::string, const char*> cases[] = {
      {"--checksum=bb https://e.com/r.git#" + commit, "checksum mismatch: expected bb, got aaaa"},
      {"--checksum=bb https://e.com/r.git?commit=aa", "--checksum=bb conflicts with"},
      {"--keep-git-dir=false https://e.com/r.git?keep-git-dir=1", "inconsistent keep-git-dir"},
      {"--checksum=main https://e.com/r.git", "expected hexadecimal digits of a commit"},
      {"https://e.com/r.git?x=1", "unexpected query \"x\""},
  };
  for (const auto& [words, message] : cases) {
    EXPECT_THAT(PlanOf("FROM scratch\nADD " + words + " /\n"),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("Dockerfile:2:1"), HasSubstr(message))))
        << words;
  }
}

TEST(MakePlanTest, DevicesAreRefusedByName) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine\nRUN --network=none --device=vendor/gpu=all x\n");
  EXPECT_THAT(plan, StatusIs(absl::StatusCode::kUnimplemented,
                             HasSubstr("Dockerfile:2:20: RUN --device is not supported yet")));
}

TEST(MakePlanTest, ANewCacheHasASourceOnlyFromElsewhere) {
  EXPECT_THAT(PlanOf("FROM alpine\nRUN --mount=type=cache,target=/c,source=/s x\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("Dockerfile:2:5: source of a cache needs from")));
  EXPECT_OK(PlanOf("FROM alpine\nRUN --mount=type=cache,target=/c,source=. x\n").status());
}

TEST(MakePlanTest, OwnerAndModeOfACacheAreItsSourcesUnlessGiven) {
  const absl::StatusOr<Plan> plan = PlanOf(
      "FROM alpine AS a\nFROM alpine\n"
      "RUN --mount=type=cache,target=/c,from=a,source=etc,gid=0 x\n");
  ASSERT_OK(plan);
  const v1::RunMount& mount = plan->steps[0].identity.run().mounts(0);
  EXPECT_FALSE(mount.has_uid());
  EXPECT_TRUE(mount.has_gid());
  EXPECT_FALSE(mount.has_mode());
}

TEST(MakePlanTest, TheFirstSshAgentIsNamedByTheEnvironmentUnlessTheFileDoes) {
  const auto run_of = [](const std::string& lines) {
    return PlanOf("FROM a\n" + lines).value().steps.back().identity.run();
  };
  const v1::RunOperation run =
      run_of("RUN --mount=type=ssh --mount=type=ssh,id=b,target=/b --mount=type=ssh,id=c make\n");
  EXPECT_EQ(run.mounts(0).target(), "/run/buildkit/ssh_agent.0");
  EXPECT_EQ(run.mounts(1).target(), "/b");
  EXPECT_EQ(run.mounts(2).target(), "/run/buildkit/ssh_agent.2");
  EXPECT_THAT(run.env(), testing::Contains("SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"));
  EXPECT_THAT(run_of("ENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh make\n").env(),
              AllOf(testing::Contains("SSH_AUTH_SOCK=/own"), testing::SizeIs(2)));
  EXPECT_THAT(run_of("RUN make\n").env(), testing::SizeIs(1));
}

TEST(MakePlanTest, SshMountsOfARunAreBounded) {
  std::string text = "FROM a\nRUN";
  for (size_t i = 0; i < kSshMountsMax; ++i) absl::StrAppend(&text, " --mount=type=ssh");
  EXPECT_OK(PlanOf(text + " x\n"));
  EXPECT_THAT(PlanOf(text + " --mount=type=ssh x\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("Dockerfile:2"), HasSubstr("more than 8 mounts"))));
}

TEST(MakePlanTest, WhatStandsOnALinkedLayerWaitsForAllBelow) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine\nRUN a\nCOPY --link b /b\nCOPY --link c /c\nRUN d\n");
  ASSERT_OK(plan);
  EXPECT_THAT(plan->steps[1].Dependencies(*plan), ElementsAre());
  EXPECT_THAT(plan->steps[2].Dependencies(*plan), ElementsAre());
  EXPECT_THAT(plan->steps[3].Dependencies(*plan), ElementsAre(0, 1, 2));
}

TEST(MakePlanTest, TextIsBounded) {
  std::string text = "FROM alpine\nENV A=0123456789abcdef\n";
  for (int i = 0; i < 14; ++i) absl::StrAppend(&text, "ENV A=$A$A\n");  // 256 KiB.
  for (int i = 0; i < 256; ++i) absl::StrAppend(&text, "ENV A", i, "=$A\n");
  EXPECT_THAT(PlanOf(text), StatusIs(absl::StatusCode::kResourceExhausted,
                                     HasSubstr("more than 67108864 bytes")));
}

TEST(MakePlanTest, WhatABuildAsksForAllItsRunsIsBoundedOverAll) {
  PlanOptions options;
  for (int i = 0; i < 1000; ++i) options.extra_host_names.push_back(std::string(255, 'h'));
  std::string text = "FROM alpine\n";
  for (int i = 0; i < 300; ++i) absl::StrAppend(&text, "RUN a\n");
  EXPECT_THAT(PlanOf(text, options), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(MakePlanTest, WhatStagesTakeOverIsBoundedThoughTheyHaveNoInstructions) {
  ImageConfig base = OneLayer();
  base.config.labels["a"] = std::string(1 << 20, 'x');
  std::string text = "FROM alpine AS s0\n";
  for (int i = 1; i < 70; ++i) absl::StrAppend(&text, "FROM s", i - 1, " AS s", i, "\n");
  const absl::StatusOr<Plan> plan = PlanOf(text, {}, base);
  EXPECT_THAT(plan, StatusIs(absl::StatusCode::kResourceExhausted));
  ASSERT_TRUE(PositionOf(plan.status()).has_value());
  EXPECT_EQ(PositionOf(plan.status())->line, 64);
}

TEST(MakePlanTest, VariablesOfAStageAreBounded) {
  std::string text = "FROM scratch\nENV";
  for (size_t i = 1; i < kStageVariablesMax; ++i) absl::StrAppend(&text, " A", i, "=");
  EXPECT_OK(PlanOf(text + "\n"));  // PATH is one, too.
  EXPECT_THAT(PlanOf(text + "\nARG B=\n"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("Dockerfile:3:1: the stage has more than 10000 variables")));
}

TEST(MakePlanTest, AVariableThatIsSetAgainIsTheLastOfTheEnvironment) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM scratch\nENV A=1 B=2\nARG C=3\nENV A=4\nARG C\nRUN [\"x\"]\n");
  ASSERT_OK(plan);
  const auto& env = plan->steps[0].identity.run().env();
  EXPECT_THAT(std::vector<std::string>(env.begin() + 1, env.end()),
              ElementsAre("B=2", "C=3", "A=4"));
  EXPECT_THAT(plan->config.config.env, ElementsAre(testing::_, "A=4", "B=2"));
}

TEST(MakePlanTest, ALinkedLayerKnowsNoOwnersButNumbersAndRoot) {
  for (const char* owner : {"root", "root:root", "1:root", "root:1", "1:2", "1", ":root"}) {
    EXPECT_OK(PlanOf(absl::StrCat("FROM scratch\nCOPY --link --chown=", owner, " a /\n"))) << owner;
  }
  for (const char* owner : {"user", "1:users", "roots"}) {
    EXPECT_THAT(PlanOf(absl::StrCat("FROM scratch\nCOPY --link --chown=", owner, " a /\n")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("knows no names")))
        << owner;
  }
}

TEST(MakePlanTest, ExcludesAreBounded) {
  std::string flags;
  for (size_t i = 0; i < kExcludesMax; ++i) absl::StrAppend(&flags, " --exclude=", i);
  EXPECT_OK(PlanOf(absl::StrCat("FROM scratch\nCOPY", flags, " . /\n")));
  EXPECT_THAT(PlanOf(absl::StrCat("FROM scratch\nCOPY", flags, " --exclude=x . /\n")),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("Dockerfile:2:1: more than 300 times --exclude")));
}

TEST(MakePlanTest, SourcesOfOneCopyAreBoundedExpanded) {
  std::string text = absl::StrCat("FROM scratch\nARG A=", std::string(100'000, 'x'), "\nCOPY");
  for (int i = 0; i < 1000; ++i) absl::StrAppend(&text, " $A");
  EXPECT_THAT(PlanOf(text + " /\n"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("its sources take more than 2097152 bytes")));
}

TEST(MakePlanTest, PortsOfOneExposeAreBounded) {
  std::string text = "FROM alpine\nRUN x\nEXPOSE";
  for (int i = 0; i < 300; ++i) absl::StrAppend(&text, " 1-9999");
  const absl::StatusOr<Plan> plan = PlanOf(text + "\n");
  EXPECT_THAT(plan, StatusIs(absl::StatusCode::kResourceExhausted,
                             HasSubstr("exposes more than 16384 ports")));
  ASSERT_TRUE(PositionOf(plan.status()).has_value());
  EXPECT_EQ(PositionOf(plan.status())->line, 3);
}

TEST(MakePlanTest, PortsOfAnImageAreBounded) {
  EXPECT_OK(PlanOf("FROM alpine\nEXPOSE 10001-20000/udp\nEXPOSE 10001-20000/udp\n"));
  EXPECT_THAT(PlanOf("FROM alpine\nEXPOSE 1-10000\nEXPOSE 10001-20000\n"),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(MakePlanTest, StagesThatAreNotNeededAreNotLowered) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine AS a\nEXPOSE nonsense\nFROM alpine\nRUN x\n");
  ASSERT_OK(plan);
  EXPECT_EQ(plan->steps.size(), 1u);
  EXPECT_FALSE(plan->stages[0].needed);
  EXPECT_THAT(plan->stages[0].instructions, IsEmpty());
  EXPECT_TRUE(plan->stages[1].needed);
  EXPECT_EQ(plan->target, 1);
}

TEST(MakePlanTest, AStageThatIsReadTwiceIsLoweredOnce) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine AS a\nRUN x\nFROM alpine\nCOPY --from=a /1 /1\nCOPY --from=a /2 /2\n");
  ASSERT_OK(plan);
  ASSERT_EQ(plan->steps.size(), 3u);
  EXPECT_EQ(plan->bases.size(), 1u);
  EXPECT_THAT(plan->steps[1].Dependencies(*plan), ElementsAre(0));
  EXPECT_THAT(plan->steps[2].Dependencies(*plan), ElementsAre(0, 1));
}

TEST(MakePlanTest, StagesTellTheirInstructionsAfterExpansion) {
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine AS a\nARG V=1 W\nENV A=$V\nVOLUME /$V\nWORKDIR /w\n");
  ASSERT_OK(plan);
  const std::vector<PlanInstruction>& instructions = plan->stages[0].instructions;
  ASSERT_EQ(instructions.size(), 4u);
  EXPECT_EQ(instructions[0].pairs[0].second, "1");
  EXPECT_EQ(instructions[0].pairs[1].second, std::nullopt);
  EXPECT_EQ(instructions[1].pairs[0].second, "1");
  EXPECT_THAT(instructions[2].values, ElementsAre("/1"));
  EXPECT_EQ(instructions[2].step, -1);
  EXPECT_EQ(instructions[3].step, 0);
  EXPECT_EQ(plan->stages[0].image.history.size(), 4u);
}

TEST(MakePlanTest, ABuildArgumentNamesTheHostOfRuns) {
  PlanOptions options;
  options.build_args["BUILDKIT_SANDBOX_HOSTNAME"] = "builder";
  const absl::StatusOr<Plan> plan = PlanOf("FROM alpine\nRUN x\n", options);
  ASSERT_OK(plan);
  EXPECT_EQ(plan->steps[0].identity.run().hostname(), "builder");
  EXPECT_THAT(plan->warnings, IsEmpty());
  options.build_args["BUILDKIT_SANDBOX_HOSTNAME"] = "a b";
  EXPECT_THAT(PlanOf("FROM alpine\nRUN x\n", options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("Dockerfile:2:1: build argument BUILDKIT_SANDBOX_HOSTNAME"),
                             HasSubstr("\"a b\" is no host name"))));
}

TEST(MakePlanTest, ABuildArgumentSetsCachesApart) {
  PlanOptions options;
  options.build_args["BUILDKIT_CACHE_MOUNT_NS"] = "team";
  const absl::StatusOr<Plan> plan =
      PlanOf("FROM alpine\nRUN --mount=type=cache,target=/c --mount=type=cache,target=/d,id=i x\n",
             options);
  ASSERT_OK(plan);
  EXPECT_EQ(plan->steps[0].identity.run().mounts(0).id(), "team/c");
  EXPECT_EQ(plan->steps[0].identity.run().mounts(1).id(), "team/i");
}

TEST(MakePlanTest, SourceDateEpochIsABuildArgumentOrAGlobalArg) {
  const std::string text = "ARG SOURCE_DATE_EPOCH=5\nFROM scratch\n";
  EXPECT_EQ(PlanOf(text)->created_max, absl::FromUnixSeconds(5));
  EXPECT_EQ(PlanOf("FROM scratch\nARG SOURCE_DATE_EPOCH=5\n")->created_max, std::nullopt);
  PlanOptions options;
  options.build_args["SOURCE_DATE_EPOCH"] = "6";
  EXPECT_EQ(PlanOf(text, options)->created_max, absl::FromUnixSeconds(6));
  options.build_args["SOURCE_DATE_EPOCH"] = "";
  EXPECT_EQ(PlanOf(text, options)->created_max, std::nullopt);
}

TEST(MakePlanTest, ABadSourceDateEpochIsAMistake) {
  EXPECT_THAT(PlanOf("ARG A\nARG SOURCE_DATE_EPOCH=today\nFROM scratch\n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("Dockerfile:2:1: invalid SOURCE_DATE_EPOCH: \"today\"")));
  PlanOptions options;
  for (const char* bad : {"-1", "1.5", "253402300800", "99999999999999999999"}) {
    options.build_args["SOURCE_DATE_EPOCH"] = bad;
    EXPECT_THAT(PlanOf("FROM scratch\n", options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("(build argument)")))
        << bad;
  }
}

}  // namespace
}  // namespace farm
