#include "plan/source_url.h"

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr char kCommit[] = "0123456789abcdef0123456789abcdef01234567";

GitReference Parsed(absl::string_view source) {
  const absl::StatusOr<GitReference> reference = ParseGitReference(source);
  EXPECT_OK(reference) << source;
  return reference.value_or(GitReference());
}

TEST(ParseGitReferenceTest, AFragmentIsReferenceAndSubdirectory) {
  const GitReference whole = Parsed("https://u:p@h/r.git#v1.0:docs/a");
  EXPECT_EQ(whole.transport, GitTransport::kHttp);
  EXPECT_EQ(whole.remote, "https://u:p@h/r.git");
  EXPECT_EQ(whole.ref, "v1.0");
  EXPECT_EQ(whole.subdir, "docs/a");
  EXPECT_EQ(whole.keep_git_dir, std::nullopt);
  EXPECT_EQ(Parsed("https://h/r.git").ref, "");
  EXPECT_EQ(Parsed("https://h/r.git#:sub").subdir, "sub");
  EXPECT_EQ(Parsed("https://h/r.git#feature%2Fx").ref, "feature/x");
}

TEST(ParseGitReferenceTest, AQuerySaysTheSame) {
  const GitReference whole =
      Parsed("https://h/r.git?ref=main&subdir=/a/../b/&commit=0123&keep-git-dir=1");
  EXPECT_EQ(whole.remote, "https://h/r.git");
  EXPECT_EQ(whole.ref, "main");
  EXPECT_EQ(whole.subdir, "b");
  EXPECT_EQ(whole.checksum, "0123");
  EXPECT_EQ(whole.keep_git_dir, true);
  EXPECT_EQ(Parsed("https://h/r.git?branch=a").ref, "refs/heads/a");
  EXPECT_EQ(Parsed("https://h/r.git?tag=a").ref, "refs/tags/a");
  EXPECT_EQ(Parsed("https://h/r.git?keep-git-dir").keep_git_dir, true);
  EXPECT_EQ(Parsed("https://h/r.git?keep-git-dir=false").keep_git_dir, false);
  EXPECT_TRUE(whole.submodules);
  EXPECT_FALSE(Parsed("https://h/r.git?submodules=false").submodules);
  EXPECT_TRUE(Parsed("https://h/r.git?submodules").submodules);
  EXPECT_EQ(Parsed("https://h/r.git?ref=main#main:x").subdir, "x");
  EXPECT_EQ(Parsed(absl::StrCat("https://h/r.git?checksum=", kCommit)).ref, kCommit);
}

TEST(ParseGitReferenceTest, ASubdirectoryStaysBelowTheRepository) {
  EXPECT_EQ(Parsed("https://h/r.git#:../../etc").subdir, "etc");
  EXPECT_EQ(Parsed("https://h/r.git#:/").subdir, "");
}

TEST(ParseGitReferenceTest, TheTransportIsThatOfTheRemote) {
  EXPECT_EQ(Parsed("git@h:a/r.git#main").transport, GitTransport::kSsh);
  EXPECT_EQ(Parsed("git@h:a/r.git#main").remote, "git@h:a/r.git");
  EXPECT_EQ(Parsed("ssh://git@h/r").transport, GitTransport::kSsh);
  EXPECT_EQ(Parsed("git://h/r").transport, GitTransport::kGit);
}

TEST(ParseGitReferenceTest, WhatCanNotBeMeantIsRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"https://h/r.git?brnch=a",
       "unexpected query \"brnch\" of a git repository (did you mean "
       "branch?)"},
      {"https://h/r.git?ref=", "query \"ref\" has no value"},
      {"https://h/r.git?ref=a&ref=b", "given twice"},
      {"https://h/r.git?ref=a#b", "ref conflicts: \"b\" and \"a\""},
      {"https://h/r.git?tag=a&branch=b", "branch conflicts with another ref"},
      {"https://h/r.git?subdir=a#:b", "subdir conflicts"},
      {"https://h/r.git?checksum=xyz", "invalid checksum \"xyz\""},
      {"https://h/r.git?keep-git-dir=maybe", "expected true or false"},
      {"https://h/r.git?submodules=x", "submodules=x: expected true or false"},
      {"https://h/r.git#--upload-pack=x", "can't be a git reference"},
      {"https://h/r.git#a..b", "can't be a git reference"},
      {"https://h/r.git#a%20b", "can't be a git reference"},
      {"https://h/r.git#a^{}", "can't be a git reference"},
      {"https://h/r.git#a%00", "not percent-encoded"},
      {"https://h/r.git#a%2", "not percent-encoded"},
  };
  for (const auto& [source, message] : cases) {
    EXPECT_THAT(ParseGitReference(source),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)))
        << source;
  }
  EXPECT_THAT(ParseGitReference(absl::StrCat("https://h/r.git?checksum=ff#", kCommit)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("checksum mismatch")));
}

TEST(ParseGitReferenceTest, LengthsAreBounded) {
  const std::string ref(kGitRefBytesMax, 'a');
  EXPECT_OK(ParseGitReference("https://h/r.git#" + ref));
  EXPECT_THAT(ParseGitReference("https://h/r.git#" + ref + "a"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(ParseGitReference("https://h/r.git#:" + std::string(kGitSubdirBytesMax + 1, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace farm
