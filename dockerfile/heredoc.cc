#include "dockerfile/heredoc.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "dockerfile/expand.h"

namespace farm {
namespace {

std::optional<std::string> NoVariables(absl::string_view) { return std::nullopt; }

std::ptrdiff_t CountQuotes(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return c == '\'' || c == '"'; });
}

// The word that `text` is after its quotes are processed; nullopt if that is not exactly one.
std::optional<std::string> OneWord(absl::string_view text, bool keep_quotes) {
  const Expander expander({.keep_quotes = keep_quotes, .keep_unset = true}, NoVariables);
  absl::StatusOr<Expansion> expansion = expander.Expand(text);
  if (!expansion.ok() || expansion->words.size() != 1) return std::nullopt;
  return std::move(expansion->words[0]);
}

}  // namespace

std::optional<HeredocMarker> ParseHeredocMarker(absl::string_view word) {
  while (!word.empty() && absl::ascii_isdigit(word[0])) word.remove_prefix(1);
  if (!absl::ConsumePrefix(&word, "<<")) return std::nullopt;
  HeredocMarker marker;
  marker.chomp = absl::ConsumePrefix(&word, "-");
  word = absl::StripLeadingAsciiWhitespace(word);
  if (word.empty() || word.find('<') != absl::string_view::npos) return std::nullopt;
  const std::optional<std::string> name = OneWord(word, /*keep_quotes=*/false);
  const std::optional<std::string> quoted = OneWord(word, /*keep_quotes=*/true);
  if (!name.has_value() || !quoted.has_value()) return std::nullopt;
  marker.name = *name;
  marker.expand = CountQuotes(*name) == CountQuotes(*quoted);
  return marker;
}

std::vector<HeredocMarker> FindHeredocMarkers(absl::string_view instruction) {
  std::vector<HeredocMarker> markers;
  if (instruction.find("<<") == absl::string_view::npos) return markers;
  const Expander expander({.keep_quotes = true,
                           .keep_escapes = true,
                           .keep_unset = true,
                           .bytes_max = kHeredocExpansionBytesMax},
                          NoVariables);
  // A line that is no valid shell word list has no heredocs; its shell may know better.
  const absl::StatusOr<Expansion> expansion = expander.Expand(instruction);
  if (!expansion.ok()) return markers;
  for (const std::string& word : expansion->words) {
    if (std::optional<HeredocMarker> marker = ParseHeredocMarker(word); marker.has_value()) {
      markers.push_back(*std::move(marker));
    }
  }
  return markers;
}

std::string ChompHeredoc(absl::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && c == '\t') continue;
    out += c;
    line_start = c == '\n';
  }
  return out;
}

}  // namespace farm
