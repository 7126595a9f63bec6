#include "dockerfile/glob.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace farm {
namespace {

absl::Status Malformed(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("malformed pattern: ", why));
}

// One end of a range in a class.
absl::StatusOr<char32_t> TakeClassCharacter(absl::string_view& rest) {
  if (rest.empty()) return Malformed("'[' without ']'");
  if (rest[0] == '-' || rest[0] == ']') return Malformed("character expected in [...]");
  if (absl::ConsumePrefix(&rest, "\\") && rest.empty()) return Malformed("'[' without ']'");
  return TakeCharacter(rest);
}

}  // namespace

absl::StatusOr<GlobPattern> GlobPattern::Parse(absl::string_view pattern, Options options) {
  if (pattern.size() > kGlobBytesMax) {
    return Malformed(absl::StrCat("longer than ", kGlobBytesMax, " bytes"));
  }
  GlobPattern out;
  while (!pattern.empty()) {
    Token token;
    if (options.double_star && absl::ConsumePrefix(&pattern, "**")) {
      absl::ConsumePrefix(&pattern, "/");
      token.kind = pattern.empty() ? Token::Kind::kRest : Token::Kind::kComponents;
    } else if (absl::ConsumePrefix(&pattern, "*")) {
      token.kind = Token::Kind::kStar;
    } else if (absl::ConsumePrefix(&pattern, "?")) {
      token.kind = Token::Kind::kAny;
    } else if (absl::ConsumePrefix(&pattern, "[")) {
      ASSIGN_OR_RETURN(token, ParseClass(pattern));
    } else {
      if (absl::ConsumePrefix(&pattern, "\\") && pattern.empty()) {
        return Malformed("'\\' at the end");
      }
      token.character = TakeCharacter(pattern);
    }
    out.tokens_.push_back(std::move(token));
  }
  std::u32string literal;
  for (const Token& token : out.tokens_) {
    if (token.kind != Token::Kind::kCharacter) break;
    literal += token.character;
  }
  out.literal_ = EncodeUtf8(literal);
  return out;
}

absl::StatusOr<GlobPattern::Token> GlobPattern::ParseClass(absl::string_view& rest) {
  Token token;
  token.kind = Token::Kind::kClass;
  token.negated = absl::ConsumePrefix(&rest, "^");
  while (token.ranges.empty() || !absl::ConsumePrefix(&rest, "]")) {
    ASSIGN_OR_RETURN(const char32_t low, TakeClassCharacter(rest));
    char32_t high = low;
    if (absl::ConsumePrefix(&rest, "-")) {
      ASSIGN_OR_RETURN(high, TakeClassCharacter(rest));
    }
    if (high < low) return Malformed("range in [...] from high to low");
    token.ranges.emplace_back(low, high);
  }
  return token;
}

bool GlobPattern::Token::Consumes(char32_t c) const {
  switch (kind) {
    case Kind::kCharacter:
      return c == character;
    case Kind::kAny:
    case Kind::kStar:
      return c != '/';
    case Kind::kClass:
      return negated != std::any_of(ranges.begin(), ranges.end(), [c](const auto& range) {
               return range.first <= c && c <= range.second;
             });
    case Kind::kComponents:
    case Kind::kRest:
      return true;
  }
  return false;
}

// `token` may be next, and so may those behind it as long as they may match nothing.
void GlobPattern::Enter(size_t token, States& states) const {
  states.any = true;
  while (!states.before[token]) {
    states.before[token] = true;
    if (token == tokens_.size()) return;
    const Token::Kind kind = tokens_[token].kind;
    if (kind != Token::Kind::kStar && kind != Token::Kind::kComponents &&
        kind != Token::Kind::kRest) {
      return;
    }
    ++token;
  }
}

GlobPattern::States GlobPattern::Run(absl::string_view text, uint64_t& steps) const {
  const size_t size = tokens_.size() + 1;
  States states{.before = std::vector<bool>(size), .inside = std::vector<bool>(size)};
  States next = states;
  Enter(0, states);
  while (!text.empty() && states.any) {
    const char32_t c = TakeCharacter(text);
    steps += size;
    next.before.assign(size, false);
    next.inside.assign(size, false);
    next.any = false;
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const bool before = states.before[i];
      if ((!before && !states.inside[i]) || !tokens_[i].Consumes(c)) continue;
      switch (tokens_[i].kind) {
        case Token::Kind::kStar:
        case Token::Kind::kRest:
          Enter(i, next);
          break;
        case Token::Kind::kComponents:
          next.inside[i] = next.any = true;
          if (c == '/') Enter(i + 1, next);
          break;
        default:
          Enter(i + 1, next);
      }
    }
    std::swap(states, next);
  }
  return states;
}

bool GlobPattern::Matches(absl::string_view path, uint64_t& steps) const {
  if (!absl::StartsWith(path, literal_)) return false;  // Most patterns on most paths.
  return Run(path, steps).before[tokens_.size()];
}

bool GlobPattern::MayMatchBeginningWith(absl::string_view prefix, uint64_t& steps) const {
  return Run(prefix, steps).any;
}

bool HasGlob(absl::string_view path) {
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] == '\\') {
      ++i;
    } else if (path[i] == '*' || path[i] == '?' || path[i] == '[') {
      return true;
    }
  }
  return false;
}

}  // namespace farm
