#include "cli/terminal_text.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/str_format.h"

namespace farm {
namespace {

struct Character {
  uint32_t code = 0;
  size_t length = 1;  // in bytes
  bool valid = false;
};

// Decodes the character at `text[0]`; overlong forms, surrogates and cut ones are not valid.
Character DecodeUtf8(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return {first, 1, false};
  uint32_t code = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {first, 1, false};
    code = code << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (length == 3 && code < 0x800) || (length == 4 && code < 0x10000);
  if (overlong || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return {first, 1, false};
  return {code, length, true};
}

struct Range {
  uint32_t first, last;
};

template <size_t N>
bool Contains(const Range (&ranges)[N], uint32_t code) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [&](const Range& range) { return range.first <= code && code <= range.last; });
}

// The blocks that matter in practice, from Unicode's EastAsianWidth.txt and category Mn.
constexpr Range kWide[] = {
    {0x1100, 0x115F},   {0x231A, 0x231B},   {0x2329, 0x232A},   {0x23E9, 0x23EC},
    {0x23F0, 0x23F0},   {0x23F3, 0x23F3},   {0x25FD, 0x25FE},   {0x2614, 0x2615},
    {0x2648, 0x2653},   {0x267F, 0x267F},   {0x2693, 0x2693},   {0x26A1, 0x26A1},
    {0x26AA, 0x26AB},   {0x26BD, 0x26BE},   {0x26C4, 0x26C5},   {0x26CE, 0x26CE},
    {0x26D4, 0x26D4},   {0x26EA, 0x26EA},   {0x26F2, 0x26F3},   {0x26F5, 0x26F5},
    {0x26FA, 0x26FA},   {0x26FD, 0x26FD},   {0x2705, 0x2705},   {0x270A, 0x270B},
    {0x2728, 0x2728},   {0x274C, 0x274C},   {0x274E, 0x274E},   {0x2753, 0x2755},
    {0x2757, 0x2757},   {0x2795, 0x2797},   {0x27B0, 0x27B0},   {0x27BF, 0x27BF},
    {0x2B1B, 0x2B1C},   {0x2B50, 0x2B50},   {0x2B55, 0x2B55},   {0x2E80, 0x303E},
    {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},   {0x1F004, 0x1F004}, {0x1F0CF, 0x1F0CF},
    {0x1F18E, 0x1F18E}, {0x1F191, 0x1F19A}, {0x1F200, 0x1F202}, {0x1F210, 0x1F23B},
    {0x1F240, 0x1F248}, {0x1F250, 0x1F251}, {0x1F260, 0x1F265}, {0x1F300, 0x1F320},
    {0x1F32D, 0x1F335}, {0x1F337, 0x1F37C}, {0x1F37E, 0x1F393}, {0x1F3A0, 0x1F3CA},
    {0x1F3CF, 0x1F3D3}, {0x1F3E0, 0x1F3F0}, {0x1F3F4, 0x1F3F4}, {0x1F3F8, 0x1F43E},
    {0x1F440, 0x1F440}, {0x1F442, 0x1F4FC}, {0x1F4FF, 0x1F53D}, {0x1F54B, 0x1F54E},
    {0x1F550, 0x1F567}, {0x1F57A, 0x1F57A}, {0x1F595, 0x1F596}, {0x1F5A4, 0x1F5A4},
    {0x1F5FB, 0x1F64F}, {0x1F680, 0x1F6C5}, {0x1F6CC, 0x1F6CC}, {0x1F6D0, 0x1F6D2},
    {0x1F6D5, 0x1F6D7}, {0x1F6DD, 0x1F6DF}, {0x1F6EB, 0x1F6EC}, {0x1F6F4, 0x1F6FC},
    {0x1F7E0, 0x1F7EB}, {0x1F7F0, 0x1F7F0}, {0x1F90C, 0x1F93A}, {0x1F93C, 0x1F945},
    {0x1F947, 0x1F9FF}, {0x1FA70, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range kZero[] = {{0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x064B, 0x065F},
                           {0x200B, 0x200F}, {0x202A, 0x202E}, {0x2060, 0x2064}, {0x20D0, 0x20F0},
                           {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xFEFF, 0xFEFF}};
// They reorder what stands around them, so a log could show other words than it has.
constexpr Range kBidi[] = {{0x202A, 0x202E}, {0x2066, 0x2069}};

size_t WidthOf(const Character& character) {
  if (!character.valid) return 1;
  if (character.code < 0x300) return 1;
  if (Contains(kZero, character.code)) return 0;
  return Contains(kWide, character.code) ? 2 : 1;
}

// Length of the escape sequence at `text[0]` == ESC, as ECMA-48 builds them; what is cut off counts
// to the end.
size_t EscapeLength(absl::string_view text, bool* is_color) {
  *is_color = false;
  if (text.size() < 2) return text.size();
  if (text[1] == '[') {  // CSI: parameters, intermediates, one final byte.
    size_t i = 2;
    while (i < text.size() && text[i] >= 0x20 && text[i] <= 0x3F) ++i;
    if (i == text.size()) return i;
    const bool digits_only =
        text.substr(2, i - 2).find_first_not_of("0123456789;:") == absl::string_view::npos;
    *is_color = text[i] == 'm' && digits_only;
    return i + 1;
  }
  // OSC, DCS, SOS, PM, APC: up to BEL or ESC backslash.
  if (absl::string_view("]PX^_").find(text[1]) != absl::string_view::npos) {
    for (size_t i = 2; i < text.size(); ++i) {
      if (text[i] == '\a') return i + 1;
      if (text[i] == '\x1b') return std::min(i + 2, text.size());
    }
    return text.size();
  }
  return 2;
}

}  // namespace

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const Character character = DecodeUtf8(text);
    width += WidthOf(character);
    text.remove_prefix(character.length);
  }
  return width;
}

std::string TruncateToWidth(absl::string_view text, size_t columns) {
  if (DisplayWidth(text) <= columns) return std::string(text);
  if (columns == 0) return "";
  size_t width = 0;
  size_t end = 0;
  while (end < text.size()) {
    const Character character = DecodeUtf8(text.substr(end));
    if (width + WidthOf(character) > columns - 1) break;
    width += WidthOf(character);
    end += character.length;
  }
  return std::string(text.substr(0, end)) + "…";
}

std::string HarmlessLine(absl::string_view line, bool keep_colors) {
  constexpr size_t kTabWidth = 8;
  std::string out;
  size_t column = 0;
  bool colored = false;
  while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
  while (!line.empty()) {
    const Character character = DecodeUtf8(line);
    size_t length = character.length;
    if (character.code == 0x1b) {
      bool is_color = false;
      length = EscapeLength(line, &is_color);
      if (is_color && keep_colors) {
        out.append(line.data(), length);
        colored = true;
      }
    } else if (character.code == '\r') {
      out = colored ? "\x1b[0m" : "";
      column = 0;
    } else if (character.code == '\t') {
      const size_t spaces = kTabWidth - column % kTabWidth;
      out.append(spaces, ' ');
      column += spaces;
    } else if (!character.valid) {
      absl::StrAppendFormat(&out, "\\x%02X", character.code);
      column += 4;
    } else if (character.code == '\b') {
      // Of a progress bar; a terminal of our own to follow it is not worth it.
    } else if (character.code < 0x20 || character.code == 0x7F) {
      out += '^';
      out += static_cast<char>(character.code ^ 0x40);
      column += 2;
    } else if ((character.code >= 0x80 && character.code < 0xA0) ||
               Contains(kBidi, character.code)) {
      absl::StrAppendFormat(&out, "\\u%04X", character.code);
      column += 6;
    } else {
      out.append(line.data(), length);
      column += WidthOf(character);
    }
    line.remove_prefix(length);
  }
  if (colored) out += "\x1b[0m";
  return out;
}

bool WantsColors() {
  const char* no_color = std::getenv("NO_COLOR");
  return no_color == nullptr || no_color[0] == 0;
}

std::string HarmlessText(absl::string_view text) {
  std::string out;
  while (true) {
    const size_t end = text.find('\n');
    out += HarmlessLine(text.substr(0, end), /*keep_colors=*/false);
    if (end == absl::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

}  // namespace farm
