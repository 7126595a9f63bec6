#include "coordinator/source_authorization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

absl::StatusOr<std::string> Authorize(const RemoteSource& source,
                                      const std::map<std::string, std::string>& secrets) {
  google::protobuf::RepeatedPtrField<v1::SecretValue> values;
  for (const auto& [id, value] : secrets) {
    v1::SecretValue& secret = *values.Add();
    secret.set_id(id);
    secret.set_value(value);
  }
  return SourceAuthorization(source, values);
}

RemoteSource File() {
  return {.kind = RemoteSource::Kind::kHttp, .url = "https://example.com:8443/a"};
}

RemoteSource Repository() {
  RemoteSource source;
  source.kind = RemoteSource::Kind::kGit;
  source.url = "https://example.com:8443/a.git#main";
  source.git.remote = "https://example.com:8443/a.git";
  return source;
}

TEST(SourceAuthorizationTest, ATokenOfAFilesHostIsABearersToken) {
  EXPECT_THAT(Authorize(File(), {{"HTTP_AUTH_TOKEN_example.com", "t0"}}),
              IsOkAndHolds("Bearer t0"));
}

TEST(SourceAuthorizationTest, AHeaderIsGivenAsItIs) {
  EXPECT_THAT(Authorize(File(), {{"HTTP_AUTH_HEADER_example.com", " Basic YTpi\n"}}),
              IsOkAndHolds("Basic YTpi"));
  EXPECT_THAT(Authorize(Repository(), {{"GIT_AUTH_HEADER", "Bearer x"}}), IsOkAndHolds("Bearer x"));
}

TEST(SourceAuthorizationTest, ATokenOfGitIsThePasswordOfAFixedUser) {
  EXPECT_THAT(Authorize(Repository(), {{"GIT_AUTH_TOKEN", "t0"}}),
              IsOkAndHolds("Basic eC1hY2Nlc3MtdG9rZW46dDA="));
}

TEST(SourceAuthorizationTest, OneForTheHostGoesBeforeOneForAny) {
  EXPECT_THAT(
      Authorize(Repository(), {{"GIT_AUTH_HEADER", "any"}, {"GIT_AUTH_HEADER.example.com", "one"}}),
      IsOkAndHolds("one"));
  EXPECT_THAT(Authorize(Repository(), {{"GIT_AUTH_HEADER.example.com", "one"},
                                       {"GIT_AUTH_HEADER.example.com:8443", "port"}}),
              IsOkAndHolds("port"));
}

TEST(SourceAuthorizationTest, OthersSecretsAreNotGiven) {
  EXPECT_THAT(Authorize(File(), {{"HTTP_AUTH_TOKEN_other.com", "t"},
                                 {"HTTP_AUTH_TOKEN_", "t"},
                                 {"GIT_AUTH_TOKEN", "t"},
                                 {"token", "t"}}),
              IsOkAndHolds(""));
  EXPECT_THAT(Authorize(Repository(),
                        {{"HTTP_AUTH_TOKEN_example.com", "t"}, {"GIT_AUTH_TOKEN.other.com", "t"}}),
              IsOkAndHolds(""));
}

TEST(SourceAuthorizationTest, WhatIsNoHeaderIsRefusedWithoutBeingShown) {
  for (const std::string& bad : {std::string(" \n"), std::string("secret\nX: y"),
                                 std::string("secret\xff"), std::string(20'000, 's')}) {
    EXPECT_THAT(Authorize(File(), {{"HTTP_AUTH_HEADER_example.com", bad}}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("HTTP_AUTH_HEADER_example.com"),
                               Not(HasSubstr("secret\n")), Not(HasSubstr("ssss")))));
  }
}

}  // namespace
}  // namespace farm
