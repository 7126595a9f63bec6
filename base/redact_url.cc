#include "base/redact_url.h"

#include <algorithm>

#include "absl/strings/match.h"
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
    const absl::string_view authority = text.substr(begin, end - begin);
    size_t at = authority.rfind('@');
    // "ssh://git@host": a name that tells nothing; for https it may be a token.
    const bool has_password = at != text.npos && authority.substr(0, at).find(':') != text.npos;
    if (absl::EndsWith(text.substr(0, scheme), "ssh") && !has_password) at = text.npos;
    absl::StrAppend(&redacted, text.substr(0, begin));
    if (at != text.npos) absl::StrAppend(&redacted, "xxxxx");
    text.remove_prefix(at == text.npos ? begin : begin + at);
  }
}

}  // namespace farm
