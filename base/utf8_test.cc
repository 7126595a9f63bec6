#include "base/utf8.h"

#include <cstdint>
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

TEST(Utf8Test, LettersAndDigitsAreThoseOfAllScripts) {
  for (const char32_t letter : DecodeUtf8("aZ0\u00e9\u5e74\u0431\u0663")) {
    EXPECT_TRUE(IsLetterOrDigit(letter)) << static_cast<uint32_t>(letter);
  }
  for (const char32_t other : DecodeUtf8("_- \u00a0\u2014\u2026\u20ac")) {
    EXPECT_FALSE(IsLetterOrDigit(other)) << static_cast<uint32_t>(other);
  }
  EXPECT_FALSE(IsLetterOrDigit(0x110000 + 0xE9)) << "a byte that is no character";
}

TEST(Utf8Test, SpacesOfAllKindsAreStripped) {
  const std::string spaces = " \t\u00a0\u2003\u3000\r";
  EXPECT_EQ(StripLeadingSpace(spaces + "a" + spaces), "a" + spaces);
  EXPECT_EQ(StripTrailingSpace(spaces + "a" + spaces), spaces + "a");
  EXPECT_EQ(StripLeadingSpace(spaces), "");
  EXPECT_EQ(StripTrailingSpace(spaces), "");
  EXPECT_EQ(StripTrailingSpace("a\xa0"), "a\xa0") << "no UTF-8";
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
