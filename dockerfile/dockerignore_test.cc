#include "dockerfile/dockerignore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string file;  // Of .dockerignore.
  std::vector<std::string> ignored;
  std::vector<std::string> kept;
};

void ExpectAll(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const absl::StatusOr<DockerIgnore> ignore = DockerIgnore::Parse(".dockerignore", c.file);
    ASSERT_OK(ignore.status()) << c.file;
    for (const std::string& path : c.ignored) EXPECT_TRUE(ignore->Ignores(path)) << c.file << path;
    for (const std::string& path : c.kept) EXPECT_FALSE(ignore->Ignores(path)) << c.file << path;
  }
}

TEST(DockerIgnoreTest, ANameIsIgnoredAtTheTopWithAllBeneath) {
  ExpectAll({{"", {}, {"a", "a/b", ".dockerignore"}},
             {"a", {"a", "a/b", "a/b/c"}, {"b", "ab", "b/a"}},
             {"a\n", {"a"}, {"b"}},
             {"a\r\nb\r\n", {"a", "b"}, {"c"}},
             {"a/b", {"a/b", "a/b/c"}, {"a", "a/c", "b"}},
             {"node_modules\n*.log", {"node_modules/x/y.js", "a.log"}, {"src/a.log"}},
             {"Dockerfile", {"Dockerfile"}, {"dockerfile", "sub/Dockerfile"}}});
}

TEST(DockerIgnoreTest, PathsAreCleaned) {
  ExpectAll({{"/a", {"a", "a/b"}, {"b/a"}},
             {"a/", {"a", "a/b"}, {}},
             {"./a", {"a"}, {}},
             {"a/./b", {"a/b"}, {"a"}},
             {"a//b", {"a/b"}, {}},
             {"a/../b", {"b"}, {"a"}},
             {"//a", {"a"}, {}},
             {"!/a", {}, {"a"}},
             {"*\n! /a/", {"b"}, {"a", "a/c"}},
             {"../a", {}, {"a"}},
             {".", {}, {"a", "a/b"}},
             {"/", {}, {"a"}},
             {"./", {}, {"a"}}});
}

TEST(DockerIgnoreTest, SpaceAroundAPatternIsNotPartOfIt) {
  ExpectAll({{"  a  ", {"a"}, {}},
             {"\ta\t", {"a"}, {}},
             {"a b", {"a b"}, {"a", "b"}},
             {"*\n! a", {"b"}, {"a"}},
             {" \n\t\n\n", {}, {"a"}}});
}

TEST(DockerIgnoreTest, CommentsBeginInTheFirstColumn) {
  ExpectAll({{"#a\nb", {"b"}, {"#a", "a"}},
             {" #a", {"#a"}, {}},
             {"\\#a", {"#a"}, {}},
             {"a #b", {"a #b"}, {"a"}},
             {"\xEF\xBB\xBF#a", {}, {"#a"}},
             {"\xEF\xBB\xBF"
              "a",
              {"a"},
              {}}});
}

TEST(DockerIgnoreTest, StarStaysInAComponent) {
  ExpectAll({{"*", {"a", "a/b", ".git"}, {}},
             {"*.md", {"a.md", ".md"}, {"a/b.md", "a.mdx"}},
             {"*/b", {"a/b", "a/b/c"}, {"b", "a/a/b"}},
             {"*/*/b", {"a/a/b"}, {"a/b"}},
             {"a*", {"a", "ab", "ab/c"}, {"ba"}},
             {"a/*", {"a/b", "a/b/c"}, {"a"}},
             {"a/*/c", {"a/b/c"}, {"a/c", "a/b/b/c"}},
             {"*a*", {"a", "bab"}, {"b/a"}},
             {"a?c", {"abc"}, {"ac", "a/c", "abbc"}},
             {"a?", {"ab", "a\u00e4"}, {"a", "abc"}},
             {"temp?", {"temp1", "temp1/x"}, {"temp"}}});
}

TEST(DockerIgnoreTest, DoubleStarCrossesComponents) {
  ExpectAll({{"**", {"a", "a/b"}, {}},
             {"**/", {"a", "a/b"}, {}},
             {"**/b", {"b", "a/b", "a/a/b", "b/c"}, {"ab", "a/ab"}},
             {"**b", {"b", "ab", "a/b", "a/ab"}, {"ba"}},
             {"**/*.go", {"a.go", "a/b.go", "a/b/c.go"}, {"a.c"}},
             {"**/.git", {".git", "a/.git", "a/.git/config"}, {".gitignore"}},
             {"a/**", {"a/b", "a/b/c"}, {"a", "ab"}},
             {"a/**/b", {"a/b", "a/c/b", "a/c/d/b"}, {"a", "ab", "a/cb"}},
             {"a**", {"a", "ab", "a/b"}, {"b"}},
             {"**/a/**", {"a/x", "b/a/x"}, {"a", "b/a"}},
             {"**/a/*.txt", {"a/x.txt", "b/a/x.txt"}, {"a/b/x.txt"}},
             {"a/**/*.o", {"a/x.o", "a/b/x.o"}, {"x.o"}},
             {"**/b/c", {"b/c", "a/b/c"}, {"b", "c"}},
             {"***", {"a"}, {}},
             {"**/x?", {"x1", "a/x1"}, {"x", "a/x"}}});
}

TEST(DockerIgnoreTest, ClassesAndEscapes) {
  ExpectAll({{"[ab]", {"a", "b"}, {"c"}},
             {"[a-c]x", {"ax", "cx"}, {"dx"}},
             {"[^a]", {"b"}, {"a"}},
             {"a[0-9]*", {"a1", "a1b"}, {"ab"}},
             {"\\*", {"*"}, {"a"}},
             {"\\?a", {"?a"}, {"xa"}},
             {"a\\b", {"ab"}, {}},
             {"\\!a", {"!a"}, {"a"}},
             {"**/[ab].c", {"a.c", "x/b.c"}, {"c.c"}},
             {"a.b+c(d)|{e}$", {"a.b+c(d)|{e}$"}, {"axb"}},
             {"a.*", {"a.b"}, {"ab"}},
             {"[\\]]", {"]"}, {"a"}}});
}

TEST(DockerIgnoreTest, TheLastPatternThatMatchesDecides) {
  ExpectAll({{"*\n!a", {"b", "b/a"}, {"a", "a/b"}},
             {"!a\n*", {"a", "b"}, {}},
             {"a\n!a", {}, {"a", "a/b"}},
             {"a\n!a\na", {"a", "a/b"}, {}},
             {"*.md\n!README.md", {"a.md"}, {"README.md"}},
             {"*.md\n!README*.md\nREADME-secret.md",
              {"a.md", "README-secret.md"},
              {"README.md", "README-x.md"}},
             {"*.md\nREADME-secret.md\n!README*.md", {"a.md"}, {"README.md", "README-secret.md"}},
             {"!a", {}, {"a", "b"}}});
}

TEST(DockerIgnoreTest, AnExceptionReachesIntoAnIgnoredDirectory) {
  ExpectAll({{"a\n!a/b", {"a", "a/c", "a/c/b"}, {"a/b", "a/b/c"}},
             {"a\n!a/b\na/b/c", {"a/b/c", "a/b/c/d"}, {"a/b", "a/b/d"}},
             {"a\n!a/b/c", {"a/b", "a/b/d"}, {"a/b/c"}},
             {"*\n!src/**/*.go", {"src", "src/a.c", "src/x"}, {"src/a.go", "src/x/y.go"}},
             {"**\n!**/*.go", {"a", "a/b"}, {"a.go", "a/b.go"}},
             {"a/*\n!a/*/c", {"a/b", "a/b/d"}, {"a/b/c"}},
             {"*\n!go.mod\n!cmd", {"x", "x/cmd"}, {"go.mod", "cmd/main.go"}},
             {"vendor\n!vendor/keep.txt", {"vendor/a"}, {"vendor/keep.txt"}}});
}

TEST(DockerIgnoreTest, AnExceptionForADirectoryThatIsNotIgnoredDoesNotReachBeneath) {
  // "!foo" changes nothing at foo, so it is no match that foo/x could inherit.
  ExpectAll({{"*/x\n!foo", {"foo/x", "foo/x/y"}, {"foo", "foo/y"}},
             {"**/*.log\n!logs", {"logs/a.log"}, {"logs", "logs/a"}},
             {"**/*.log\n!logs/*.log", {"a.log"}, {"logs/a.log"}}});
}

TEST(DockerIgnoreTest, MalformedPatternsAreRefusedWithTheirLine) {
  for (const char* pattern : {"[", "a[", "a\\", "[^]", "[]a]", "[b-a]", "!", "! ", "!["}) {
    EXPECT_THAT(DockerIgnore::Parse("x/.dockerignore", absl::StrCat("a\n#\n", pattern, "\nb")),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x/.dockerignore:3: ")))
        << pattern;
  }
}

TEST(DockerIgnoreTest, TheFileIsBounded) {
  EXPECT_THAT(DockerIgnore::Parse("f", std::string(kDockerignoreBytesMax + 1, '#')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("limit")));
  std::string many;
  for (size_t i = 0; i <= kDockerignorePatternsMax; ++i) many += "a\n";
  EXPECT_THAT(DockerIgnore::Parse("f", many),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("patterns")));
}

TEST(DockerIgnoreTest, ASlashAtTheBeginningIsDroppedInAFileOnly) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore file, DockerIgnore::Parse(".dockerignore", "/a\n"));
  EXPECT_TRUE(file.Ignores("a"));
  ASSERT_OK_AND_ASSIGN(const DockerIgnore patterns, DockerIgnore::FromPatterns({"/a"}));
  EXPECT_FALSE(patterns.Ignores("a"));
}

TEST(DockerIgnoreTest, AVerdictSaysHowManyComparisonsItTook) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore, DockerIgnore::FromPatterns({"b", "*a"}));
  const DockerIgnore::Verdict verdict = ignore.Judge("ccc", {});
  EXPECT_GT(verdict.steps, 0u);
  EXPECT_LE(verdict.steps, 9u);  // A star, a letter and the end, on three letters.
}

TEST(DockerIgnoreTest, ItsPatternsReadAloneMeanTheSame) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore,
                       DockerIgnore::Parse("i", "# no\n/a\n b/ \n! /b/keep\n**.o\n"));
  EXPECT_EQ(ignore.Patterns(), (std::vector<std::string>{"a", "b", "!b/keep", "**.o"}));
  ASSERT_OK_AND_ASSIGN(const DockerIgnore again, DockerIgnore::FromPatterns(ignore.Patterns()));
  for (const char* path : {"a", "a/x", "b/x", "b/keep", "c/d.o", "c"}) {
    EXPECT_EQ(again.Ignores(path), ignore.Ignores(path)) << path;
  }
}

TEST(DockerIgnoreTest, FromPatternsHasNoComments) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore, DockerIgnore::FromPatterns({"#a", "*.c"}));
  EXPECT_TRUE(ignore.Ignores("#a"));
  EXPECT_TRUE(ignore.Ignores("x.c"));
  EXPECT_FALSE(ignore.has_exceptions());
}

TEST(DockerIgnoreTest, TheReasonIsTheLastPatternThatDecides) {
  ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore,
                       DockerIgnore::Parse("x.dockerignore", "# all\n*\n!/src\nsrc/**/*.o\n"));
  const auto why = [&ignore](absl::string_view path) {
    const auto reason = ignore.WhyIgnored(path);
    return reason.has_value() ? absl::StrCat(reason->position.ToString(), " ", reason->pattern)
                              : "";
  };
  EXPECT_EQ(why("a"), "x.dockerignore:2 *");
  EXPECT_EQ(why("a/b/c"), "x.dockerignore:2 *");
  EXPECT_EQ(why("src/main.c"), "");
  EXPECT_EQ(why("src/lib/a.o"), "x.dockerignore:4 src/**/*.o");
}

TEST(DockerIgnoreTest, ADirectoryIsSkippedUnlessAnExceptionMayMatchBeneath) {
  struct SkipCase {
    std::string file;
    std::string directory;
    bool skip;
  };
  const std::vector<SkipCase> cases = {{"a", "a", true},
                                       {"a", "b", false},
                                       {"a\n!b", "a", true},
                                       {"a\n!a/b", "a", false},
                                       {"a\n!a/b", "a/c", true},
                                       {"*\n!a/b/c", "a", false},
                                       {"*\n!a/b/c", "a/b", false},
                                       {"*\n!a/b/c", "a/x", true},
                                       {"*\n!a/b/c", "b", true},
                                       {"*\n!*/c", "b", false},
                                       {"*\n!*.go", "b", true},
                                       {"*\n!**/*.go", "b", false},
                                       {"*\n!**/x", "b", false},
                                       {"*\n!ab", "a", true}};
  for (const SkipCase& c : cases) {
    ASSERT_OK_AND_ASSIGN(const DockerIgnore ignore, DockerIgnore::Parse("f", c.file));
    DockerIgnore::Verdict verdict;
    for (size_t slash = c.directory.find('/'); slash != std::string::npos;
         slash = c.directory.find('/', slash + 1)) {
      verdict = ignore.Judge(c.directory.substr(0, slash), verdict);
    }
    EXPECT_EQ(ignore.Judge(c.directory, verdict).skip_beneath, c.skip) << c.file << c.directory;
  }
}

}  // namespace
}  // namespace farm
