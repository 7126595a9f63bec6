// What is known of a plan before any instruction is lowered: the stages that the target needs, and
// what they read. Part of the planner.
#ifndef FARM_PLAN_OUTLINE_H_
#define FARM_PLAN_OUTLINE_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/source_position.h"
#include "dockerfile/instruction.h"
#include "dockerfile/stage_graph.h"
#include "oci/platform.h"
#include "plan/planner.h"

namespace farm {

// ONBUILD's, where it is pulled in.
struct Trigger {
  Instruction instruction;
  std::string origin;  // As PlanStep::origin.
};

// An image, and the first line that names it.
struct ImageUse {
  ImageKey key;
  std::string written;  // After expansion.
  SourcePosition position;
  int stage = 0;       // That the line is of.
  std::string origin;  // Of a trigger's line, as PlanStep::origin.
};

// What is known before any instruction is lowered.
struct Outline {
  StageGraph graph;
  Platform platform;
  int target = 0;
  std::vector<bool> needed;
  // Of each needed stage: the ONBUILD triggers of its base, as far as the base is resolved.
  std::vector<std::vector<Trigger>> triggers;
  std::vector<Platform> platforms;  // Of each stage.
  std::vector<ImageUse> images;     // Each once, in the order of the file.
  std::set<std::string> contexts;   // Names of those that are no images.
};

// Of the image: what was asked for, else that of who builds.
Platform TargetPlatform(const PlanOptions& options);

// Errors as of MakePlan().
absl::StatusOr<Outline> MakeOutline(const Dockerfile& file, const ResolvedImages& resolved,
                                    const PlanOptions& options);

// An error in a trigger of that origin, saying so. OK stays OK.
absl::Status FromTrigger(const absl::Status& status, const std::string& origin);

}  // namespace farm

#endif  // FARM_PLAN_OUTLINE_H_
