#include "base/redact_url.h"

#include "gtest/gtest.h"

namespace farm {
namespace {

TEST(RedactUrlsTest, UsersAndPasswordsAreReplaced) {
  EXPECT_EQ(RedactUrls("https://u:p@host/x"), "https://xxxxx@host/x");
  EXPECT_EQ(RedactUrls("https://u:it's@a/"), "https://xxxxx@a/");
  EXPECT_EQ(RedactUrls("ssh://u:p@host/x"), "ssh://xxxxx@host/x");
  EXPECT_EQ(RedactUrls("ADD http://u@a/ 'https://u:p@w@b' /d"),
            "ADD http://xxxxx@a/ 'https://xxxxx@b' /d");
}

TEST(RedactUrlsTest, OtherTextStays) {
  for (const char* text : {"", "a@b", "ssh://git@host/x", "https://host/a@b", "https://host?x=a@b",
                           "git@host:a.git", "://", "http://"}) {
    EXPECT_EQ(RedactUrls(text), text);
  }
}

}  // namespace
}  // namespace farm
