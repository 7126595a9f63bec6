#include "base/redact_url.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace farm {

std::string RedactUrls(absl::string_view text) {
  constexpr absl::string_view kScheme = "://";
  // What ends the part of a URL in which a user can stand. Quotes may be in a password.
  constexpr absl::string_view kEnds = "/?# \t\r\n";
  std::string redacted;
  while (true) {
    const size_t scheme = text.find(kScheme);
    if (scheme == text.npos) return absl::StrCat(redacted, text);
    const size_t begin = scheme + kScheme.size();
    const size_t end = std::min(text.find_first_of(kEnds, begin), text.size());
    const size_t at = text.substr(begin, end - begin).rfind('@');
    absl::StrAppend(&redacted, text.substr(0, begin));
    if (at != text.npos) absl::StrAppend(&redacted, "xxxxx");
    text.remove_prefix(at == text.npos ? begin : begin + at);
  }
}

}  // namespace farm
