#include "plan/remote_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(RemoteContextTest, UrlsAreToldFromPaths) {
  for (const char* url :
       {"https://example.com/a.git", "http://example.com/a.tar.gz?x=1", "git://example.com/a",
        "git@example.com:a/b.git", "ssh://git@example.com/a", "https://example.com/a.git#main:d"}) {
    EXPECT_EQ(RemoteContextUrl(url), url);
  }
  for (const char* path : {".", "", "/srv/a.git", "a.git", "example.com/a.git", "ftp://a/b", "-"}) {
    EXPECT_EQ(RemoteContextUrl(path), "") << path;
  }
}

TEST(RemoteContextTest, APathOnGithubIsTheRepositoryThere) {
  EXPECT_EQ(RemoteContextUrl("github.com/a/b"), "https://github.com/a/b.git");
  EXPECT_EQ(RemoteContextUrl("github.com/a/b.git#main:d"), "https://github.com/a/b.git#main:d");
  EXPECT_EQ(RemoteContextUrl("github.com/a/b?tag=v1"), "https://github.com/a/b.git?tag=v1");
}

TEST(RemoteContextTest, ARepositoryHasItsReferenceAndAFileAName) {
  ASSERT_OK_AND_ASSIGN(const RemoteSource git, RemoteContext("https://example.com/a.git#v1:docs"));
  EXPECT_EQ(git.kind, RemoteSource::Kind::kGit);
  EXPECT_EQ(git.git.remote, "https://example.com/a.git");
  EXPECT_EQ(git.git.ref, "v1");
  EXPECT_EQ(git.git.subdir, "docs");
  ASSERT_OK_AND_ASSIGN(const RemoteSource file, RemoteContext("https://example.com/a/b.tgz"));
  EXPECT_EQ(file.kind, RemoteSource::Kind::kHttp);
  EXPECT_EQ(file.file_name, "context");
}

TEST(RemoteContextTest, WhatNoWorkerGetsToIsRefusedWithoutItsPassword) {
  EXPECT_THAT(RemoteContext("git@example.com:a/b.git"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs an ssh agent")));
  EXPECT_THAT(RemoteContext("git://example.com/a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("https URL")));
  EXPECT_THAT(RemoteContext("https://u:secret@example.com/a.git?brnch=x"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("did you mean branch?"), Not(HasSubstr("secret")))));
}

}  // namespace
}  // namespace farm
