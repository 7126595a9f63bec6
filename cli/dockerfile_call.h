// What `farm build --call` asks of a Dockerfile instead of a build. Text and JSON are docker's.
#ifndef FARM_CLI_DOCKERFILE_CALL_H_
#define FARM_CLI_DOCKERFILE_CALL_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/build_files.h"
#include "dockerfile/lint.h"
#include "plan/planner.h"

namespace farm {

struct DockerfileCall {
  enum class Method { kBuild, kCheck, kOutline, kTargets };
  Method method = Method::kBuild;
  bool json = false;

  // "check", "check,format=json"; "lint" is "check". INVALID_ARGUMENT for other methods or keys.
  static absl::StatusOr<DockerfileCall> Parse(absl::string_view text);
};

// What a check finds: warnings of the whole file, or of what the target of `options` needs, and
// what a build would fail with, as far as that shows without any base image.
struct DockerfileCheck {
  std::vector<LintWarning> warnings;
  absl::Status error;
};
DockerfileCheck CheckDockerfile(const BuildFiles& files, const PlanOptions& options);

// Answers on `out`, errors on `err`. Asks no registry. 0, or 1 if there is an error or a warning.
int RunDockerfileCall(const DockerfileCall& call, const BuildFiles& files,
                      const PlanOptions& options, std::ostream& out, std::ostream& err);

}  // namespace farm

#endif  // FARM_CLI_DOCKERFILE_CALL_H_
