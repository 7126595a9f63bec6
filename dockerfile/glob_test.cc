#include "dockerfile/glob.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "dockerfile/clean_path.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<bool> MatchGlob(absl::string_view pattern, absl::string_view path) {
  ASSIGN_OR_RETURN(const GlobPattern parsed, GlobPattern::Parse(pattern, {}));
  uint64_t steps = 0;
  return parsed.Matches(path, steps);
}

struct Case {
  std::string pattern;
  std::string path;
  bool matches;
};

TEST(GlobTest, MatchesAsFilepathMatchDoes) {
  const std::vector<Case> cases = {
      {"abc", "abc", true},
      {"abc", "abd", false},
      {"", "", true},
      {"", "a", false},
      {"*", "abc", true},
      {"*", "", true},
      {"*c", "abc", true},
      {"a*", "a", true},
      {"a*", "abc", true},
      {"a*", "ab/c", false},
      {"a*/b", "abc/b", true},
      {"a*/b", "a/c/b", false},
      {"a*b*c*d*e*/f", "axbxcxdxe/f", true},
      {"a*b*c*d*e*/f", "axbxcxdxexxx/f", true},
      {"a*b*c*d*e*/f", "axbxcxdxe/xxx/f", false},
      {"a*b*c*d*e*/f", "axbxcxdxexxx/fff", false},
      {"a*b?c*x", "abxbbxdbxebxczzx", true},
      {"a*b?c*x", "abxbbxdbxebxczzy", false},
      {"ab[c]", "abc", true},
      {"ab[b-d]", "abc", true},
      {"ab[e-g]", "abc", false},
      {"ab[^c]", "abc", false},
      {"ab[^b-d]", "abc", false},
      {"ab[^e-g]", "abc", true},
      {"a\\*b", "a*b", true},
      {"a\\*b", "ab", false},
      {"a?b", "a\u263ab", true},
      {"a[^a]b", "a\u263ab", true},
      {"a???b", "a\u263ab", false},
      {"a[^a][^a][^a]b", "a\u263ab", false},
      {"[a-\u03b6]*", "\u03b1", true},
      {"*[a-\u03b6]", "A", false},
      {"a?b", "a/b", false},
      {"a*b", "a/b", false},
      {"a[^x]b", "a/b", true},
      {"[\\]a]", "]", true},
      {"[\\-]", "-", true},
      {"[x\\-]", "x", true},
      {"[x\\-]", "-", true},
      {"[x\\-]", "z", false},
      {"[\\-x]", "x", true},
      {"*x", "xxx", true},
      {"*.go", "main.go", true},
      {"*.go", "cmd/main.go", false},
      {"*/*.go", "cmd/main.go", true},
      {"?", "", false},
      {"?", "ab", false},
      {"**", "a/b", false},
      {"**", "ab", true},
      {"a**b", "axxb", true},
      {"[0-9]*", "7up", true},
      {".*", ".git", true},
      {"*", ".git", true},
      {"a\\b", "ab", true},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(MatchGlob(c.pattern, c.path), IsOkAndHolds(c.matches))
        << c.pattern << " on " << c.path;
  }
}

TEST(GlobTest, MalformedPatternsAreRefused) {
  for (const char* pattern : {"[", "[a", "[]", "[]a]", "[^", "[^]", "[-]", "[x-]", "[-x]", "[a-",
                              "[a-]", "[\\", "a[", "a\\", "\\", "[b-a]", "[^b-a]", "x[[]y[z"}) {
    EXPECT_THAT(MatchGlob(pattern, "a"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("malformed pattern")))
        << pattern;
  }
}

TEST(GlobTest, APatternOverTheLimitIsRefused) {
  EXPECT_THAT(MatchGlob(std::string(kGlobBytesMax + 1, 'a'), "a"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(GlobTest, DoubleStarCrossesComponents) {
  const std::vector<Case> cases = {
      {"**", "a", true},         {"**", "a/b/c", true},       {"a/**", "a/b", true},
      {"a/**", "a/b/c", true},   {"a/**", "a", false},        {"a/**", "ab", false},
      {"**/c", "c", true},       {"**/c", "a/b/c", true},     {"**/c", "a/bc", false},
      {"a/**/c", "a/c", true},   {"a/**/c", "a/b/c", true},   {"a/**/c", "a/b/b/c", true},
      {"a/**/c", "a/bc", false}, {"a**c", "ac", true},        {"a**c", "ab/c", true},
      {"a**c", "abc", false},    {"**/*.go", "x/y.go", true}, {"**/*.go", "y.go", true},
      {"**/*.go", "y.c", false}, {"a/**/*", "a/b", true},
  };
  for (const Case& c : cases) {
    ASSERT_OK_AND_ASSIGN(const GlobPattern pattern,
                         GlobPattern::Parse(c.pattern, {.double_star = true}));
    uint64_t steps = 0;
    EXPECT_EQ(pattern.Matches(c.path, steps), c.matches) << c.pattern << " on " << c.path;
  }
}

TEST(GlobTest, MayMatchBeginningWithSaysWhetherLongerPathsMatch) {
  const std::vector<Case> cases = {
      {"a/b", "a/", true},    {"a/b", "b/", false},     {"a/b", "a/b", true},
      {"a/b", "a/b/", false}, {"*/b", "x/", true},      {"*/b", "x/y/", false},
      {"**/b", "x/y/", true}, {"a/**", "a/x/y/", true}, {"a*/b", "ax/", true},
      {"a*/b", "b/", false},  {"*.go", "a/", false},
  };
  for (const Case& c : cases) {
    ASSERT_OK_AND_ASSIGN(const GlobPattern pattern,
                         GlobPattern::Parse(c.pattern, {.double_star = true}));
    uint64_t steps = 0;
    EXPECT_EQ(pattern.MayMatchBeginningWith(c.path, steps), c.matches)
        << c.pattern << " on " << c.path;
  }
}

TEST(GlobTest, AHostilePatternTakesLinearTime) {
  std::string pattern;
  for (int i = 0; i < 200; ++i) pattern += "a*";
  ASSERT_OK_AND_ASSIGN(const GlobPattern glob, GlobPattern::Parse(pattern + "b", {}));
  uint64_t steps = 0;
  EXPECT_FALSE(glob.Matches(std::string(2000, 'a'), steps));
  EXPECT_GT(steps, 0u);
  EXPECT_LE(steps, 402u * 2000u);
}

TEST(GlobTest, HasGlobSeesOnlyWhatIsNotEscaped) {
  EXPECT_TRUE(HasGlob("a*"));
  EXPECT_TRUE(HasGlob("a?b"));
  EXPECT_TRUE(HasGlob("[a]"));
  EXPECT_TRUE(HasGlob("\\\\*"));
  EXPECT_FALSE(HasGlob("a"));
  EXPECT_FALSE(HasGlob("a\\*"));
  EXPECT_FALSE(HasGlob("a\\"));
  EXPECT_FALSE(HasGlob(""));
}

TEST(CleanPathTest, GivesTheShortestPath) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "."},         {".", "."},
      {"/", "/"},        {"//", "/"},
      {"a", "a"},        {"a/", "a"},
      {"./a", "a"},      {"a/./b", "a/b"},
      {"a//b", "a/b"},   {"a/../b", "b"},
      {"..", ".."},      {"../a", "../a"},
      {"a/../..", ".."}, {"/..", "/"},
      {"/../a", "/a"},   {"/a/b/../c/", "/a/c"},
      {"a/..", "."},     {"../../a", "../../a"},
      {"/./", "/"},      {"a/b/..", "a"}};
  for (const auto& [path, clean] : cases) EXPECT_EQ(CleanPath(path), clean) << path;
}

TEST(LeadsOutTest, TellsWhetherDotsLeadAboveTheStart) {
  for (const char* path : {"..", "../a", "/..", "//../a", "a/../..", "./../a", "a/../../b/c"}) {
    EXPECT_TRUE(LeadsOut(path)) << path;
  }
  for (const char* path : {"", "/", "a", "..a", "a/..", "a/b/../..", "/a/../b"}) {
    EXPECT_FALSE(LeadsOut(path)) << path;
  }
}

}  // namespace
}  // namespace farm
