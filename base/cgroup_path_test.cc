#include "base/cgroup_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

TEST(CgroupPathTest, GroupsBelowTheRootHavePaths) {
  for (const char* path : {"/ci", "/ci/nightly", "/system.slice/ci.slice", "/...", "/a:b"}) {
    EXPECT_OK(CheckCgroupPath(path)) << path;
  }
}

TEST(CgroupPathTest, WhatLeadsElsewhereIsRefused) {
  for (const char* path : {"", "/", "ci", "ci/x", "//ci", "/ci/", "/ci//x", "/..", "/ci/../x",
                           "/ci/.", "/c i", "/ci\nx", "/\x7f", "/\xc3\xa9"}) {
    EXPECT_THAT(CheckCgroupPath(path), StatusIs(absl::StatusCode::kInvalidArgument,
                                                HasSubstr("is no path of a control group")))
        << path;
  }
}

TEST(CgroupPathTest, LongPathsAreRefused) {
  EXPECT_OK(CheckCgroupPath("/" + std::string(kCgroupPathBytesMax - 1, 'x')));
  EXPECT_THAT(CheckCgroupPath("/" + std::string(kCgroupPathBytesMax, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("over 1024 bytes")));
}

}  // namespace
}  // namespace farm
