#include "base/utf8.h"

#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace farm {
namespace {

TEST(Utf8Test, WhatIsValidStays) {
  for (const char* text :
       {"", "a\x7f", "\xc2\x80", "\xef\xbf\xbd", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(ReplaceInvalidUtf8(text), text);
  }
}

TEST(Utf8Test, EachByteThatIsNoneIsReplaced) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\x80z", "a?z"},
      {"\xc3", "?"},                  // cut off
      {"\xc0\xaf", "??"},             // overlong
      {"\xe0\x80\xaf", "???"},        // overlong
      {"\xed\xa0\x80", "???"},        // a surrogate
      {"\xf4\x90\x80\x80", "????"},   // beyond the last character
      {"\xff\xc3\xbc", "?\xc3\xbc"},  // what follows is valid
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(ReplaceInvalidUtf8(text), expected);
}

TEST(Utf8Test, BytesComeBackAsTheyWere) {
  const std::string text = "a\xff\xc3\xbc\xed\xa0\x80\xf0\x9f\x98\x80";
  EXPECT_EQ(EncodeUtf8(DecodeUtf8(text)), text);
}

}  // namespace
}  // namespace farm
