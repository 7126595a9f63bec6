#include "base/state_dir.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

#include "base/testing/status_matchers.h"
#include "tests/contract/temp_dir.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(StateDirTest, ItIsMadeWithItsParentsForItsOwnerAlone) {
  const TempDir temp;
  const std::string dir = temp.path() + "/var/lib/coordinator";
  ASSERT_OK(LockStateDir(dir + "/", "coordinator").status());
  struct stat info {};
  ASSERT_EQ(stat(dir.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
}

TEST(StateDirTest, ASecondProcessIsToldWhoseItIs) {
  const TempDir temp;
  ASSERT_OK_AND_ASSIGN(const UniqueFd held, LockStateDir(temp.path(), "worker"));
  EXPECT_THAT(LockStateDir(temp.path(), "worker").status(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("farm-worker"), HasSubstr(temp.path()))));
}

TEST(StateDirTest, WhatADeadProcessHeldIsFree) {
  const TempDir temp;
  ASSERT_OK(LockStateDir(temp.path(), "worker").status());  // Let go at once.
  EXPECT_OK(LockStateDir(temp.path(), "worker").status());
}

}  // namespace
}  // namespace farm
