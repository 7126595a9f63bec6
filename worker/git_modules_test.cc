#include "worker/git_modules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_replace.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

// "|" stands for the end of an entry.
std::map<std::string, GitModule> Parse(const std::string& text) {
  return ParseGitModules(absl::StrReplaceAll(text, {{"|", std::string(1, '\0')}}));
}

TEST(GitModulesTest, TheyAreFoundByPath) {
  const auto modules = Parse(
      "submodule.a.b.path\nlib/a|submodule.a.b.url\n../a.git|submodule.c.path\nc/|"
      "submodule.c.update\nnone|submodule.c.url\nhttps://h/c|");
  ASSERT_THAT(modules, SizeIs(2));
  EXPECT_EQ(modules.at("lib/a").name, "a.b");
  EXPECT_EQ(modules.at("lib/a").url, "../a.git");
  EXPECT_EQ(modules.at("c").update, "none");
}

TEST(GitModulesTest, TheLastValueCounts) {
  EXPECT_EQ(Parse("submodule.a.path\na|submodule.a.url\nx|submodule.a.url\ny|").at("a").url, "y");
}

TEST(GitModulesTest, TheLastOfOnePathCounts) {
  EXPECT_EQ(Parse("submodule.z.path\nlib|submodule.a.path\nlib|").at("lib").name, "a");
  EXPECT_EQ(Parse("submodule.a.path\nlib|submodule.z.path\nlib|").at("lib").name, "z");
}

TEST(GitModulesTest, ANameThatLeadsElsewhereIsNone) {
  for (const std::string& name : std::vector<std::string>{"", "/a", "..", "a/../b", "a\\..\\b",
                                                          "../a", "a/" + std::string(256, 'x')}) {
    EXPECT_THAT(Parse(absl::StrCat("submodule.", name, ".path\na|")), IsEmpty()) << name;
  }
}

TEST(GitModulesTest, OtherSectionsAreNone) {
  EXPECT_THAT(Parse("core.path\na|submodule.path\na|submodule.recurse\ntrue|x|submodule.a.url\nu|"),
              IsEmpty());
}

TEST(SubmoduleUrlTest, ARelativeOneIsSeenFromTheRepository) {
  const char* const cases[][3] = {
      {"https://h/a/r.git", "../b.git", "https://h/a/b.git"},
      {"https://h/a/r.git/", "../../c/b.git", "https://h/c/b.git"},
      {"https://u:p@h:8/a/r.git", "./x", "https://u:p@h:8/a/r.git/x"},
      {"https://h/a/r.git", "../.././b/", "https://h/b"},
      {"http://h/r.git", "../b", "http://h/b"},
      {"http://h/r.git", "https://other/b.git", "https://other/b.git"},
  };
  for (const auto& [parent, url, expected] : cases) {
    EXPECT_THAT(SubmoduleUrl(parent, url), IsOkAndHolds(std::string(expected))) << url;
  }
}

TEST(SubmoduleUrlTest, ItStaysOnTheHostAndSpeaksHttp) {
  EXPECT_THAT(SubmoduleUrl("https://h/r.git", "../../b"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("../../b leads out of https://h/r.git")));
  for (const char* url : {"git@h:a/b.git", "ssh://h/b", "git://h/b", "file:///etc", "/etc", "..",
                          "-x", "https://h/\nb", ""}) {
    EXPECT_THAT(SubmoduleUrl("https://h/r.git", url),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("?submodules=false")))
        << url;
  }
}

}  // namespace
}  // namespace farm
