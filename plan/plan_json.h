#ifndef FARM_PLAN_PLAN_JSON_H_
#define FARM_PLAN_PLAN_JSON_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dockerfile/instruction.h"
#include "dockerfile/lint.h"
#include "plan/plan.h"

namespace farm {

// The document "farm.plan/1" that `farm plan --format json` prints (docs/formats/plan-json.md), on
// one line that ends in "\n". An error in `file` or `plan` becomes {"ok": false}; as much as is
// known is told all the same. Keys with nothing to tell are left out. Bytes that are not UTF-8
// become U+FFFD.
std::string PlanJson(const absl::StatusOr<Dockerfile>& file, const absl::StatusOr<Plan>& plan,
                     const std::vector<LintWarning>& warnings = {});

}  // namespace farm

#endif  // FARM_PLAN_PLAN_JSON_H_
