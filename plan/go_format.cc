#include "plan/go_format.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace farm {
namespace {

// One code point at the front of `text`, or -1 with length 1 for a byte that is not UTF-8.
struct Rune {
  int32_t value = -1;
  size_t length = 1;
};

Rune FirstRune(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < length) return {};
  int32_t value = byte(0) & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    value = value << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && value < 0x800) || (length == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (overlong || surrogate || value > 0x10FFFF) return {};
  return {value, length};
}

// As unicode.IsPrint, but for code points that no one has assigned yet.
bool IsPrintable(int32_t rune) {
  struct Range {
    int32_t first, last;
  };
  // Controls, spaces other than ' ', format characters, surrogates, private use, non-characters.
  static constexpr Range kHidden[] = {
      {0x00, 0x1F},     {0x7F, 0xA0},     {0xAD, 0xAD},     {0x600, 0x605},      {0x61C, 0x61C},
      {0x6DD, 0x6DD},   {0x70F, 0x70F},   {0x1680, 0x1680}, {0x180E, 0x180E},    {0x2000, 0x200F},
      {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000}, {0xD800, 0xF8FF},    {0xFDD0, 0xFDEF},
      {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0xE0000, 0x10FFFF},
  };
  return std::none_of(std::begin(kHidden), std::end(kHidden), [rune](const Range& range) {
    return range.first <= rune && rune <= range.last;
  });
}

std::string Escaped(int32_t rune) {
  switch (rune) {
    case '"':
      return "\\\"";
    case '\\':
      return "\\\\";
    case '\a':
      return "\\a";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    case '\v':
      return "\\v";
    default:
      break;
  }
  if (rune < 0x80) return absl::StrFormat("\\x%02x", rune);
  if (rune < 0x10000) return absl::StrFormat("\\u%04x", rune);
  return absl::StrFormat("\\U%08x", rune);
}

// `value / unit` with as many decimals as it needs.
std::string Decimal(int64_t value, int64_t unit) {
  std::string out = absl::StrCat(value / unit);
  int64_t rest = value % unit;
  if (rest == 0) return out;
  out += '.';
  for (int64_t digit = unit / 10; rest > 0; digit /= 10) {
    out += static_cast<char>('0' + rest / digit);
    rest %= digit;
  }
  return out;
}

}  // namespace

std::string GoQuoted(absl::string_view text) {
  std::string out = "\"";
  while (!text.empty()) {
    const Rune rune = FirstRune(text);
    if (rune.value < 0) {
      out += absl::StrFormat("\\x%02x", static_cast<unsigned char>(text[0]));
    } else if (rune.value == '"' || rune.value == '\\' || !IsPrintable(rune.value)) {
      out += Escaped(rune.value);
    } else {
      absl::StrAppend(&out, text.substr(0, rune.length));
    }
    text.remove_prefix(rune.length);
  }
  return out + "\"";
}

std::string GoQuotedList(const std::vector<std::string>& texts) {
  return absl::StrCat("[",
                      absl::StrJoin(texts, " ",
                                    [](std::string* out, const std::string& text) {
                                      absl::StrAppend(out, GoQuoted(text));
                                    }),
                      "]");
}

std::string GoList(const std::vector<std::string>& texts) {
  return absl::StrCat("[", absl::StrJoin(texts, " "), "]");
}

std::string GoDuration(absl::Duration duration) {
  const int64_t nanoseconds = absl::ToInt64Nanoseconds(duration);
  if (nanoseconds == 0) return "0s";
  if (nanoseconds < 0) return absl::StrCat("-", GoDuration(-duration));
  if (nanoseconds < 1'000) return absl::StrCat(nanoseconds, "ns");
  if (nanoseconds < 1'000'000) return absl::StrCat(Decimal(nanoseconds, 1'000), "µs");
  if (nanoseconds < 1'000'000'000) return absl::StrCat(Decimal(nanoseconds, 1'000'000), "ms");
  const int64_t minute = int64_t{60} * 1'000'000'000;
  std::string out = absl::StrCat(Decimal(nanoseconds % minute, 1'000'000'000), "s");
  const int64_t minutes = nanoseconds / minute;
  if (minutes > 0) out = absl::StrCat(minutes % 60, "m", out);
  if (minutes >= 60) out = absl::StrCat(minutes / 60, "h", out);
  return out;
}

}  // namespace farm
