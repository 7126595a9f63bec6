#include "dockerfile/parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

absl::StatusOr<Dockerfile> Parse(std::string text) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", std::move(text));
  if (!source.ok()) return source.status();
  return ParseDockerfile(*std::move(source));
}

MATCHER_P(IsMistake, message, "") {
  return testing::ExplainMatchResult(
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)), arg, result_listener);
}

TEST(DockerfileSourceTest, FindsLinesAndColumns) {
  ASSERT_OK_AND_ASSIGN(DockerfileSource source, DockerfileSource::Create("D", "ab\r\nc\n\nd"));
  EXPECT_EQ(source.line_count(), 4);
  EXPECT_EQ(source.Line(1), "ab");
  EXPECT_EQ(source.LineWithEnd(1), "ab\r\n");
  EXPECT_EQ(source.Line(3), "");
  EXPECT_EQ(source.LineWithEnd(4), "d");
  EXPECT_EQ(source.Line(0), "");
  EXPECT_EQ(source.Line(5), "");
  EXPECT_EQ(source.PositionAt(4), (SourcePosition{.file = "D", .line = 2, .column = 1}));
  EXPECT_EQ(source.PositionAt(7).ToString(), "D:4:1");
}

TEST(DockerfileSourceTest, AByteOrderMarkIsDropped) {
  ASSERT_OK_AND_ASSIGN(DockerfileSource source, DockerfileSource::Create("D",
                                                                         "\xEF\xBB\xBF"
                                                                         "ab"));
  EXPECT_EQ(source.text(), "ab");
}

TEST(DockerfileSourceTest, WhatIsNoDockerfileIsRefused) {
  EXPECT_THAT(DockerfileSource::Create("D", ""), IsMistake("D: the Dockerfile is empty"));
  EXPECT_THAT(DockerfileSource::Create("D", "\xEF\xBB\xBF"), IsMistake("empty"));
  EXPECT_THAT(DockerfileSource::Create("D", std::string("F\nx\0", 4)), IsMistake("D:2:2: "));
  EXPECT_THAT(DockerfileSource::Create("D", std::string(kDockerfileBytesMax + 1, '\n')),
              IsMistake("more than the limit of 10000000"));
  EXPECT_OK(DockerfileSource::Create("D", std::string(kDockerfileBytesMax, '\n')));
}

TEST(ParserTest, AnErrorCarriesItsPositionAndLine) {
  const absl::Status status = Parse("FROM a\n  RNU x\n").status();
  std::string line;
  const std::optional<SourcePosition> position = PositionOf(status, &line);
  ASSERT_TRUE(position.has_value());
  EXPECT_EQ(*position, (SourcePosition{.file = "Dockerfile", .line = 2, .column = 3}));
  EXPECT_EQ(line, "  RNU x");
  EXPECT_THAT(status, IsMistake("Dockerfile:2:3: unknown instruction: RNU (did you mean RUN?)"));
}

TEST(ParserTest, TooManyInstructionsAreRefused) {
  std::string text = "FROM a\n";
  for (size_t i = 0; i < kInstructionsMax; ++i) text += "RUN\n";
  EXPECT_THAT(Parse(text), IsMistake("more than 100000 instructions"));
}

TEST(ParserTest, TooManyArgumentsAreRefused) {
  std::string text = "FROM a\nEXPOSE";
  for (size_t i = 0; i <= kInstructionWordsMax; ++i) text += " 1";
  EXPECT_THAT(Parse(text), IsMistake("EXPOSE has more than 100000 arguments"));
}

TEST(ParserTest, TooManyHeredocsAreRefused) {
  std::string text = "FROM a\nRUN x";
  for (size_t i = 0; i <= kHeredocsMax; ++i) text += " <<E";
  EXPECT_THAT(Parse(text), IsMistake("more than 1000 heredocs"));
}

TEST(ParserTest, ALargeHeredocIsRead) {
  const std::string data(5'000'000, 'x');
  ASSERT_OK_AND_ASSIGN(Dockerfile file,
                       Parse(absl::StrCat("FROM a\nCOPY <<E /x\n", data, "\nE\n")));
  EXPECT_THAT(file.instructions[1].heredocs[0].data, SizeIs(data.size() + 1));
}

TEST(ParserTest, OfTwoHeredocsOfANameTheLastIsMeant) {
  ASSERT_OK_AND_ASSIGN(Dockerfile file, Parse("FROM a\nCOPY <<E <<E /x\n1\nE\n2\nE\n"));
  const auto& copy = std::get<CopyInstruction>(file.instructions[1].body).copy;
  ASSERT_THAT(copy.sources, SizeIs(2));
  EXPECT_EQ(copy.sources[0].heredoc, 1u);
  EXPECT_EQ(copy.sources[1].heredoc, 1u);
}

TEST(ParseTriggerTest, ATriggerIsAnInstructionAtItsFrom) {
  const SourcePosition from{.file = "Dockerfile", .line = 7, .column = 1};
  ASSERT_OK_AND_ASSIGN(Instruction instruction,
                       ParseTrigger("COPY --from=x <<E a /b\ntext\nE", from));
  EXPECT_EQ(instruction.position, from);
  EXPECT_EQ(instruction.end_line, 7);
  EXPECT_EQ(instruction.flags[0].position, from);
  EXPECT_EQ(instruction.heredocs[0].data, "text\n");
  EXPECT_EQ(std::get<CopyInstruction>(instruction.body).from, "x");
}

TEST(ParseTriggerTest, MistakesPointAtTheFrom) {
  const SourcePosition from{.file = "Dockerfile", .line = 7, .column = 1};
  for (const char* trigger :
       {"", "RNU x", "COPY a", "FROM x", "ONBUILD RUN x", "MAINTAINER x", "RUN a\nRUN b"}) {
    EXPECT_THAT(ParseTrigger(trigger, from), IsMistake("Dockerfile:7:1: ")) << trigger;
  }
  EXPECT_THAT(ParseTrigger("RNU x", from), IsMistake("Dockerfile:7:1: unknown instruction: RNU"));
}

TEST(ParserTest, ALineMayBeginWithAContinuationAlone) {
  const absl::StatusOr<Dockerfile> file = Parse("FROM a\n\\\n  RUN x\n");
  ASSERT_OK(file);
  ASSERT_THAT(file->instructions, SizeIs(2));
  EXPECT_EQ(file->instructions[1].name, "RUN");
  EXPECT_EQ(file->instructions[1].end_line, 3);
}

TEST(ParserTest, AHeredocBehindAFormOfTheShellIsSeen) {
  for (const char* variable : {"${X:=y}", "${X:0:3}", "${X: -1}", "$X"}) {
    ASSERT_OK_AND_ASSIGN(const Dockerfile file,
                         Parse(absl::StrCat("FROM a\nRUN : ", variable, " && cat <<E\nx\nE\n")));
    EXPECT_THAT(file.instructions[1].heredocs, SizeIs(1)) << variable;
  }
}

TEST(ParserTest, TheEscapeCharacterOfFlagsIsTheFilesOwn) {
  ASSERT_OK_AND_ASSIGN(const Dockerfile file,
                       Parse("# escape=`\nFROM a\nCOPY --chown=a\\b:`'c x /\n"));
  EXPECT_EQ(std::get<CopyInstruction>(file.instructions[1].body).copy.chown, "a\\b:'c");
}

TEST(ParserTest, SpacesOfAllKindsMayStandAroundALine) {
  ASSERT_OK_AND_ASSIGN(const Dockerfile file,
                       Parse("\u00a0FROM a\n\u3000# comment\nUSER b\u00a0\\\n\u2003\n\u00a0\n"));
  EXPECT_EQ(std::get<UserInstruction>(file.instructions[1].body).user, "b");
}

TEST(ParserTest, DurationsAreAsGoHasThem) {
  const auto interval = [](const std::string& text) {
    return Parse(absl::StrCat("FROM a\nHEALTHCHECK --interval=", text, " CMD x\n")).status();
  };
  for (const char* good : {"5000us", "5000\u00b5s", "5000\u03bcs", "1h2m3.5s", "2562047h"}) {
    EXPECT_OK(interval(good)) << good;
  }
  for (const char* bad : {"5", "3000000h", "1d", "inf"}) EXPECT_FALSE(interval(bad).ok()) << bad;
}

TEST(ParserTest, AllCarriageReturnsAtALinesEndGo) {
  const absl::StatusOr<Dockerfile> file = Parse("FROM a\r\r\nRUN x \\\r\r\n y\r");
  ASSERT_OK(file);
  ASSERT_THAT(file->instructions, SizeIs(2));
  EXPECT_EQ(file->instructions[1].original, "RUN x  y");
}

TEST(ParserTest, ATriggerNeedNotBeKnownButMustHaveItsForm) {
  const absl::StatusOr<Dockerfile> file = Parse("FROM a\nONBUILD MAKE all  \n");
  ASSERT_OK(file);
  EXPECT_EQ(std::get<OnbuildInstruction>(file->instructions[1].body).trigger, "MAKE all  ");
  EXPECT_THAT(Parse("FROM a\nONBUILD ENV A\n"), IsMistake("ENV must have two arguments"));
  EXPECT_THAT(Parse("FROM a\nONBUILD LABEL a=b c\n"), IsMistake("can't find = in \"c\""));
  EXPECT_THAT(Parse("FROM a\nONBUILD RUN [1]\n"), IsMistake("strings only"));
}

TEST(ParserTest, PortsAreSortedAsWritten) {
  const absl::StatusOr<Dockerfile> file = Parse("FROM a\nEXPOSE 80 443 $P 8080\n");
  ASSERT_OK(file);
  EXPECT_THAT(std::get<ExposeInstruction>(file->instructions[1].body).ports,
              testing::ElementsAre("$P", "443", "80", "8080"));
}

TEST(ParserTest, TheJsonFormOfACopyHasNoHeredocs) {
  EXPECT_THAT(Parse("FROM a\nCOPY [\"<<EOF\", \"/x\"]\nb\nEOF\n"),
              IsMistake("Dockerfile:2:6: COPY in JSON form has no heredocs: \"<<EOF\""));
  EXPECT_THAT(Parse("FROM a\nADD [\"x\", \"<<EOF\"]\n"), IsMistake("no heredocs"));
}

}  // namespace
}  // namespace farm
