#include "dockerfile/expand.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const std::map<std::string, std::string>& Variables() {
  static const auto* const variables =
      new std::map<std::string, std::string>{{"A", "alpha"},       {"B", "beta"},
                                             {"EMPTY", ""},        {"SP", "one  two"},
                                             {"PATHS", "/a/b/c"},  {"FILE", "lib.tar.gz"},
                                             {"STAR", "a*b*c"},    {"Q", "it's"},
                                             {"DQ", "say \"hi\""}, {"UNI", "\u00e4\u00f6\u00fc"},
                                             {"NL", "x\ny"},       {"_u1", "under"},
                                             {"BS", "a\\b"},       {"DOLLAR", "$A"},
                                             {"REP", "aXbXc"},     {"1", "first"},
                                             {"12", "twelfth"},    {"V", "1.2.3"},
                                             {"PAT", "*/"},        {"URL", "http://host/x"}};
  return *variables;
}

std::optional<std::string> Lookup(absl::string_view name) {
  const auto found = Variables().find(std::string(name));
  if (found == Variables().end()) return std::nullopt;
  return found->second;
}

struct Case {
  std::string word;
  std::string text;
};

void ExpectAll(const std::vector<Case>& cases, ExpandOptions options = {}) {
  const Expander expander(options, Lookup);
  for (const Case& c : cases) {
    EXPECT_THAT(expander.ExpandWord(c.word), IsOkAndHolds(c.text)) << "word: " << c.word;
  }
}

TEST(ExpandTest, PlainTextStays) {
  ExpectAll({{"", ""},
             {"a", "a"},
             {"a b", "a b"},
             {"  a  b  ", "  a  b  "},
             {"a=b", "a=b"},
             {"/usr/local/bin", "/usr/local/bin"},
             {"a<b", "a<b"},
             {"a<<b", "a<<b"},
             {"<< b", "<< b"},
             {"{a}", "{a}"},
             {"}", "}"},
             {"a#b", "a#b"},
             {"\u00e4\u20ac", "\u00e4\u20ac"},
             {"100%", "100%"},
             {"a/b:c-d+e?f", "a/b:c-d+e?f"},
             {"\xff\xfe", "\xff\xfe"}});
}

TEST(ExpandTest, VariablesAreReplaced) {
  ExpectAll({{"$A", "alpha"},
             {"${A}", "alpha"},
             {"$A$B", "alphabeta"},
             {"${A}${B}", "alphabeta"},
             {"x$A", "xalpha"},
             {"x${A}y", "xalphay"},
             {"$A.txt", "alpha.txt"},
             {"$A-$B", "alpha-beta"},
             {"$A/$B", "alpha/beta"},
             {"$A:$B", "alpha:beta"},
             {"$_u1", "under"},
             {"${_u1}x", "underx"},
             {"$A\u2014\u00e4", "alpha\u2014\u00e4"},
             {"$EMPTY", ""},
             {"[$EMPTY]", "[]"},
             {"$UNSET", ""},
             {"[${UNSET}]", "[]"},
             {"$A_B", ""},
             {"$AB", ""},
             {"$SP", "one  two"},
             {"$Q", "it's"},
             {"$DQ", "say \"hi\""},
             {"$BS", "a\\b"},
             {"$UNI", "\u00e4\u00f6\u00fc"}});
}

TEST(ExpandTest, AValueIsNotExpandedAgain) { ExpectAll({{"$DOLLAR", "$A"}, {"${DOLLAR}", "$A"}}); }

TEST(ExpandTest, ADollarWithoutANameStays) {
  ExpectAll({{"$", "$"},
             {"a$", "a$"},
             {"$ a", "$ a"},
             {"$/x", "$/x"},
             {"$.", "$."},
             {"$=", "$="},
             {"$%", "$%"},
             {"$(ls)", "$(ls)"},
             {"$,$", "$,$"},
             {"$\u2014", "$\u2014"}});
}

TEST(ExpandTest, SpecialParametersAreOneCharacterAndNumbersAreAllDigits) {
  ExpectAll({{"$$A", "A"},
             {"$@x", "x"},
             {"$*x", "x"},
             {"$#x", "x"},
             {"$?x", "x"},
             {"$-x", "x"},
             {"$!x", "x"},
             {"$0x", "x"},
             {"$1x", "firstx"},
             {"$12x", "twelfthx"},
             {"${1}2", "first2"},
             {"${12}", "twelfth"},
             {"$123", ""},
             {"${@}", ""},
             {"${#}", ""}});
}

TEST(ExpandTest, SingleQuotesKeepAllAsItIs) {
  ExpectAll({{"'a'", "a"},
             {"''", ""},
             {"'$A'", "$A"},
             {"'${A'", "${A"},
             {"'a\\'", "a\\"},
             {"'\"'", "\""},
             {"x'y'z", "xyz"},
             {"'a b'", "a b"},
             {"$A'$B'$A", "alpha$Balpha"}});
}

TEST(ExpandTest, DoubleQuotesKeepAllButVariablesAndEscapes) {
  ExpectAll({{"\"a\"", "a"},
             {"\"\"", ""},
             {"\"$A\"", "alpha"},
             {"\"${A}\"", "alpha"},
             {"\"a 'b' c\"", "a 'b' c"},
             {"\"'$A'\"", "'alpha'"},
             {"\"\\\"\"", "\""},
             {"\"\\$A\"", "$A"},
             {"\"\\\\\"", "\\"},
             {"\"\\n\"", "\\n"},
             {"\"\\a\\b\"", "\\a\\b"},
             {"\"a\"\"b\"", "ab"},
             {"x\"y\"z", "xyz"},
             {"\"$\"", "$"},
             {"\"$SP\"", "one  two"},
             {"\"${UNSET:-\"x\"}\"", "x"}});
}

TEST(ExpandTest, TheEscapeCharacterTakesTheMeaningFromTheNext) {
  ExpectAll({{"\\$A", "$A"},
             {"\\\\$A", "\\alpha"},
             {"\\\\\\$A", "\\$A"},
             {"\\'a\\'", "'a'"},
             {"\\\"a\\\"", "\"a\""},
             {"\\a", "a"},
             {"a\\", "a"},
             {"\\", ""},
             {"a\\ b", "a b"},
             {"$\\A", "$A"},
             {"\\${A}", "${A}"},
             {"`$A`", "`alpha`"}});
}

TEST(ExpandTest, TheEscapeCharacterIsTheFiles) {
  ExpectAll({{"`$A", "$A"},
             {"``$A", "`alpha"},
             {"\\$A", "\\alpha"},
             {"\"`\"\"", "\""},
             {"\"`$A\"", "$A"},
             {"\"\\$A\"", "\\alpha"},
             {"C:\\x", "C:\\x"},
             {"a`", "a"}},
            {.escape = '`'});
}

TEST(ExpandTest, MinusGivesADefault) {
  ExpectAll({{"${A-x}", "alpha"},
             {"${A:-x}", "alpha"},
             {"${EMPTY-x}", ""},
             {"${EMPTY:-x}", "x"},
             {"${UNSET-x}", "x"},
             {"${UNSET:-x}", "x"},
             {"${UNSET-}", ""},
             {"${UNSET:-}", ""},
             {"${UNSET:-a b}", "a b"},
             {"${UNSET:-/usr/lib}", "/usr/lib"},
             {"${UNSET:-a:b-c}", "a:b-c"},
             {"${UNSET--}", "-"},
             {"${UNSET:--}", "-"},
             {"${UNSET:-'$A'}", "$A"},
             {"${UNSET:-\"$A\"}", "alpha"},
             {"${UNSET:-\\}}", "}"},
             {"${UNSET:-'}'}", "}"},
             {"${UNSET:-{}}", "{}"},
             {"${1:-x}", "first"},
             {"${9:-x}", "x"}});
}

TEST(ExpandTest, PlusGivesAReplacement) {
  ExpectAll({{"${A+x}", "x"},
             {"${A:+x}", "x"},
             {"${EMPTY+x}", "x"},
             {"${EMPTY:+x}", ""},
             {"${UNSET+x}", ""},
             {"${UNSET:+x}", ""},
             {"${A+}", ""},
             {"${A:+$B}", "beta"},
             {"${A:+-${A}}", "-alpha"},
             {"${EMPTY:+-${EMPTY}}", ""},
             {"v${A:+-${A}}.gz", "v-alpha.gz"}});
}

TEST(ExpandTest, QuestionMarkDemands) {
  ExpectAll({{"${A?}", "alpha"},
             {"${A?x}", "alpha"},
             {"${A:?x}", "alpha"},
             {"${EMPTY?x}", ""},
             {"${A:?${UNSET:-x}}", "alpha"}});
}

TEST(ExpandTest, WordsNest) {
  ExpectAll({{"${UNSET:-$A}", "alpha"},
             {"${UNSET:-${A}}", "alpha"},
             {"${UNSET:-${UNSET2:-x}}", "x"},
             {"${UNSET:-${UNSET2:-${B}}}", "beta"},
             {"${UNSET:-a${B}c}", "abetac"},
             {"${UNSET:-${A:+${B}}}", "beta"},
             {"${A#${UNSET:-al}}", "pha"},
             {"${UNSET:-${A/a/${B}}}", "betalpha"},
             {"${UNSET:-${FILE%.gz}}", "lib.tar"}});
}

TEST(ExpandTest, HashTrimsPrefixes) {
  ExpectAll({{"${A#al}", "pha"},         {"${A#x}", "alpha"},
             {"${A#a*}", "lpha"},        {"${A##a*}", ""},
             {"${A#}", "alpha"},         {"${A##}", "alpha"},
             {"${A#*}", "alpha"},        {"${A##*}", ""},
             {"${A#?}", "lpha"},         {"${A#??}", "pha"},
             {"${A#??????}", "alpha"},   {"${PATHS#*/}", "a/b/c"},
             {"${PATHS##*/}", "c"},      {"${PATHS#/*/}", "b/c"},
             {"${PATHS##/*/}", "c"},     {"${FILE#*.}", "tar.gz"},
             {"${FILE##*.}", "gz"},      {"${STAR#a\\*}", "b*c"},
             {"${STAR##*\\*}", "c"},     {"${UNI#?}", "\u00f6\u00fc"},
             {"${UNSET#x}", ""},         {"${EMPTY#*}", ""},
             {"${PATHS#$PAT}", "a/b/c"}, {"${PATHS##$PAT}", "c"},
             {"${A#alpha}", ""},         {"${A#lpha}", "alpha"},
             {"${V#v}", "1.2.3"},        {"${V##*.}", "3"},
             {"${A#[a]}", "alpha"},      {"${NL#*y}", "x\ny"},
             {"${BS#a\\\\}", "b"}});
}

TEST(ExpandTest, PercentTrimsSuffixes) {
  ExpectAll({{"${A%ha}", "alp"},        {"${A%x}", "alpha"},     {"${A%a*}", "alph"},
             {"${A%%a*}", ""},          {"${A%%l*}", "a"},       {"${A%}", "alpha"},
             {"${A%%}", "alpha"},       {"${A%*}", "alpha"},     {"${A%%*}", ""},
             {"${A%?}", "alph"},        {"${PATHS%/*}", "/a/b"}, {"${PATHS%%/*}", ""},
             {"${FILE%.*}", "lib.tar"}, {"${FILE%%.*}", "lib"},  {"${FILE%.tar.gz}", "lib"},
             {"${STAR%\\*c}", "a*b"},   {"${STAR%%\\**}", "a"},  {"${UNI%?}", "\u00e4\u00f6"},
             {"${UNSET%x}", ""},        {"${V%.*}", "1.2"},      {"${V%%.*}", "1"},
             {"${A%alpha}", ""},        {"${NL%x*}", "x\ny"}});
}

TEST(ExpandTest, SlashReplaces) {
  ExpectAll({{"${REP/X/-}", "a-bXc"},
             {"${REP//X/-}", "a-b-c"},
             {"${REP/X/}", "abXc"},
             {"${REP//X/}", "abc"},
             {"${REP/Y/-}", "aXbXc"},
             {"${REP/X*/-}", "a-"},
             {"${REP/a*X/-}", "-c"},
             {"${REP//?X/-}", "--c"},
             {"${REP/*/-}", "-"},
             {"${REP//*/-}", "-"},
             {"${PATHS/\\//-}", "-a/b/c"},
             {"${PATHS//\\//-}", "-a-b-c"},
             {"${STAR//\\*/-}", "a-b-c"},
             {"${V//./_}", "1_2_3"},
             {"${V/./_}", "1_2.3"},
             {"${URL/http:\\/\\//ftp:}", "ftp:host/x"},
             {"${A/a/$B}", "betalpha"},
             {"${A//a/$B}", "betalphbeta"},
             {"${A/$UNSET/x}", "xalpha"},
             {"${A///x}", "xaxlxpxhxax"},
             {"${A//$EMPTY/-}", "-a-l-p-h-a-"},
             {"${EMPTY/*/x}", "x"},
             {"${EMPTY//*/x}", "x"},
             {"${UNSET/a/b}", ""},
             {"${UNI/\u00f6/o}", "\u00e4o\u00fc"},
             {"${NL//*/-}", "-\n-"},
             {"${A/a/\\/}", "\\/lpha"}});
}

TEST(ExpandTest, SyntaxErrorsAreRefused) {
  const Expander expander({}, Lookup);
  for (const char* word :
       {"${",      "${A",      "${A:",    "${A:-",      "${A:-x",  "${A:-${B}", "${}",
        "${:}",    "${:-x}",   "${{A}}",  "${A=x}",     "${A:=x}", "${A!x}",    "${A@Q}",
        "${A:x}",  "${A^^}",   "${A,}",   "${A/",       "${A/x",   "${A/x}",    "${A//x}",
        "${A/x/y", "'",        "'a",      "\"",         "\"a",     "\"${A\"",   "\"a\\\"",
        "a'b",     "${A#\\x}", "${A%\\}", "${A/\\y/z}", "${A:-'}", "${A:-\"}",  "${-x}",
        "${$x}",   "$A${"}) {
    EXPECT_THAT(expander.ExpandWord(word), StatusIs(absl::StatusCode::kInvalidArgument)) << word;
  }
}

TEST(ExpandTest, ADemandThatFailsGivesItsMessage) {
  const Expander expander({}, Lookup);
  const std::vector<Case> cases = {{"${UNSET?}", "UNSET: is not allowed to be unset"},
                                   {"${UNSET:?}", "UNSET: is not allowed to be unset"},
                                   {"${EMPTY:?}", "EMPTY: is not allowed to be empty"},
                                   {"${UNSET?want $A}", "UNSET: want alpha"},
                                   {"${EMPTY:?give it}", "EMPTY: give it"}};
  for (const Case& c : cases) {
    EXPECT_THAT(expander.ExpandWord(c.word),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.text)));
  }
}

TEST(ExpandTest, NamesAreOfLettersOfAllScripts) {
  ExpectAll(
      {{"$A\u5e74", ""}, {"$\u5e74\u00fc", ""}, {"${A\u5e74:-x}", "x"}, {"$A\xff", "alpha\xff"}});
}

TEST(ExpandTest, KeepUnsetLeavesReferencesAsTheyAre) {
  ExpectAll({{"$UNSET", "$UNSET"},
             {"${UNSET}", "${UNSET}"},
             {"${UNSET:-x}", "${UNSET:-x}"},
             {"${UNSET:=x}", "${UNSET:=x}"},  // the shell's
             {"${UNSET:0:3}", "${UNSET:0:3}"},
             {"${UNSET: -1}", "${UNSET: -1}"},
             {"${UNSET+x}", "${UNSET+x}"},
             {"${UNSET?x}", "${UNSET?x}"},
             {"${UNSET##x}", "${UNSET##x}"},
             {"${UNSET/a/b}", "${UNSET/a/b}"},
             {"${UNSET//a/b}", "${UNSET//a/b}"},
             {"$A$UNSET", "alpha$UNSET"}},
            {.keep_unset = true});
}

TEST(ExpandTest, KeepQuotesLeavesThem) {
  ExpectAll({{"'a'", "'a'"},
             {"\"a\"", "\"a\""},
             {"\"$A\"", "\"alpha\""},
             {"'$A'", "'$A'"},
             {"x'y z'", "x'y z'"}},
            {.keep_quotes = true});
}

TEST(ExpandTest, KeepEscapesLeavesThem) {
  ExpectAll({{"\\a", "\\a"}, {"\\$A", "\\$A"}, {"a\\", "a\\"}, {"\"\\\"\"", "\\\""}},
            {.keep_escapes = true});
}

TEST(ExpandTest, HeredocsExpandVariablesAndLeaveQuotes) {
  const std::vector<Case> cases = {{"hello $A\n", "hello alpha\n"},
                                   {"it's \"$A\"\n", "it's \"alpha\"\n"},
                                   {"\\$A\n", "$A\n"},
                                   {"'${B}'\n", "'beta'\n"},
                                   {"a\nb\n", "a\nb\n"}};
  for (const Case& c : cases) {
    ASSERT_OK_AND_ASSIGN(Expansion expansion, ExpandHeredoc(c.word, Lookup));
    EXPECT_EQ(expansion.text, c.text);
  }
}

TEST(ExpandTest, WordsAreSplitAtSpacesThatAreNotQuoted) {
  struct WordsCase {
    std::string word;
    std::vector<std::string> words;
  };
  const std::vector<WordsCase> cases = {{"", {}},
                                        {"a", {"a"}},
                                        {"a b", {"a", "b"}},
                                        {"  a\t b ", {"a", "b"}},
                                        {"'a b'", {"a b"}},
                                        {"\"a b\" c", {"a b", "c"}},
                                        {"a'b c'd", {"ab cd"}},
                                        {"a\\ b", {"a b"}},
                                        {"$SP", {"one", "two"}},
                                        {"\"$SP\"", {"one  two"}},
                                        {"x$SP", {"xone", "two"}},
                                        {"'' a", {"a"}},
                                        {"$EMPTY", {}},
                                        {"<< EOF x", {"<< EOF", "x"}},
                                        {"<<EOF", {"<<EOF"}},
                                        {"a < b", {"a", "<", "b"}},
                                        {"${UNSET:-a b}", {"a", "b"}}};
  const Expander expander({}, Lookup);
  for (const WordsCase& c : cases) {
    ASSERT_OK_AND_ASSIGN(Expansion expansion, expander.Expand(c.word));
    EXPECT_EQ(expansion.words, c.words) << c.word;
  }
}

TEST(ExpandTest, UsedAndUnsetVariablesAreReported) {
  const Expander expander({}, Lookup);
  ASSERT_OK_AND_ASSIGN(Expansion expansion,
                       expander.Expand("$A ${UNSET:-$B} \"${EMPTY:+$NO}\" '$Q' $A"));
  EXPECT_THAT(expansion.used, UnorderedElementsAre("A", "B", "EMPTY"));
  EXPECT_THAT(expansion.unset, UnorderedElementsAre("NO", "UNSET"));
}

TEST(ExpandTest, PlainTextUsesNoVariable) {
  ASSERT_OK_AND_ASSIGN(Expansion expansion, Expander({}, Lookup).Expand("\\$A '$B' $"));
  EXPECT_THAT(expansion.used, IsEmpty());
  EXPECT_THAT(expansion.unset, IsEmpty());
}

TEST(ExpandTest, NestingIsBounded) {
  std::string word;
  for (int i = 0; i <= kExpansionDepthMax; ++i) word += "${U:-";
  EXPECT_THAT(Expander({}, Lookup).ExpandWord(word),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(ExpandTest, ResultsAreBounded) {
  const std::string big(kExpansionBytesMax / 2, 'x');
  const Expander expander({}, [&](absl::string_view) { return big; });
  EXPECT_OK(expander.ExpandWord("$A$B"));
  EXPECT_THAT(expander.ExpandWord("$A$B$C"), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(expander.ExpandWord("\"$A$B$C\""), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(expander.ExpandWord("${A//x/yyyy}"), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(ExpandTest, PatternsAreBounded) {
  const std::string value(100'000, 'x');
  const Expander expander({}, [&](absl::string_view) { return value; });
  EXPECT_THAT(expander.ExpandWord("${A//x*x*x*y/}"),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

}  // namespace
}  // namespace farm
