#include "dockerfile/dockerignore.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "dockerfile/clean_path.h"

namespace farm {

absl::StatusOr<DockerIgnore> DockerIgnore::Parse(const std::string& file, absl::string_view text) {
  if (text.size() > kDockerignoreBytesMax) {
    return ErrorAt({.file = file},
                   absl::StrCat("the file has ", text.size(), " bytes, more than the limit of ",
                                kDockerignoreBytesMax));
  }
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");
  DockerIgnore out;
  out.file_ = file;
  SourcePosition position{.file = file};
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++position.line;
    if (absl::StartsWith(line, "#")) continue;
    RETURN_IF_ERROR(out.Add(line, /*rooted=*/true, position));
  }
  return out;
}

absl::StatusOr<DockerIgnore> DockerIgnore::FromPatterns(const std::vector<std::string>& patterns) {
  DockerIgnore out;
  SourcePosition position;
  for (const std::string& pattern : patterns) {
    ++position.line;
    RETURN_IF_ERROR(out.Add(pattern, /*rooted=*/false, position));
  }
  return out;
}

absl::Status DockerIgnore::Add(absl::string_view line, bool rooted,
                               const SourcePosition& position) {
  absl::string_view text = absl::StripAsciiWhitespace(line);
  if (text.empty()) return absl::OkStatus();
  if (patterns_.size() == kDockerignorePatternsMax) {
    return ErrorAt(position, absl::StrCat("more than ", kDockerignorePatternsMax, " patterns"));
  }
  Pattern pattern;
  pattern.exception = absl::ConsumePrefix(&text, "!");
  text = absl::StripAsciiWhitespace(text);
  if (text.empty()) return ErrorAt(position, "illegal exclusion pattern: \"!\"", line);
  std::string clean = CleanPath(text);
  if (rooted && clean.size() > 1 && clean[0] == '/') clean.erase(0, 1);

  absl::StatusOr<GlobPattern> glob = GlobPattern::Parse(clean, {.double_star = true});
  if (!glob.ok()) return ErrorAt(position, glob.status().message(), line);
  pattern.glob = *std::move(glob);
  pattern.text = clean;
  pattern.line = position.line;
  // Not what "**/" says elsewhere: "**b" is each path that ends in b, "ab" included.
  if (absl::StartsWith(clean, "**") && clean.find_first_of("*?[]\\", 2) == std::string::npos) {
    pattern.is_suffix = true;
    pattern.suffix = clean.substr(2);
  }
  has_exceptions_ |= pattern.exception;
  patterns_.push_back(std::move(pattern));
  return absl::OkStatus();
}

std::vector<std::string> DockerIgnore::Patterns() const {
  std::vector<std::string> lines;
  for (const Pattern& pattern : patterns_) {
    lines.push_back(absl::StrCat(pattern.exception ? "!" : "", pattern.text));
  }
  return lines;
}

DockerIgnore::Verdict DockerIgnore::Judge(absl::string_view path, const Verdict& parent) const {
  Verdict verdict;
  verdict.matched.resize(patterns_.size());
  for (size_t i = 0; i < patterns_.size(); ++i) {
    bool match = !parent.matched.empty() && parent.matched[i];
    // A pattern that could change nothing is not tried. That is more than an optimisation: it then
    // does not count as matched for what is beneath.
    if (!match && patterns_[i].exception == verdict.ignored) {
      match = patterns_[i].Matches(path, verdict.steps);
    }
    verdict.matched[i] = match;
    if (match) verdict.ignored = !patterns_[i].exception;
  }
  verdict.skip_beneath = verdict.ignored;
  for (size_t i = 0; i < patterns_.size() && verdict.skip_beneath; ++i) {
    if (patterns_[i].exception && patterns_[i].MayMatchBeneath(path, verdict.steps)) {
      verdict.skip_beneath = false;
    }
  }
  return verdict;
}

bool DockerIgnore::Ignores(absl::string_view path) const { return JudgeFromRoot(path).ignored; }

std::optional<DockerIgnore::Reason> DockerIgnore::WhyIgnored(absl::string_view path) const {
  const Verdict verdict = JudgeFromRoot(path);
  if (!verdict.ignored) return std::nullopt;
  // The last that matched has decided.
  const auto last = std::find(verdict.matched.rbegin(), verdict.matched.rend(), true);
  const Pattern& pattern = patterns_[verdict.matched.rend() - last - 1];
  return Reason{.position = {.file = file_, .line = pattern.line}, .pattern = pattern.text};
}

DockerIgnore::Verdict DockerIgnore::JudgeFromRoot(absl::string_view path) const {
  Verdict verdict;
  for (size_t slash = path.find('/'); slash != absl::string_view::npos;
       slash = path.find('/', slash + 1)) {
    verdict = Judge(path.substr(0, slash), verdict);
  }
  return Judge(path, verdict);
}

bool DockerIgnore::Pattern::Matches(absl::string_view path, uint64_t& steps) const {
  if (!is_suffix) return glob.Matches(path, steps);
  return absl::EndsWith(path, suffix) || suffix == absl::StrCat("/", path);
}

bool DockerIgnore::Pattern::MayMatchBeneath(absl::string_view directory, uint64_t& steps) const {
  return is_suffix || glob.MayMatchBeginningWith(absl::StrCat(directory, "/"), steps);
}

}  // namespace farm
