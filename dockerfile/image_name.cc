#include "dockerfile/image_name.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace farm {
namespace {

constexpr size_t kTagBytesMax = 128;
constexpr size_t kPathBytesMax = 255;

bool IsLowerAlnum(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

template <typename Predicate>
bool AllOf(absl::string_view text, Predicate predicate) {
  return !text.empty() && std::all_of(text.begin(), text.end(), predicate);
}

// Letters and digits, with ".", "_", "__" or any number of "-" between them.
bool IsPathComponent(absl::string_view text) {
  if (text.empty() || !IsLowerAlnum(text.front()) || !IsLowerAlnum(text.back())) return false;
  for (size_t i = 0; i < text.size();) {
    if (IsLowerAlnum(text[i])) {
      ++i;
      continue;
    }
    const size_t end = std::min(text.find_first_not_of(text[i], i), text.size());
    const size_t count_max = text[i] == '-' ? text.size() : text[i] == '_' ? 2 : 1;
    if (absl::string_view(".-_").find(text[i]) == absl::string_view::npos || end - i > count_max ||
        !IsLowerAlnum(text[end])) {
      return false;
    }
    i = end;
  }
  return true;
}

// What is before the first '/' names a registry if a path could not look like it.
bool IsHost(absl::string_view text) {
  return text == "localhost" || text.find_first_of(".:") != absl::string_view::npos ||
         std::any_of(text.begin(), text.end(), absl::ascii_isupper);
}

bool IsValidHost(absl::string_view text) {
  return AllOf(text, [](char c) {
    return absl::ascii_isalnum(c) || absl::string_view(".-:[]").find(c) != absl::string_view::npos;
  });
}

bool IsTag(absl::string_view tag) {
  return tag.size() <= kTagBytesMax && !tag.empty() && tag[0] != '.' && tag[0] != '-' &&
         AllOf(tag,
               [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-'; });
}

// algorithm:hex
bool IsDigest(absl::string_view digest) {
  const size_t colon = digest.find(':');
  return colon != absl::string_view::npos && colon > 0 && digest.size() - colon > 32 &&
         AllOf(digest.substr(colon + 1), absl::ascii_isxdigit);
}

}  // namespace

bool LooksLikeImageName(absl::string_view name) {
  if (const size_t at = name.find('@'); at != absl::string_view::npos) {
    if (!IsDigest(name.substr(at + 1))) return false;
    name = name.substr(0, at);
  }
  const size_t colon = name.rfind(':');
  if (colon != absl::string_view::npos && name.find('/', colon) == absl::string_view::npos) {
    if (!IsTag(name.substr(colon + 1))) return false;
    name = name.substr(0, colon);
  }
  if (const size_t slash = name.find('/');
      slash != absl::string_view::npos && IsHost(name.substr(0, slash))) {
    if (!IsValidHost(name.substr(0, slash))) return false;
    name.remove_prefix(slash + 1);
  }
  if (name.size() > kPathBytesMax) return false;
  const std::vector<absl::string_view> path = absl::StrSplit(name, '/');
  return std::all_of(path.begin(), path.end(), IsPathComponent);
}

}  // namespace farm
