#include "plan/plan.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// For the end of a message.
std::string InBrackets(const std::string& origin) {
  return origin.empty() ? "" : absl::StrCat(" (", origin, ")");
}

// The steps that must be done before `file_system` is whole. A linked step does not wait for what
// is below it, so that has to be named as well.
void AddStepsOf(const Plan& plan, FileSystemRef file_system, std::set<int>& steps) {
  while (file_system.kind == FileSystemRef::Kind::kStep) {
    const PlanStep& step = plan.steps[file_system.index];
    if (!steps.insert(file_system.index).second || !step.link) return;
    file_system = step.parent;
  }
}

}  // namespace

std::vector<int> PlanStep::Dependencies(const Plan& plan) const {
  std::set<int> steps;
  if (!link) AddStepsOf(plan, parent, steps);
  for (const SourceRequest& request : sources) AddStepsOf(plan, request.from, steps);
  return {steps.begin(), steps.end()};
}

absl::Status PlanStep::Error(absl::string_view message) const {
  return ErrorAt(position, absl::StrCat(message, InBrackets(origin)), source_line);
}

absl::Status PlanStep::Locate(const absl::Status& error) const {
  if (PositionOf(error).has_value()) return error;
  return Extend(Annotate(error, absl::StrCat(position.ToString(), ": ", name)), InBrackets(origin));
}

}  // namespace farm
