#include "oci/auth_challenge.h"

#include <optional>
#include <utility>

#include "absl/strings/ascii.h"

namespace farm {
namespace {

bool IsTokenCharacter(char c) {
  constexpr absl::string_view kPunctuation = "!#$%&'*+-.^_`|~";
  return absl::ascii_isalnum(c) || kPunctuation.find(c) != absl::string_view::npos;
}

void SkipSpaceAndCommas(absl::string_view& text) {
  while (!text.empty() && (text[0] == ' ' || text[0] == '\t' || text[0] == ',')) {
    text.remove_prefix(1);
  }
}

void SkipSpace(absl::string_view& text) {
  while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
}

std::string TakeToken(absl::string_view& text) {
  size_t length = 0;
  while (length < text.size() && IsTokenCharacter(text[length])) ++length;
  std::string token = absl::AsciiStrToLower(text.substr(0, length));
  text.remove_prefix(length);
  return token;
}

// A quoted string with its escapes undone, or a bare token as it is.
std::optional<std::string> TakeValue(absl::string_view& text) {
  if (text.empty() || text[0] != '"') {
    size_t length = 0;
    while (length < text.size() && text[length] != ',' && text[length] != ' ') ++length;
    std::string value(text.substr(0, length));
    text.remove_prefix(length);
    return value;
  }
  text.remove_prefix(1);
  std::string value;
  while (!text.empty() && text[0] != '"') {
    if (text[0] == '\\' && text.size() > 1) text.remove_prefix(1);
    value.push_back(text[0]);
    text.remove_prefix(1);
  }
  if (text.empty()) return std::nullopt;  // The closing quote is missing.
  text.remove_prefix(1);
  return value;
}

}  // namespace

std::vector<AuthChallenge> ParseAuthChallenges(absl::string_view text) {
  std::vector<AuthChallenge> challenges;
  SkipSpaceAndCommas(text);
  while (!text.empty()) {
    std::string name = TakeToken(text);
    if (name.empty()) break;
    SkipSpace(text);
    // name=value belongs to the challenge before it; a name alone begins a new one.
    if (!text.empty() && text[0] == '=') {
      text.remove_prefix(1);
      SkipSpace(text);
      std::optional<std::string> value = TakeValue(text);
      if (!value.has_value() || challenges.empty()) break;
      challenges.back().params[std::move(name)] = *std::move(value);
    } else {
      if (challenges.size() == kAuthChallengesMax) break;
      challenges.push_back({.scheme = std::move(name), .params = {}});
    }
    SkipSpaceAndCommas(text);
  }
  return challenges;
}

}  // namespace farm
