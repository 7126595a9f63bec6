#ifndef FARM_BASE_UTF8_H_
#define FARM_BASE_UTF8_H_

#include <string>

#include "absl/strings/string_view.h"

namespace farm {

// Takes the first character off `text`, which must not be empty. A byte that is not UTF-8 is a
// character of its own, outside Unicode's range, so that EncodeUtf8() gives the same bytes back.
char32_t TakeCharacter(absl::string_view& text);

// By Unicode's classes.
bool IsLetterOrDigit(char32_t character);
bool IsSpace(char32_t character);
// Without the spaces at its front, or its end.
absl::string_view StripLeadingSpace(absl::string_view text);
absl::string_view StripTrailingSpace(absl::string_view text);

std::u32string DecodeUtf8(absl::string_view text);
std::string EncodeUtf8(const std::u32string& text);

// With '?' for each byte that is not UTF-8: what a proto3 string takes.
std::string ReplaceInvalidUtf8(absl::string_view text);

}  // namespace farm

#endif  // FARM_BASE_UTF8_H_
