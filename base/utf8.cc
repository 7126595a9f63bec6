#include "base/utf8.h"

#include <locale.h>
#include <wctype.h>

#include "absl/strings/ascii.h"

namespace farm {
namespace {

// Characters from here on stand for single bytes that are not UTF-8.
constexpr char32_t kRawByte = 0x110000;

// Bytes of the sequence that `lead` begins; 0 if it begins none.
size_t SequenceLength(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  if (lead >= 0xF0 && lead < 0xF5) return 4;
  return 0;
}

bool IsCanonical(char32_t c, size_t length) {
  if (length == 3) return c >= 0x800 && (c < 0xD800 || c > 0xDFFF);
  if (length == 4) return c >= 0x10000 && c <= 0x10FFFF;
  return true;
}

void AppendUtf8(char32_t c, std::string& out) {
  const auto tail = [](char32_t bits) { return static_cast<char>(0x80 | (bits & 0x3F)); };
  if (c >= kRawByte) {
    out += static_cast<char>(c - kRawByte);
  } else if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += {static_cast<char>(0xC0 | (c >> 6)), tail(c)};
  } else if (c < 0x10000) {
    out += {static_cast<char>(0xE0 | (c >> 12)), tail(c >> 6), tail(c)};
  } else {
    out += {static_cast<char>(0xF0 | (c >> 18)), tail(c >> 12), tail(c >> 6), tail(c)};
  }
}

}  // namespace

char32_t TakeCharacter(absl::string_view& text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t length = SequenceLength(lead);
  if (length == 1) {
    text.remove_prefix(1);
    return lead;
  }
  char32_t c = lead & (0xFF >> (length + 1));
  bool valid = length != 0 && text.size() >= length;
  for (size_t i = 1; valid && i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    valid = (byte & 0xC0) == 0x80;
    c = (c << 6) | (byte & 0x3F);
  }
  if (!valid || !IsCanonical(c, length)) {
    text.remove_prefix(1);
    return kRawByte + lead;
  }
  text.remove_prefix(length);
  return c;
}

bool IsLetterOrDigit(char32_t character) {
  if (character < 0x80) return absl::ascii_isalnum(static_cast<unsigned char>(character));
  // Of Debian's libc-bin, which every Debian has; without it only ASCII has letters.
  static const locale_t unicode = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  return character < kRawByte && unicode != nullptr &&
         iswalnum_l(static_cast<wint_t>(character), unicode) != 0;
}

bool IsSpace(char32_t character) {
  if (character < 0x80) return absl::ascii_isspace(static_cast<unsigned char>(character));
  // White_Space of Unicode, with those that don't break lines, which iswspace() leaves out.
  return character == 0x85 || character == 0xA0 || character == 0x1680 ||
         (character >= 0x2000 && character <= 0x200A) || character == 0x2028 ||
         character == 0x2029 || character == 0x202F || character == 0x205F || character == 0x3000;
}

absl::string_view StripLeadingSpace(absl::string_view text) {
  for (absl::string_view behind = text; !text.empty(); text = behind) {
    if (!IsSpace(TakeCharacter(behind))) break;
  }
  return text;
}

absl::string_view StripTrailingSpace(absl::string_view text) {
  size_t end = 0;  // Of the last character that is no space.
  for (absl::string_view rest = text; !rest.empty();) {
    if (!IsSpace(TakeCharacter(rest))) end = text.size() - rest.size();
  }
  return text.substr(0, end);
}

std::u32string DecodeUtf8(absl::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  while (!text.empty()) out += TakeCharacter(text);
  return out;
}

std::string EncodeUtf8(const std::u32string& text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) AppendUtf8(c, out);
  return out;
}

std::string ReplaceInvalidUtf8(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const absl::string_view before = text;
    const bool is_valid = TakeCharacter(text) < kRawByte;
    if (is_valid) {
      out.append(before.data(), before.size() - text.size());
    } else {
      out += '?';
    }
  }
  return out;
}

}  // namespace farm
