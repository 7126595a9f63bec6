#include "plan/run_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

absl::Status CheckHost(const std::string& name, const std::string& address) {
  v1::HostAlias host;
  host.set_name(name);
  host.set_address(address);
  return CheckExtraHost(host);
}

absl::Status CheckLimit(const std::string& name, int64_t soft, int64_t hard) {
  v1::Ulimit ulimit;
  ulimit.set_name(name);
  ulimit.set_soft(soft);
  ulimit.set_hard(hard);
  return CheckUlimit(ulimit);
}

TEST(RunSettingsTest, AHostHasANameAndAnAddress) {
  EXPECT_OK(CheckHost("db.example.com", "10.0.0.1"));
  EXPECT_OK(CheckHost("db_1", "fe80::1"));
}

TEST(RunSettingsTest, AHostCanNotAddALineOfItsOwn) {
  for (const char* name : {"", "a b", "a\n10.0.0.1", "a#b", "\xff"}) {
    EXPECT_THAT(CheckHost(name, "10.0.0.1"), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  for (const char* address : {"", "db", "10.0.0", "10.0.0.1 x", "[::1]", "::1\n::2 x"}) {
    EXPECT_THAT(CheckHost("a", address), StatusIs(absl::StatusCode::kInvalidArgument)) << address;
  }
}

TEST(RunSettingsTest, AHostnameIsWhatTheKernelTakes) {
  EXPECT_OK(CheckHostname(std::string(64, 'a')));
  for (const std::string& name : {std::string(65, 'a'), std::string("a b"), std::string()}) {
    EXPECT_THAT(CheckHostname(name), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
}

TEST(RunSettingsTest, AUlimitMayBeUnlimited) {
  EXPECT_OK(CheckLimit("nofile", 1024, 2048));
  EXPECT_OK(CheckLimit("memlock", -1, -1));
  EXPECT_OK(CheckLimit("nproc", 10, -1));
}

TEST(RunSettingsTest, AnUnknownUlimitIsToldWithTheOneThatIsMeant) {
  EXPECT_THAT(CheckLimit("nofiles", 1, 1), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    AllOf(HasSubstr("expected one of as, core"),
                                                          HasSubstr("did you mean nofile?"))));
}

TEST(RunSettingsTest, TheSoftLimitIsAtMostTheHardOne) {
  EXPECT_THAT(CheckLimit("nofile", 2, 1), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckLimit("nofile", -1, 1), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(CheckLimit("nofile", -2, 1), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(RunSettingsTest, CoreDumpsCanBeOffAlone) {
  EXPECT_OK(CheckLimit("core", 0, 0));
  EXPECT_THAT(CheckLimit("core", -1, -1), StatusIs(absl::StatusCode::kInvalidArgument));
}

}  // namespace
}  // namespace farm
