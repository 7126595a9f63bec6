#include "dockerfile/lint.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "dockerfile/lint_rules.h"

namespace farm {
namespace {

constexpr char kCheckArg[] = "BUILDKIT_DOCKERFILE_CHECK";

struct RuleText {
  absl::string_view rule;
  absl::string_view page;
  absl::string_view summary;
};
constexpr RuleText kRuleTexts[] = {
    {"ConsistentInstructionCasing", "consistent-instruction-casing",
     "All commands within the Dockerfile should use the same casing (either upper or lower)"},
    {"CopyIgnoredFile", "copy-ignored-file",
     "Attempting to Copy file that is excluded by .dockerignore"},
    {"DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"},
    {"ExposeInvalidFormat", "expose-invalid-format",
     "IP address and host-port mapping should not be used in EXPOSE instruction"},
    {"ExposeProtoCasing", "expose-proto-casing",
     "Protocol in EXPOSE instruction should be lowercase"},
    {"FromAsCasing", "from-as-casing",
     "The 'as' keyword should match the case of the 'from' keyword"},
    {"FromPlatformFlagConstDisallowed", "from-platform-flag-const-disallowed",
     "FROM --platform flag should not use a constant value"},
    {"InvalidBaseImagePlatform", "invalid-base-image-platform",
     "Base image platform does not match expected target platform"},
    {"InvalidDefaultArgInFrom", "invalid-default-arg-in-from",
     "Default value for global ARG results in an empty or invalid base image name"},
    {"InvalidDefinitionDescription", "invalid-definition-description",
     "Comment for build stage or argument should follow the format: `# <arg/stage name> "
     "<description>`"},
    {"JSONArgsRecommended", "json-args-recommended",
     "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS "
     "signals"},
    {"LegacyKeyValueFormat", "legacy-key-value-format",
     "Legacy key/value format with whitespace separator should not be used"},
    {"MaintainerDeprecated", "maintainer-deprecated",
     "The MAINTAINER instruction is deprecated, use a label instead to define an image author"},
    {"MultipleInstructionsDisallowed", "multiple-instructions-disallowed",
     "Multiple instructions of the same type should not be used in the same stage"},
    {"NoEmptyContinuation", "no-empty-continuation",
     "Empty continuation lines will become errors in a future release"},
    {"RedundantTargetPlatform", "redundant-target-platform",
     "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
     "behavior"},
    {"ReservedStageName", "reserved-stage-name",
     "Reserved words should not be used as stage names"},
    {"SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env",
     "Sensitive data should not be used in the ARG or ENV commands"},
    {"StageNameCasing", "stage-name-casing", "Stage names should be lowercase"},
    {"UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"},
    {"UndefinedVar", "undefined-var", "Variables should be defined before their use"},
    {"WorkdirRelativePath", "workdir-relative-path",
     "Relative workdir without an absolute workdir declared within the build can have unexpected "
     "results if the base image changes"},
};

const RuleText* FindRuleText(absl::string_view rule) {
  for (const RuleText& text : kRuleTexts) {
    if (text.rule == rule) return &text;
  }
  return nullptr;
}

absl::StatusOr<LintConfig> ConfigOf(const Dockerfile& file, const LintOptions& options) {
  const auto given = options.stages.build_args.find(kCheckArg);
  if (given != options.stages.build_args.end()) {
    ASSIGN_OR_RETURN(LintConfig config, LintConfig::Parse(given->second), _ << kCheckArg);
    return config;
  }
  for (const ParserDirective& directive : file.directives) {
    if (directive.name != "check") continue;
    absl::StatusOr<LintConfig> config = LintConfig::Parse(directive.value);
    if (config.ok()) return config;
    return file.source->Error({.file = file.source->file(), .line = directive.line, .column = 1},
                              config.status().message());
  }
  return LintConfig();
}

}  // namespace

absl::StatusOr<LintResult> Lint(const Dockerfile& file, const LintOptions& options) {
  ASSIGN_OR_RETURN(LintConfig config, ConfigOf(file, options));
  LintWarningList out(std::move(config), file);
  LintText(file, out);
  StageGraphOptions no_build_args = options.stages;
  no_build_args.build_args.clear();
  const absl::StatusOr<LintVariables> args = GlobalArgs(file, options.stages);
  const absl::StatusOr<LintVariables> defaults = GlobalArgs(file, no_build_args);
  if (args.ok()) {
    LintFroms(file, *args, defaults.ok() ? std::make_optional(*defaults) : std::nullopt, out);
  }
  const absl::StatusOr<StageGraph> graph = StageGraph::Create(file, options.stages);
  if (graph.ok()) LintStages(file, *graph, options, out);
  return out.Take();
}

absl::Status LintResult::ToStatus(const Dockerfile& file) const {
  if (!is_error) return absl::OkStatus();
  std::set<std::string> rules;
  for (const LintWarning& warning : warnings) rules.insert(warning.rule);
  SourcePosition position{.file = file.source->file(), .line = 1, .column = 1};
  for (const ParserDirective& directive : file.directives) {
    if (directive.name == "check") position.line = directive.line;
  }
  return file.source->Error(
      position, absl::StrCat("lint violation found for rules: ", absl::StrJoin(rules, ", ")));
}

absl::string_view LintRuleSummary(absl::string_view rule) {
  const RuleText* text = FindRuleText(rule);
  return text == nullptr ? absl::string_view() : text->summary;
}

std::string LintRuleUrl(absl::string_view rule) {
  const RuleText* text = FindRuleText(rule);
  if (text == nullptr) return "";
  return absl::StrCat("https://docs.docker.com/go/dockerfile/rule/", text->page, "/");
}

LintWarningList::LintWarningList(LintConfig config, const Dockerfile& file)
    : config_(std::move(config)) {
  for (const Instruction& instruction : file.instructions) {
    config_at_line_[instruction.position.line] = config_.With(instruction.comments);
  }
}

void LintWarningList::Add(absl::string_view rule, const Instruction& instruction,
                          std::string message, bool is_experimental) {
  const int line = instruction.position.line;
  if (!config_at_line_[line].Enables(rule, is_experimental)) return;
  Append({.rule = std::string(rule), .line = line, .message = std::move(message)});
}

void LintWarningList::AddAtLine(absl::string_view rule, int line, std::string message) {
  if (!config_.Enables(rule, /*is_experimental=*/false)) return;
  Append({.rule = std::string(rule), .line = line, .message = std::move(message)});
}

void LintWarningList::Append(LintWarning warning) {
  if (!seen_.insert({warning.line, warning.rule, warning.message}).second) return;
  warnings_.push_back(std::move(warning));
}

LintResult LintWarningList::Take() {
  std::stable_sort(warnings_.begin(), warnings_.end(),
                   [](const auto& a, const auto& b) { return a.line < b.line; });
  return {.warnings = std::move(warnings_), .is_error = config_.error() && !seen_.empty()};
}

VariableLookup LookupIn(const LintVariables& variables) {
  return [&variables](absl::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(std::string(name));
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

std::string SuggestName(absl::string_view name, std::vector<std::string> known,
                        const LintVariables& variables, absl::string_view prefix) {
  for (const auto& [variable, value] : variables) known.push_back(variable);
  const std::string match = ClosestMatch(name, known);
  return match.empty() ? "" : absl::StrCat(" (did you mean ", prefix, match, "?)");
}

}  // namespace farm
