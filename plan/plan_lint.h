#ifndef FARM_PLAN_PLAN_LINT_H_
#define FARM_PLAN_PLAN_LINT_H_

#include "absl/status/statusor.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/lint.h"
#include "plan/planner.h"

namespace farm {

struct PlanLintOptions {
  const DockerIgnore* ignore = nullptr;  // Of the context, if it is at hand.
  bool target_only = false;              // See LintOptions.
};

// The warnings on `file` in a build with `options`, with what `resolved` tells of base images.
// Errors as of Lint().
absl::StatusOr<LintResult> LintForPlan(const Dockerfile& file, const ResolvedImages& resolved,
                                       const PlanOptions& options,
                                       const PlanLintOptions& lint = {});

}  // namespace farm

#endif  // FARM_PLAN_PLAN_LINT_H_
