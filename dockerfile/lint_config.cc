#include "dockerfile/lint_config.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace farm {

absl::StatusOr<LintConfig> LintConfig::Parse(absl::string_view check) {
  LintConfig out;
  check = absl::StripAsciiWhitespace(check);
  check = check.substr(0, check.find(' '));
  if (check.empty()) return out;
  for (const absl::string_view part : absl::StrSplit(check, ';')) {
    const std::pair<absl::string_view, absl::string_view> option =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    const absl::string_view name = absl::StripAsciiWhitespace(option.first);
    const absl::string_view value = absl::StripAsciiWhitespace(option.second);
    if (name == "skip" && absl::StrContains(part, '=')) {
      out.skip_.Add(value);
    } else if (name == "experimental" && absl::StrContains(part, '=')) {
      out.experimental_.Add(value);
    } else if (name != "error" || !absl::SimpleAtob(value, &out.error_)) {
      return absl::InvalidArgumentError(
          absl::StrCat("invalid check option \"", part,
                       "\": known are skip=RULES, experimental=RULES and error=true"));
    }
  }
  return out;
}

LintConfig LintConfig::With(const std::vector<std::string>& comments) const {
  for (absl::string_view comment : comments) {
    if (!absl::ConsumePrefix(&comment, "check")) continue;
    comment = absl::StripLeadingAsciiWhitespace(comment);
    if (!absl::ConsumePrefix(&comment, "=")) continue;
    const absl::StatusOr<LintConfig> extra = Parse(comment);
    if (!extra.ok()) return *this;
    LintConfig out = *this;
    out.skip_.Add(extra->skip_);
    out.experimental_.Add(extra->experimental_);
    return out;
  }
  return *this;
}

bool LintConfig::Enables(absl::string_view rule, bool is_experimental) const {
  return is_experimental ? experimental_.Has(rule) : !skip_.Has(rule);
}

bool LintConfig::Selection::Has(absl::string_view rule) const {
  return all || rules.contains(std::string(rule));
}

void LintConfig::Selection::Add(absl::string_view list) {
  if (list == "all") {
    all = true;
    return;
  }
  for (const absl::string_view rule : absl::StrSplit(list, ',')) {
    rules.emplace(absl::StripAsciiWhitespace(rule));
  }
}

void LintConfig::Selection::Add(const Selection& other) {
  all |= other.all;
  rules.insert(other.rules.begin(), other.rules.end());
}

}  // namespace farm
