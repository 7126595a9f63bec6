#include "dockerfile/trim_pattern.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"

namespace farm {
namespace {

absl::Status TooManySteps() {
  return absl::ResourceExhaustedError(
      absl::StrCat("the pattern needs more than ", kTrimStepsMax, " comparisons on this value"));
}

}  // namespace

absl::StatusOr<TrimPattern> TrimPattern::Parse(absl::string_view pattern) {
  TrimPattern out;
  out.segments_.emplace_back();
  while (!pattern.empty()) {
    const char32_t c = TakeCharacter(pattern);
    if (c == '*') {
      out.segments_.emplace_back();
    } else if (c == '?') {
      out.segments_.back().push_back({Token::Kind::kAny, 0});
    } else if (c != '\\') {
      out.segments_.back().push_back({Token::Kind::kCharacter, c});
    } else {
      const absl::string_view escaped = pattern;
      const char32_t next = pattern.empty() ? 0 : TakeCharacter(pattern);
      if (next == 0 || absl::string_view("*?\\/}").find(escaped[0]) == absl::string_view::npos) {
        return absl::InvalidArgumentError(absl::StrCat(
            "invalid escape '\\", escaped.substr(0, escaped.size() - pattern.size()), "'"));
      }
      out.segments_.back().push_back({Token::Kind::kCharacter, next});
    }
  }
  return out;
}

absl::StatusOr<std::string> TrimPattern::TrimPrefix(absl::string_view value, Length length) const {
  const std::u32string text = DecodeUtf8(value);
  size_t steps = kTrimStepsMax;
  const std::optional<size_t> end = Match(text, 0, length, steps);
  if (steps == 0) return TooManySteps();
  return end.has_value() ? EncodeUtf8(text.substr(*end)) : std::string(value);
}

absl::StatusOr<std::string> TrimPattern::TrimSuffix(absl::string_view value, Length length) const {
  std::u32string text = DecodeUtf8(value);
  std::reverse(text.begin(), text.end());
  size_t steps = kTrimStepsMax;
  const std::optional<size_t> end = Reversed().Match(text, 0, length, steps);
  if (steps == 0) return TooManySteps();
  if (!end.has_value()) return std::string(value);
  text.erase(0, *end);
  std::reverse(text.begin(), text.end());
  return EncodeUtf8(text);
}

absl::StatusOr<std::string> TrimPattern::Replace(absl::string_view value,
                                                 absl::string_view replacement, bool all) const {
  const std::u32string text = DecodeUtf8(value);
  std::string out;
  size_t steps = kTrimStepsMax;
  size_t copied = 0;  // Text before this is in `out`, or was replaced.
  for (size_t start = 0; start <= text.size();) {
    const std::optional<size_t> end = Match(text, start, Length::kLongest, steps);
    if (steps == 0) return TooManySteps();
    if (!end.has_value()) {
      ++start;
      continue;
    }
    absl::StrAppend(&out, EncodeUtf8(text.substr(copied, start - copied)));
    // An empty match right behind another match is part of it.
    if (*end > copied || start == 0) absl::StrAppend(&out, replacement);
    copied = *end;
    if (!all) break;
    start = std::max(start + 1, *end);
    if (out.size() > kTrimStepsMax) return TooManySteps();
  }
  absl::StrAppend(&out, EncodeUtf8(text.substr(copied)));
  return out;
}

TrimPattern TrimPattern::Reversed() const {
  TrimPattern out = *this;
  std::reverse(out.segments_.begin(), out.segments_.end());
  for (Segment& segment : out.segments_) std::reverse(segment.begin(), segment.end());
  return out;
}

// Each segment but the last is placed as early as possible: that never takes from the later ones,
// since a `*` cannot cross a line end and so the choice is within a line. The last one decides
// between shortest and longest.
std::optional<size_t> TrimPattern::Match(const std::u32string& text, size_t start, Length length,
                                         size_t& steps) const {
  if (!MatchSegment(segments_[0], text, start, steps)) return std::nullopt;
  size_t at = start + segments_[0].size();
  for (size_t i = 1; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    const bool last = i + 1 == segments_.size();
    std::optional<size_t> found;
    for (size_t candidate = at; steps > 0; ++candidate) {
      --steps;
      if (MatchSegment(segment, text, candidate, steps)) found = candidate;
      if (found.has_value() && !(last && length == Length::kLongest)) break;
      if (candidate >= text.size() || text[candidate] == '\n') break;
    }
    if (!found.has_value()) return std::nullopt;
    at = *found + segment.size();
  }
  return at;
}

bool TrimPattern::MatchSegment(const Segment& segment, const std::u32string& text, size_t at,
                               size_t& steps) {
  if (segment.size() > text.size() - std::min(at, text.size())) return false;
  for (const Token& token : segment) {
    if (steps == 0) return false;
    --steps;
    const char32_t c = text[at++];
    if (token.kind == Token::Kind::kAny ? c == '\n' : c != token.character) return false;
  }
  return true;
}

}  // namespace farm
