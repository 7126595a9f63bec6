#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "dockerfile/image_name.h"
#include "dockerfile/lint_rules.h"

namespace farm {
namespace {

class FromLinter {
 public:
  FromLinter(const Dockerfile& file, const LintVariables& global_args,
             const std::optional<LintVariables>& defaults, LintWarningList& out)
      : file_(file), global_args_(global_args), defaults_(defaults), out_(out) {}

  void Run() {
    bool before_from = true;
    for (const Instruction& instruction : file_.instructions) {
      if (const auto* from = std::get_if<FromInstruction>(&instruction.body)) {
        before_from = false;
        CheckBase(instruction, *from);
        if (!from->platform.empty()) CheckPlatform(instruction, *from);
      } else if (const auto* arg = std::get_if<ArgInstruction>(&instruction.body);
                 arg != nullptr && before_from) {
        for (const ArgDeclaration& declaration : arg->args) declared_.insert(declaration.name);
      }
    }
  }

 private:
  void CheckBase(const Instruction& instruction, const FromInstruction& from) {
    const absl::StatusOr<Expansion> base = Expand(from.base, global_args_);
    if (!base.ok()) return;
    ReportUndeclared(instruction, *base);
    if (!defaults_.has_value()) return;
    const absl::StatusOr<Expansion> by_default = Expand(from.base, *defaults_);
    if (by_default.ok() && !LooksLikeImageName(by_default->text)) {
      out_.Add("InvalidDefaultArgInFrom", instruction,
               absl::StrCat("Default value for ARG ", from.base,
                            " results in empty or invalid base image name"));
    }
  }

  void CheckPlatform(const Instruction& instruction, const FromInstruction& from) {
    const absl::StatusOr<Expansion> platform = Expand(from.platform, global_args_);
    if (!platform.ok()) return;
    ReportUndeclared(instruction, *platform);
    if (platform->used == std::set<std::string>{"TARGETPLATFORM"} && platform->unset.empty() &&
        platform->text == global_args_.at("TARGETPLATFORM")) {
      out_.Add("RedundantTargetPlatform", instruction,
               absl::StrCat("Setting platform to predefined ", from.platform,
                            " in FROM is redundant as this is the default behavior"));
    }
    if (!platform->used.empty() || !platform->unset.empty()) return;
    // A stage that is named after its platform means it.
    for (const absl::string_view part : absl::StrSplit(platform->text, absl::MaxSplits('/', 2))) {
      if (!part.empty() && absl::StrContains(from.name, part)) return;
    }
    out_.Add("FromPlatformFlagConstDisallowed", instruction,
             absl::StrCat("FROM --platform flag should not use constant value \"", platform->text,
                          "\""));
  }

  void ReportUndeclared(const Instruction& instruction, const Expansion& expansion) {
    for (const std::string& name : expansion.unset) {
      if (declared_.contains(name)) continue;
      out_.Add(
          "UndefinedArgInFrom", instruction,
          absl::StrCat("FROM argument '", name, "' is not declared",
                       SuggestName(name, {declared_.begin(), declared_.end()}, global_args_, "")));
    }
  }

  absl::StatusOr<Expansion> Expand(const std::string& word, const LintVariables& variables) const {
    return Expander({.escape = file_.escape}, LookupIn(variables)).Expand(word);
  }

  const Dockerfile& file_;
  const LintVariables& global_args_;
  const std::optional<LintVariables>& defaults_;
  LintWarningList& out_;
  std::set<std::string> declared_;  // Global ARGs, those without value included.
};

}  // namespace

void LintFroms(const Dockerfile& file, const LintVariables& global_args,
               const std::optional<LintVariables>& defaults, LintWarningList& out) {
  FromLinter(file, global_args, defaults, out).Run();
}

}  // namespace farm
