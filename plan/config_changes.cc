#include "plan/config_changes.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "dockerfile/parser.h"
#include "plan/planner.h"

namespace farm {
namespace {

// Docker takes these in --change; others would need a step.
constexpr absl::string_view kChangeable[] = {"CMD",     "ENTRYPOINT",  "ENV",        "EXPOSE",
                                             "ONBUILD", "USER",        "VOLUME",     "WORKDIR",
                                             "LABEL",   "HEALTHCHECK", "STOPSIGNAL", "SHELL"};

}  // namespace

absl::StatusOr<ContainerConfig> ApplyConfigChanges(const std::vector<std::string>& changes,
                                                   const v1::Platform& platform) {
  for (const std::string& change : changes) {
    const std::string word = absl::AsciiStrToUpper(change.substr(0, change.find_first_of(" \t")));
    if (std::find(std::begin(kChangeable), std::end(kChangeable), word) == std::end(kChangeable)) {
      return absl::InvalidArgumentError(absl::StrCat("--change: ", word,
                                                     " is not a valid change instruction, expected "
                                                     "one of ",
                                                     absl::StrJoin(kChangeable, ", ")));
    }
  }
  if (changes.empty()) return ContainerConfig();
  ASSIGN_OR_RETURN(
      DockerfileSource source,
      DockerfileSource::Create("--change",
                               absl::StrCat("FROM scratch\n", absl::StrJoin(changes, "\n"), "\n")));
  ASSIGN_OR_RETURN(const Dockerfile file, ParseDockerfile(std::move(source)));
  PlanOptions options;
  options.platform = platform;
  options.build_platform = platform;
  ASSIGN_OR_RETURN(Plan plan, MakePlan(file, {}, options));
  return std::move(plan.config.config);
}

}  // namespace farm
