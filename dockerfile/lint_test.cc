#include "dockerfile/lint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"
#include "dockerfile/image_name.h"
#include "dockerfile/parser.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::StatusOr<LintResult> LintOf(const std::string& text, const LintOptions& options = {}) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", text);
  if (!source.ok()) return source.status();
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return file.status();
  return Lint(*file, options);
}

// "RULE:LINE" for each warning.
std::vector<std::string> Found(const std::string& text, const LintOptions& options = {}) {
  const absl::StatusOr<LintResult> result = LintOf(text, options);
  if (!result.ok()) return {result.status().ToString()};
  std::vector<std::string> out;
  for (const LintWarning& warning : result->warnings) {
    out.push_back(absl::StrCat(warning.rule, ":", warning.line));
  }
  return out;
}

std::string Message(const std::string& text) {
  const absl::StatusOr<LintResult> result = LintOf(text);
  if (!result.ok() || result->warnings.size() != 1) return "not one warning";
  return result->warnings[0].message;
}

TEST(LintTest, AGoodFileHasNoWarnings) {
  EXPECT_THAT(Found("# syntax=docker/dockerfile:1\n"
                    "ARG VERSION=1\n"
                    "FROM --platform=$BUILDPLATFORM golang:$VERSION AS build\n"
                    "ARG TARGETARCH\n"
                    "ENV A=1 B=$PATH\n"
                    "WORKDIR /src\n"
                    "WORKDIR sub\n"
                    "COPY --chown=$A . .\n"
                    "RUN --mount=type=cache,target=/c$TARGETARCH make $UNKNOWN_TO_US\n"
                    "FROM scratch\n"
                    "EXPOSE 80 53/udp\n"
                    "COPY --from=build /a /a\n"
                    "ENTRYPOINT [\"/a\"]\n"),
              IsEmpty());
}

struct RuleCase {
  std::string rule;
  std::string fires;
  std::string silent;
};

// Rules that are on by default, but for InvalidBaseImagePlatform, which needs an image.
const std::vector<RuleCase>& RuleCases() {
  static const auto* const cases = new std::vector<RuleCase>{
      {"StageNameCasing", "FROM a AS B\n", "FROM a AS b\n"},
      {"FromAsCasing", "FROM a as b\n", "FROM a AS b\n"},
      {"NoEmptyContinuation", "FROM a\nRUN a \\\n\n b\n", "FROM a\nRUN a \\\n# c\n b\n"},
      {"ConsistentInstructionCasing", "FROM a\nRUN a\nrun b\n", "from a\nrun a\nrun b\n"},
      {"DuplicateStageName", "FROM a AS b\nFROM a AS b\n", "FROM a AS b\nFROM a AS c\n"},
      {"ReservedStageName", "FROM a AS context\n", "FROM a AS contexts\n"},
      {"JSONArgsRecommended", "FROM a\nCMD b\n", "FROM a\nCMD [\"b\"]\n"},
      {"MaintainerDeprecated", "FROM a\nMAINTAINER b\n", "FROM a\nLABEL maintainer=b\n"},
      {"UndefinedArgInFrom", "FROM a:${B:-1}\n", "ARG B=1\nFROM a:$B\n"},
      {"WorkdirRelativePath", "FROM a\nWORKDIR b\n", "FROM a\nWORKDIR /a\nWORKDIR b\n"},
      {"UndefinedVar", "FROM a\nCOPY $B /\n", "FROM a\nARG B\nCOPY $B /\n"},
      {"MultipleInstructionsDisallowed", "FROM a\nCMD [\"b\"]\nCMD [\"c\"]\n",
       "FROM a AS x\nCMD [\"b\"]\nFROM x\nCMD [\"c\"]\n"},
      {"LegacyKeyValueFormat", "FROM a\nENV B c\n", "FROM a\nENV B=c\n"},
      {"RedundantTargetPlatform", "FROM --platform=$TARGETPLATFORM a\n",
       "FROM --platform=$BUILDPLATFORM a\n"},
      {"SecretsUsedInArgOrEnv", "FROM a\nARG DB_PASSWORD\n", "FROM a\nARG DB_PASSWORD_FILE\n"},
      {"InvalidDefaultArgInFrom", "ARG B\nFROM a:$B\n", "ARG B=1\nFROM a:$B\n"},
      {"FromPlatformFlagConstDisallowed", "FROM --platform=linux/amd64 a\n",
       "FROM --platform=linux/amd64 a AS a-amd64\n"},
      {"ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP\n", "FROM a\nEXPOSE 80/tcp\n"},
      {"ExposeInvalidFormat", "FROM a\nEXPOSE 80:80\n", "FROM a\nEXPOSE 80\n"},
  };
  return *cases;
}

LintOptions WithB() { return {.stages = {.build_args = {{"B", "1"}}}}; }

std::vector<std::string> RulesOf(const std::string& text) {
  const absl::StatusOr<LintResult> result = LintOf(text, WithB());
  std::vector<std::string> rules;
  if (!result.ok()) return {result.status().ToString()};
  for (const LintWarning& warning : result->warnings) rules.push_back(warning.rule);
  return rules;
}

TEST(LintTest, EachRuleFiresWhereItShouldAlone) {
  for (const RuleCase& c : RuleCases()) {
    EXPECT_THAT(RulesOf(c.fires), ElementsAre(c.rule)) << c.fires;
    EXPECT_THAT(RulesOf(c.silent), IsEmpty()) << c.silent;
  }
}

TEST(LintTest, EachRuleIsSkippedByTheDirectiveAndByTheBuildArgument) {
  for (const RuleCase& c : RuleCases()) {
    EXPECT_THAT(RulesOf(absl::StrCat("# check=skip=", c.rule, "\n", c.fires)), IsEmpty()) << c.rule;
    EXPECT_THAT(RulesOf(absl::StrCat("# check=skip=Other\n", c.fires)), ElementsAre(c.rule));
    LintOptions options = WithB();
    options.stages.build_args["BUILDKIT_DOCKERFILE_CHECK"] = absl::StrCat("skip=", c.rule);
    EXPECT_THAT(Found(c.fires, options), IsEmpty()) << c.rule;
  }
}

TEST(LintTest, EachRuleHasASummaryAndAPage) {
  for (const RuleCase& c : RuleCases()) {
    EXPECT_FALSE(LintRuleSummary(c.rule).empty()) << c.rule;
    EXPECT_THAT(LintRuleUrl(c.rule), testing::MatchesRegex("https://.*/rule/[a-z-]+/"));
  }
  EXPECT_EQ(LintRuleUrl("NoSuchRule"), "");
}

TEST(LintTest, TheBuildArgumentReplacesTheDirective) {
  LintOptions options;
  options.stages.build_args["BUILDKIT_DOCKERFILE_CHECK"] = "error=true";
  const absl::StatusOr<LintResult> result = LintOf("# check=skip=all\nFROM a\nCMD b\n", options);
  ASSERT_OK(result);
  EXPECT_THAT(result->warnings, SizeIs(1));
  EXPECT_TRUE(result->is_error);
  options.stages.build_args["BUILDKIT_DOCKERFILE_CHECK"] = "skip";
  EXPECT_THAT(LintOf("FROM a\n", options), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(LintTest, AnErrorNamesTheRulesAtTheDirective) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create(
      "Dockerfile", "# syntax=docker/dockerfile:1\n# check=error=true\nFROM a as B\n");
  ASSERT_OK(source);
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  ASSERT_OK(file);
  const absl::StatusOr<LintResult> result = Lint(*file, {});
  ASSERT_OK(result);
  EXPECT_THAT(
      result->ToStatus(*file),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "Dockerfile:2:1: lint violation found for rules: FromAsCasing, StageNameCasing"));
}

TEST(LintTest, TargetOnlyLeavesOutOtherStages) {
  LintOptions options;
  options.target_only = true;
  const std::string text = "FROM a AS x\nCMD a\nFROM a AS y\nCMD b\n";
  EXPECT_THAT(Found(text, options), ElementsAre("JSONArgsRecommended:4"));
  options.stages.target = "x";
  EXPECT_THAT(Found(text, options), ElementsAre("JSONArgsRecommended:2"));
}

TEST(LintTest, StageNames) {
  EXPECT_THAT(Found("FROM a AS Build\n"), ElementsAre("StageNameCasing:1"));
  EXPECT_THAT(Found("FROM a AS b\nFROM a AS b\n"), ElementsAre("DuplicateStageName:2"));
  EXPECT_THAT(Found("FROM a AS scratch\nFROM a AS context\n"),
              ElementsAre("ReservedStageName:1", "ReservedStageName:2"));
}

TEST(LintTest, AsIsCasedLikeFrom) {
  EXPECT_THAT(Found("FROM a as b\n"), ElementsAre("FromAsCasing:1"));
  EXPECT_THAT(Found("from a AS b\n"), ElementsAre("FromAsCasing:1"));
  EXPECT_THAT(Found("from a as b\nuser x\n"), IsEmpty());
  EXPECT_THAT(Found("From a as b\nUSER x\n"), ElementsAre("ConsistentInstructionCasing:1"));
}

TEST(LintTest, InstructionsAreCasedLikeTheMajority) {
  EXPECT_THAT(Found("FROM a\nrun b\n"), ElementsAre("ConsistentInstructionCasing:2"));
  EXPECT_THAT(Found("FROM a\nrun b\nrun c\n"), ElementsAre("ConsistentInstructionCasing:1"));
  EXPECT_THAT(Found("FROM a\nRun b\n"), ElementsAre("ConsistentInstructionCasing:2"));
  EXPECT_THAT(Found("arg X\nFROM a\nRUN b\n"), IsEmpty());
  EXPECT_EQ(Message("FROM a\nrun b\n"),
            "Command 'run' should match the case of the command majority (uppercase)");
}

TEST(LintTest, EmptyContinuationsAreOfTheLastLine) {
  EXPECT_THAT(Found("FROM a\nRUN a \\\n\n  b\nRUN c\n"), ElementsAre("NoEmptyContinuation:4"));
}

TEST(LintTest, CommandsInShellForm) {
  EXPECT_THAT(Found("FROM a\nENTRYPOINT a\nCMD b\n"),
              ElementsAre("JSONArgsRecommended:2", "JSONArgsRecommended:3"));
  EXPECT_THAT(Found("FROM a\nSHELL [\"sh\"]\nCMD b\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a AS b\nSHELL [\"sh\"]\nFROM b\nCMD b\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a\nHEALTHCHECK CMD x\nRUN y\n"), IsEmpty());
}

TEST(LintTest, TheMaintainerInstruction) {
  EXPECT_THAT(Found("FROM a\nMAINTAINER x\n"), ElementsAre("MaintainerDeprecated:2"));
}

TEST(LintTest, UndeclaredArgsInFrom) {
  EXPECT_THAT(Found("FROM a:${TAG:-1}\n"), ElementsAre("UndefinedArgInFrom:1"));
  EXPECT_THAT(Found("ARG TAG\nFROM a:${TAG:-1}\n"), IsEmpty());
  EXPECT_THAT(Found("FROM --platform=${P:-linux/arm64} a\n"), ElementsAre("UndefinedArgInFrom:1"));
  EXPECT_EQ(Message("ARG VERSION=1\nFROM a:${VERSOIN:-2}\n"),
            "FROM argument 'VERSOIN' is not declared (did you mean VERSION?)");
}

TEST(LintTest, DefaultsOfArgsThatGiveNoImage) {
  EXPECT_THAT(Found("ARG TAG\nFROM a:$TAG\n", {.stages = {.build_args = {{"TAG", "1"}}}}),
              ElementsAre("InvalidDefaultArgInFrom:2"));
  EXPECT_THAT(Found("ARG IMAGE\nFROM $IMAGE\n", {.stages = {.build_args = {{"IMAGE", "a"}}}}),
              ElementsAre("InvalidDefaultArgInFrom:2"));
  EXPECT_THAT(Found("ARG TAG=1\nFROM a:$TAG\n"), IsEmpty());
}

TEST(LintTest, PlatformsOfFrom) {
  EXPECT_THAT(Found("FROM --platform=linux/amd64 a\n"),
              ElementsAre("FromPlatformFlagConstDisallowed:1"));
  EXPECT_THAT(Found("FROM --platform=linux/amd64 a AS build-amd64\n"), IsEmpty());
  EXPECT_THAT(Found("FROM --platform=$TARGETPLATFORM a\n"),
              ElementsAre("RedundantTargetPlatform:1"));
  EXPECT_THAT(Found("FROM --platform=$BUILDPLATFORM a\n"), IsEmpty());
}

TEST(LintTest, RelativeWorkdirs) {
  EXPECT_THAT(Found("FROM a\nWORKDIR x\nWORKDIR y\n"), ElementsAre("WorkdirRelativePath:2"));
  EXPECT_THAT(Found("FROM a\nWORKDIR /x\nWORKDIR y\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a AS b\nWORKDIR /x\nFROM b\nWORKDIR y\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a\nENV D=/d\nWORKDIR $D\n"), IsEmpty());
}

TEST(LintTest, UndefinedVariables) {
  EXPECT_THAT(
      Found("FROM a\nCOPY $x /\nWORKDIR /$y\nUSER $z\nENV A=$b\nLABEL l=$c\n"
            "ADD --checksum=$d a /\nVOLUME $e\nSTOPSIGNAL $f\nARG G=$g\nADD --chmod=$h a /b\n"
            "RUN --mount=target=$i x\n"),
      ElementsAre("UndefinedVar:2", "UndefinedVar:3", "UndefinedVar:4", "UndefinedVar:5",
                  "UndefinedVar:6", "UndefinedVar:7", "UndefinedVar:8", "UndefinedVar:9",
                  "UndefinedVar:10", "UndefinedVar:11", "UndefinedVar:12"));
  EXPECT_THAT(Found("FROM a\nRUN $x\nCMD [\"$y\"]\nCOPY '$z' \\$z /\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a\nEXPOSE $d\nCOPY --exclude=$e . /\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a\nCOPY <<E /x\n$x\nE\nCOPY <<'E' /x\n$x\nE\n"),
              ElementsAre("UndefinedVar:2"));
  EXPECT_EQ(Message("FROM a\nENV FOO=1\nUSER $FOOO\n"),
            "Usage of undefined variable '$FOOO' (did you mean $FOO?)");
}

TEST(LintTest, DefinedVariables) {
  EXPECT_THAT(Found("FROM a\nARG X\nUSER $X$PATH\n"), IsEmpty());
  EXPECT_THAT(Found("ARG X=1\nFROM a\nUSER $X\n"), ElementsAre("UndefinedVar:3"));
  EXPECT_THAT(Found("FROM a AS b\nARG X\nENV Y=1\nFROM b\nUSER $X$Y\n"), IsEmpty());
  EXPECT_THAT(Found("FROM a AS b\nENV Y=1\nFROM a\nUSER $Y\n"), ElementsAre("UndefinedVar:4"));
  EXPECT_THAT(Found("FROM a\nENV A=1 B=$A\n"), ElementsAre("UndefinedVar:2"));
  LintOptions options;
  options.base_image = [](const SourceRef& image, absl::string_view) {
    EXPECT_EQ(image.image, "a");
    return LintBaseImage{.env = {{"X", "1"}}, .has_shell = true, .platform = "linux/amd64"};
  };
  EXPECT_THAT(Found("FROM a\nUSER $X\nCMD a\n", options), IsEmpty());
}

TEST(LintTest, TriggersWarnAtTheLineThatPullsThemIn) {
  EXPECT_THAT(Found("FROM a AS b\nONBUILD CMD x\nONBUILD ENV k v\nFROM b\n"),
              ElementsAre("JSONArgsRecommended:4", "LegacyKeyValueFormat:4"));
  LintOptions options;
  options.base_image = [](const SourceRef&, absl::string_view) {
    return LintBaseImage{.on_build = {"ARG X", "USER $X$Y", "no instruction"}};
  };
  EXPECT_THAT(Found("FROM a\nENV k v\n", options),
              ElementsAre("UndefinedVar:1", "LegacyKeyValueFormat:2"));
  // What stands for a stage has run its own.
  options.stages.find_context = [](absl::string_view) {
    return SourceRef{.kind = SourceRef::Kind::kImage, .image = "x"};
  };
  EXPECT_THAT(Found("FROM a AS b\nFROM b\n", options), IsEmpty());
}

TEST(LintTest, TheBaseImageIsForThePlatform) {
  std::string expected = "linux/amd64";
  LintOptions options;
  options.base_image = [&expected](const SourceRef&, absl::string_view) {
    return LintBaseImage{
        .env = {}, .has_shell = false, .platform = "linux/arm64", .expected = expected};
  };
  EXPECT_THAT(Found("FROM a\n", options), ElementsAre("InvalidBaseImagePlatform:1"));
  expected = "linux/arm64/v8";
  EXPECT_THAT(Found("FROM --platform=linux/aarch64 a\n", options),
              ElementsAre("FromPlatformFlagConstDisallowed:1"));
}

TEST(LintTest, InstructionsThatCountOnce) {
  EXPECT_THAT(Found("FROM a\nCMD []\nCMD []\nCMD []\n"),
              ElementsAre("MultipleInstructionsDisallowed:2", "MultipleInstructionsDisallowed:3"));
  EXPECT_THAT(Found("FROM a\nENTRYPOINT []\nENTRYPOINT []\n"),
              ElementsAre("MultipleInstructionsDisallowed:2"));
  EXPECT_THAT(Found("FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n"),
              ElementsAre("MultipleInstructionsDisallowed:2"));
  EXPECT_THAT(Found("FROM a AS b\nCMD []\nFROM b\nCMD []\n"), IsEmpty());
}

TEST(LintTest, TheOldFormOfKeysAndValues) {
  EXPECT_THAT(Found("FROM a\nENV A b\nLABEL c d\n"),
              ElementsAre("LegacyKeyValueFormat:2", "LegacyKeyValueFormat:3"));
}

TEST(LintTest, SecretsInArgAndEnv) {
  for (const char* name : {"API_KEY", "password", "GITHUB_TOKEN", "secret_MESSAGE", "AUTH",
                           "aws_credentials", "x_ApiKey_y"}) {
    EXPECT_THAT(Found(absl::StrCat("FROM a\nARG ", name, "\nENV ", name, "=1\n")),
                ElementsAre("SecretsUsedInArgOrEnv:2", "SecretsUsedInArgOrEnv:3"))
        << name;
  }
  for (const char* name : {"KEYBOARD", "PUBLIC_KEY", "TOKEN_FILE", "AUTHOR", "KEY_VERSION"}) {
    EXPECT_THAT(Found(absl::StrCat("FROM a\nARG ", name, "\n")), IsEmpty()) << name;
  }
}

TEST(LintTest, Ports) {
  EXPECT_THAT(Found("FROM a\nEXPOSE 80/TCP\n"), ElementsAre("ExposeProtoCasing:2"));
  EXPECT_THAT(Found("FROM a\nEXPOSE 80:80\nEXPOSE 127.0.0.1:80:80/udp\n"),
              ElementsAre("ExposeInvalidFormat:2", "ExposeInvalidFormat:3"));
  EXPECT_THAT(Found("FROM a\nEXPOSE 80-90/tcp\n"), IsEmpty());
}

TEST(LintTest, ExperimentalRulesAreOffUnlessAskedFor) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore, DockerIgnore::FromPatterns({"*.log", "dir"}));
  const LintOptions options{.stages = {}, .ignore = &ignore, .base_image = nullptr};
  const std::string text =
      "# about nothing\nFROM a AS b\nCOPY a.log ./dir/x b /\nADD https://x/a.log /\n"
      "COPY --from=q a.log /\n# x is a thing\nARG x\n";
  EXPECT_THAT(Found(text, options), IsEmpty());
  EXPECT_THAT(
      Found("# check=experimental=all\n" + text, options),
      ElementsAre("InvalidDefinitionDescription:3", "CopyIgnoredFile:4", "CopyIgnoredFile:4"));
  EXPECT_THAT(Found("# check=experimental=CopyIgnoredFile\n" + text, options),
              ElementsAre("CopyIgnoredFile:4", "CopyIgnoredFile:4"));
}

TEST(LintTest, RulesAreSkipped) {
  const std::string text = "FROM a as B\nCMD b\n";
  EXPECT_THAT(Found(text), SizeIs(3));
  EXPECT_THAT(Found("# check=skip=StageNameCasing,FromAsCasing\n" + text),
              ElementsAre("JSONArgsRecommended:3"));
  EXPECT_THAT(Found("# check=skip=all\n" + text), IsEmpty());
  EXPECT_THAT(Found("# check=skip=all;error=true\n" + text), IsEmpty());
}

TEST(LintTest, ACommentSkipsForItsInstruction) {
  EXPECT_THAT(Found("FROM a\n# check=skip=JSONArgsRecommended\nENTRYPOINT x\nCMD b\n"),
              ElementsAre("JSONArgsRecommended:4"));
  EXPECT_THAT(Found("FROM a\n# check=that it works\nCMD b\n"),
              ElementsAre("JSONArgsRecommended:3"));
}

TEST(LintTest, WarningsMayBeErrors) {
  EXPECT_TRUE(LintOf("# check=error=true\nFROM a\nCMD b\n")->is_error);
  EXPECT_FALSE(LintOf("# check=error=true\nFROM a\n")->is_error);
  EXPECT_FALSE(LintOf("FROM a\nCMD b\n")->is_error);
}

TEST(LintTest, AnUnknownCheckOptionIsRefused) {
  for (const char* option : {"skp=all", "skip", "error=maybe", "x"}) {
    EXPECT_THAT(LintOf(absl::StrCat("# check=", option, "\nFROM a\n")),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("Dockerfile:1:1: invalid check option")))
        << option;
  }
}

TEST(LintTest, AFileThatCannotBeBuiltHasItsWarningsAllTheSame) {
  EXPECT_THAT(Found("FROM a AS B\nCOPY --from=9 a b\n"), ElementsAre("StageNameCasing:1"));
  EXPECT_THAT(Found("MAINTAINER x\n"), ElementsAre("MaintainerDeprecated:1"));
}

TEST(ImageNameTest, LooksLikeAnImage) {
  for (const char* name :
       {"a", "alpine", "alpine:3.20", "library/alpine", "docker.io/library/alpine:latest",
        "localhost/x", "localhost:5000/x/y:Tag_1", "gcr.io/a-b/c__d/e.f", "scratch", "a--b",
        "a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "a:1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}) {
    EXPECT_TRUE(LooksLikeImageName(name)) << name;
  }
  for (const char* name :
       {"",   ":",   "a:",    ":1",   "A",  "a/", "/a",   "a//b", "a b",        "a:1:2",
        "a@", "a@x", "a___b", "a..b", "-a", "a-", "a:-1", "$a",   "docker.io/", "a@sha256:12"}) {
    EXPECT_FALSE(LooksLikeImageName(name)) << name;
  }
}

}  // namespace
}  // namespace farm
