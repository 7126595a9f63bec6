#include "dockerfile/lexer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "base/utf8.h"

namespace farm {
namespace {

bool IsComment(absl::string_view line) {
  line = StripLeadingSpace(line);
  return !line.empty() && line[0] == '#';
}

// A name as directives have: a letter, then letters and digits.
absl::string_view TakeDirectiveName(absl::string_view& text) {
  size_t length = 0;
  while (length < text.size() && absl::ascii_isalnum(text[length])) ++length;
  if (length > 0 && !absl::ascii_isalpha(text[0])) length = 0;
  const absl::string_view name = text.substr(0, length);
  text.remove_prefix(length);
  return name;
}

}  // namespace

size_t LogicalLine::SourceOffset(size_t offset) const {
  const auto next =
      std::upper_bound(pieces.begin(), pieces.end(), std::make_pair(offset, SIZE_MAX));
  const auto& [piece, source] = *std::prev(next);
  return source + (offset - piece);
}

absl::StatusOr<std::optional<LogicalLine>> Lexer::Next() {
  while (next_line_ <= source_.line_count()) {
    const int number = next_line_++;
    const absl::string_view whole = source_.Line(number);
    absl::string_view line = StripLeadingSpace(whole);
    const size_t indent = whole.size() - line.size();
    ASSIGN_OR_RETURN(const bool is_directive,
                     ReadDirective(line, source_.PositionAt(source_.LineStart(number) + indent)));
    if (is_directive) continue;
    if (absl::ConsumePrefix(&line, "#")) {
      ReadComment(line);
      continue;
    }
    if (line.empty()) {
      comments_.clear();
      continue;
    }
    LogicalLine out;
    out.line = number;
    out.comments = std::exchange(comments_, {});
    out.pieces.emplace_back(0, source_.LineStart(number) + indent);
    const bool continues = ConsumeContinuation(line);
    absl::StrAppend(&out.text, line);
    if (continues) ReadContinuations(out);
    out.end_line = current_line();
    return out;
  }
  return std::nullopt;
}

void Lexer::ReadContinuations(LogicalLine& out) {
  bool continues = true;
  while (continues && next_line_ <= source_.line_count()) {
    const int number = next_line_++;
    absl::string_view line = source_.Line(number);
    if (IsComment(line)) continue;
    if (StripLeadingSpace(line).empty()) {
      out.has_empty_continuation = true;
      continue;
    }
    out.pieces.emplace_back(out.text.size(), source_.LineStart(number));
    continues = ConsumeContinuation(line);
    absl::StrAppend(&out.text, line);
  }
}

// The last character but for spaces continues the line, unless the same one is before it.
bool Lexer::ConsumeContinuation(absl::string_view& line) const {
  absl::string_view rest = line;
  while (!rest.empty() && (rest.back() == ' ' || rest.back() == '\t')) rest.remove_suffix(1);
  if (rest.empty() || rest.back() != escape_) return false;
  rest.remove_suffix(1);
  if (!rest.empty() && rest.back() == escape_) return false;
  line = rest;
  return true;
}

void Lexer::ReadComment(absl::string_view comment) {
  comment = absl::StripAsciiWhitespace(comment);
  if (comment.empty()) {
    comments_.clear();
  } else {
    comments_.emplace_back(comment);
  }
}

absl::StatusOr<bool> Lexer::ReadDirective(absl::string_view line, const SourcePosition& position) {
  if (directives_end_) return false;
  directives_end_ = true;  // Unless it is one.
  if (!absl::ConsumePrefix(&line, "#")) return false;
  line = absl::StripLeadingAsciiWhitespace(line);
  const std::string name = absl::AsciiStrToLower(TakeDirectiveName(line));
  line = absl::StripAsciiWhitespace(line);
  if (!absl::ConsumePrefix(&line, "=")) return false;
  const std::string value(absl::StripAsciiWhitespace(line));
  if (value.empty()) return false;
  if (name != "syntax" && name != "escape" && name != "check") return false;
  for (const ParserDirective& seen : directives_) {
    if (seen.name != name) continue;
    return source_.Error(position,
                         absl::StrCat("only one ", name, " parser directive can be used"));
  }
  if (name == "escape") {
    if (value != "\\" && value != "`") {
      return source_.Error(position,
                           absl::StrCat("invalid escape token '", value, "': must be ` or \\"));
    }
    escape_ = value[0];
  }
  directives_.push_back({.name = name, .value = value, .line = position.line});
  directives_end_ = false;
  return true;
}

absl::StatusOr<Heredoc> Lexer::ReadHeredoc(const HeredocMarker& marker,
                                           const SourcePosition& marker_position) {
  Heredoc out;
  out.name = marker.name;
  out.expand = marker.expand;
  out.chomp = marker.chomp;
  while (next_line_ <= source_.line_count()) {
    const int number = next_line_++;
    absl::string_view line = source_.LineWithEnd(number);
    absl::string_view end = line;
    while (!end.empty() && (end.back() == '\n' || end.back() == '\r')) end.remove_suffix(1);
    while (marker.chomp && absl::ConsumePrefix(&end, "\t")) {
    }
    if (end == marker.name) {
      out.data = marker.chomp ? ChompHeredoc(out.text) : out.text;
      return out;
    }
    absl::StrAppend(&out.text, line);
  }
  return source_.Error(marker_position,
                       absl::StrCat("unterminated heredoc: no line is '", marker.name, "' alone"));
}

}  // namespace farm
