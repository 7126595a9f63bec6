#include "worker/user_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\n"
    "# a comment\n"
    "\n"
    "app:x:1000:1001:App:/home/app:/bin/sh\n"
    "app:x:2000:2001:Second of the name:/:/bin/sh\n"
    "4711:x:12:12:A name of digits:/:/bin/sh\n"
    "broken\n";
constexpr char kGroup[] =
    "root:x:0:\n"
    "app:x:1001:\n"
    "docker:x:998:other,app\n"
    "audio:x:29:app\n"
    "wrong:x:30:app2,ap\n";

ResolvedUser Resolve(absl::string_view user) {
  absl::StatusOr<ResolvedUser> resolved = ResolveUserIn(kPasswd, kGroup, user);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  return resolved.value_or(ResolvedUser{.uid = 99999, .gid = 99999, .groups = {}, .home = {}});
}

absl::Status Error(absl::string_view user) { return ResolveUserIn(kPasswd, kGroup, user).status(); }

TEST(UserDatabaseTest, EmptyIsRoot) {
  const ResolvedUser user = Resolve("");
  EXPECT_EQ(user.uid, 0u);
  EXPECT_EQ(user.gid, 0u);
  EXPECT_EQ(user.home, "/root");
}

TEST(UserDatabaseTest, EmptyIsRootEvenWithoutFiles) {
  ASSERT_OK_AND_ASSIGN(const ResolvedUser user, ResolveUserIn("", "", ""));
  EXPECT_EQ(user.uid, 0u);
  EXPECT_EQ(user.home, "/");
}

TEST(UserDatabaseTest, NameGivesFirstEntryAndItsSupplementaryGroups) {
  const ResolvedUser user = Resolve("app");
  EXPECT_EQ(user.uid, 1000u);
  EXPECT_EQ(user.gid, 1001u);
  EXPECT_EQ(user.home, "/home/app");
  EXPECT_THAT(user.groups, ElementsAre(998u, 29u));
}

TEST(UserDatabaseTest, ListedNumberGetsGroupAndHomeOfItsEntry) {
  const ResolvedUser user = Resolve("1000");
  EXPECT_EQ(user.gid, 1001u);
  EXPECT_EQ(user.home, "/home/app");
}

TEST(UserDatabaseTest, UnlistedNumberHasGroupZero) {
  const ResolvedUser user = Resolve("65534");
  EXPECT_EQ(user.uid, 65534u);
  EXPECT_EQ(user.gid, 0u);
  EXPECT_EQ(user.home, "/");
}

TEST(UserDatabaseTest, ExplicitGroupReplacesAllGroups) {
  const ResolvedUser user = Resolve("app:docker");
  EXPECT_EQ(user.gid, 998u);
  EXPECT_THAT(user.groups, IsEmpty());
}

TEST(UserDatabaseTest, NumbersNeedNoEntry) {
  const ResolvedUser user = Resolve("5:6");
  EXPECT_EQ(user.uid, 5u);
  EXPECT_EQ(user.gid, 6u);
}

TEST(UserDatabaseTest, DigitsAreANumberNotAName) { EXPECT_EQ(Resolve("4711").uid, 4711u); }

TEST(UserDatabaseTest, UnknownUserIsDockersError) {
  EXPECT_EQ(Error("nobody").message(),
            "unable to find user nobody: no matching entries in passwd file");
  EXPECT_EQ(Error("nobody").code(), absl::StatusCode::kInvalidArgument);
}

TEST(UserDatabaseTest, UnknownGroupIsDockersError) {
  EXPECT_EQ(Error("app:nogroup").message(),
            "unable to find group nogroup: no matching entries in group file");
}

TEST(UserDatabaseTest, NumbersBeyondTheRangeAreRefused) {
  EXPECT_THAT(Error("2147483648").message(), HasSubstr("range"));
  EXPECT_THAT(Error("-1").message(), HasSubstr("range"));
  EXPECT_THAT(Error("0:99999999999999999999999").message(), HasSubstr("range"));
}

// ---- owners of files

std::string Owner(absl::string_view owner, absl::string_view passwd = kPasswd) {
  const absl::StatusOr<ResolvedUser> user = ResolveOwnerIn(passwd, kGroup, owner);
  if (!user.ok()) return std::string(user.status().message());
  return absl::StrCat(user->uid, ":", user->gid);
}

TEST(UserDatabaseTest, ANumberIsTheOwnersUserAndGroupWhateverIsListed) {
  EXPECT_EQ(Owner("12"), "12:12");
  EXPECT_EQ(Owner("1000"), "1000:1000");
  EXPECT_EQ(Owner("1000:docker"), "1000:998");
}

TEST(UserDatabaseTest, AnOwnersNamesAreLookedUp) {
  EXPECT_EQ(Owner("app"), "1000:1001");
  EXPECT_EQ(Owner("app:docker"), "1000:998");
  EXPECT_EQ(Owner("app:5"), "1000:5");
  EXPECT_THAT(Owner("nobody"), HasSubstr("unable to find user nobody"));
  EXPECT_THAT(Owner("app:none"), HasSubstr("unable to find group none"));
  EXPECT_THAT(Owner("-1"), HasSubstr("range"));
}

TEST(UserDatabaseTest, RootOwnsWithoutBeingListed) {
  EXPECT_EQ(Owner("root", ""), "0:0");
  EXPECT_EQ(Owner("5:root", ""), "5:0");
  EXPECT_EQ(Owner(":5", ""), "0:5");
  EXPECT_EQ(Owner("", ""), "0:0");
}

}  // namespace
}  // namespace farm
