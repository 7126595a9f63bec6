// The rules of lint.h, by what they look at; for lint.cc alone.
#ifndef FARM_DOCKERFILE_LINT_RULES_H_
#define FARM_DOCKERFILE_LINT_RULES_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/string_view.h"
#include "dockerfile/expand.h"
#include "dockerfile/lint.h"
#include "dockerfile/lint_config.h"

namespace farm {

using LintVariables = std::map<std::string, std::string>;

// Collects what the rules find, as far as they are on.
class LintWarningList {
 public:
  LintWarningList(LintConfig config, const Dockerfile& file);

  void Add(absl::string_view rule, const Instruction& instruction, std::string message,
           bool is_experimental = false);
  void AddAtLine(absl::string_view rule, int line, std::string message);

  LintResult Take();

 private:
  void Append(LintWarning warning);

  LintConfig config_;
  std::map<int, LintConfig> config_at_line_;  // With the comments of the instruction there.
  std::set<std::tuple<int, std::string, std::string>> seen_;
  std::vector<LintWarning> warnings_;
};

// Rules that see the text alone.
void LintText(const Dockerfile& file, LintWarningList& out);

// Rules on FROM lines. `global_args` is what they see; `defaults` is the same if no build argument
// were given, nullopt if that is an error.
void LintFroms(const Dockerfile& file, const LintVariables& global_args,
               const std::optional<LintVariables>& defaults, LintWarningList& out);

// Rules on the instructions of stages, which see what is set before them.
void LintStages(const Dockerfile& file, const StageGraph& graph, const LintOptions& options,
                LintWarningList& out);

VariableLookup LookupIn(const LintVariables& variables);

// " (did you mean $NAME?)" with `prefix` "$", or "".
std::string SuggestName(absl::string_view name, std::vector<std::string> known,
                        const LintVariables& variables, absl::string_view prefix);

}  // namespace farm

#endif  // FARM_DOCKERFILE_LINT_RULES_H_
