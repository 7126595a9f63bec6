// Text for a terminal: how wide it is, and how to keep what others wrote from driving it.
#ifndef FARM_CLI_TERMINAL_TEXT_H_
#define FARM_CLI_TERMINAL_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace farm {

// Columns that UTF-8 text without control characters takes: 2 for wide characters of East Asia and
// emoji, 0 for combining marks; a byte that is not UTF-8 counts 1.
size_t DisplayWidth(absl::string_view text);

// The longest prefix that fits into `columns`, ended by "…" if something was cut off.
std::string TruncateToWidth(absl::string_view text, size_t columns);

// One line of a command's output, made harmless: escape sequences are removed, or with
// `keep_colors` those that set colours are kept (and reset at the end); tabs become spaces, what
// was overwritten by a carriage return is dropped, other control characters are shown as ^X, and
// bytes that are not UTF-8 as "\xHH".
std::string HarmlessLine(absl::string_view line, bool keep_colors);

// Text of several lines, such as an error message, each made harmless without colours.
std::string HarmlessText(absl::string_view text);

// False if the person does not want colours at all: $NO_COLOR (https://no-color.org).
bool WantsColors();

}  // namespace farm

#endif  // FARM_CLI_TERMINAL_TEXT_H_
