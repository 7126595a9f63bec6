#include "plan/go_format.h"

#include <gtest/gtest.h>

namespace farm {
namespace {

TEST(GoFormatTest, DurationsAreThoseOfGo) {
  EXPECT_EQ(GoDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(GoDuration(absl::Nanoseconds(5)), "5ns");
  EXPECT_EQ(GoDuration(absl::Nanoseconds(1500)), "1.5µs");
  EXPECT_EQ(GoDuration(absl::Milliseconds(250)), "250ms");
  EXPECT_EQ(GoDuration(absl::Milliseconds(1050)), "1.05s");
  EXPECT_EQ(GoDuration(absl::Seconds(30)), "30s");
  EXPECT_EQ(GoDuration(absl::Minutes(5)), "5m0s");
  EXPECT_EQ(GoDuration(absl::Hours(26) + absl::Seconds(1)), "26h0m1s");
}

TEST(GoFormatTest, QuotedTextsAreThoseOfGo) {
  EXPECT_EQ(GoQuoted("a\"b\\c"), R"("a\"b\\c")");
  EXPECT_EQ(GoQuoted("\n\t\x01\x7f"), R"("\n\t\x01\x7f")");
  EXPECT_EQ(GoQuoted("\xC3\xA9"), "\"\xC3\xA9\"");
  EXPECT_EQ(GoQuoted("\xC2\xA0\xE2\x80\x8B"), R"("\u00a0\u200b")");
  EXPECT_EQ(GoQuoted("\xFF\xC3"), R"("\xff\xc3")");
  EXPECT_EQ(GoQuoted("\xF0\x9F\x98\x80"), "\"\xF0\x9F\x98\x80\"");
}

}  // namespace
}  // namespace farm
