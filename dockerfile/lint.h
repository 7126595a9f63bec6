// Warnings about a Dockerfile that is valid but probably not what was meant: the rules of
// `docker build --check`, under their documented names.
//
//   ASSIGN_OR_RETURN(LintResult result, Lint(file, {}));
//   for (const LintWarning& w : result.warnings) Print(w.line, w.rule, w.message);
//   if (result.is_error) return Fail();
//
// Rules: StageNameCasing, FromAsCasing, NoEmptyContinuation, ConsistentInstructionCasing,
// DuplicateStageName, ReservedStageName, JSONArgsRecommended, MaintainerDeprecated,
// UndefinedArgInFrom, WorkdirRelativePath, UndefinedVar, MultipleInstructionsDisallowed,
// LegacyKeyValueFormat, InvalidBaseImagePlatform, RedundantTargetPlatform, SecretsUsedInArgOrEnv,
// InvalidDefaultArgInFrom, FromPlatformFlagConstDisallowed, ExposeProtoCasing, ExposeInvalidFormat;
// and, if `# check=experimental=` asks for them, CopyIgnoredFile and InvalidDefinitionDescription.
#ifndef FARM_DOCKERFILE_LINT_H_
#define FARM_DOCKERFILE_LINT_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/instruction.h"
#include "dockerfile/stage_graph.h"

namespace farm {

struct LintWarning {
  std::string rule;
  int line = 0;
  std::string message;

  friend bool operator==(const LintWarning&, const LintWarning&) = default;
};

struct LintResult {
  std::vector<LintWarning> warnings;  // By line; each once.
  bool is_error = false;              // There are warnings, and `# check=error=true`.

  // OK, or what a build fails with if `is_error`: the rules that are violated, at the directive.
  absl::Status ToStatus(const Dockerfile& file) const;
};

// What docker's documentation says of a rule: its summary and its page.
absl::string_view LintRuleSummary(absl::string_view rule);
std::string LintRuleUrl(absl::string_view rule);

// What some rules want to know of a base image.
struct LintBaseImage {
  std::map<std::string, std::string> env;
  bool has_shell = false;             // Its config has a Shell.
  std::string platform;               // "linux/amd64"; "" if unknown.
  std::string expected;               // The platform that it was asked for, in the same form.
  std::vector<std::string> on_build;  // Its triggers.
};

struct LintOptions {
  StageGraphOptions stages;
  const DockerIgnore* ignore = nullptr;  // Of the context, for CopyIgnoredFile.
  // Leaves out what stages that the target does not need would have to be warned of.
  bool target_only = false;
  // The base image of a FROM; nullopt, or no function: not known, and so taken to be empty.
  std::function<std::optional<LintBaseImage>(const SourceRef& image, absl::string_view platform)>
      base_image = nullptr;
};

// Looks at the whole file, also at stages that no target needs. The build argument
// BUILDKIT_DOCKERFILE_CHECK replaces the file's `# check=`. A file that cannot be built has the
// warnings that do not depend on what is wrong with it. INVALID_ARGUMENT, with position, for a
// `# check=` that cannot be understood.
absl::StatusOr<LintResult> Lint(const Dockerfile& file, const LintOptions& options);

}  // namespace farm

#endif  // FARM_DOCKERFILE_LINT_H_
