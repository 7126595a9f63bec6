#include "oci/auth_challenge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace farm {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(AuthChallengeTest, SeveralChallengesAreRead) {
  const std::vector<AuthChallenge> challenges = ParseAuthChallenges(
      R"(Bearer realm="https://a/t?x=1,2", Service="s \"q\"",scope=pull, Basic realm="r")");
  ASSERT_THAT(challenges, SizeIs(2));
  EXPECT_EQ(challenges[0].scheme, "bearer");
  EXPECT_EQ(challenges[0].params.at("realm"), "https://a/t?x=1,2");
  EXPECT_EQ(challenges[0].params.at("service"), "s \"q\"");
  EXPECT_EQ(challenges[0].params.at("scope"), "pull");
  EXPECT_EQ(challenges[1].scheme, "basic");
}

TEST(AuthChallengeTest, NonsenseEndsTheList) {
  EXPECT_THAT(ParseAuthChallenges(""), IsEmpty());
  EXPECT_THAT(ParseAuthChallenges("=x"), IsEmpty());
  EXPECT_THAT(ParseAuthChallenges("a=b"), IsEmpty());
  EXPECT_THAT(ParseAuthChallenges("Basic realm=\"unclosed"), SizeIs(1));
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "basic, ";
  EXPECT_THAT(ParseAuthChallenges(many), SizeIs(kAuthChallengesMax));
}

}  // namespace
}  // namespace farm
