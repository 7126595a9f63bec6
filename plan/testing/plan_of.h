#ifndef FARM_PLAN_TESTING_PLAN_OF_H_
#define FARM_PLAN_TESTING_PLAN_OF_H_

#include <string>

#include "absl/status/statusor.h"
#include "dockerfile/instruction.h"
#include "oci/image_config.h"
#include "plan/planner.h"

namespace farm {

// An image for linux/amd64 of one layer, and nothing else.
ImageConfig OneLayer();

PlanOptions OnAmd64();

// Of a text that is a Dockerfile.
Dockerfile Parse(const std::string& text);

// Resolves each image to `config` until the planner knows all that it needs.
absl::StatusOr<Plan> PlanOf(const Dockerfile& file, const PlanOptions& options,
                            const ImageConfig& config = OneLayer());
absl::StatusOr<Plan> PlanOf(const std::string& text, const PlanOptions& options = {},
                            const ImageConfig& config = OneLayer());

}  // namespace farm

#endif  // FARM_PLAN_TESTING_PLAN_OF_H_
