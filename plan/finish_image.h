#ifndef FARM_PLAN_FINISH_IMAGE_H_
#define FARM_PLAN_FINISH_IMAGE_H_

#include <vector>

#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/digest.h"
#include "oci/image_config.h"
#include "plan/plan.h"

namespace farm {

// What a step left, as the image's config tells it.
struct StepLayer {
  Digest diff_id;
  absl::Time finished;  // when its command ended, the first time it ran
};

// The complete config of the plan's image. `layers[i]` belongs to plan.steps[i]; steps that are not
// in the result's chain are not looked at. Times come from the layers alone, so a build that runs
// nothing makes the same bytes again: a metadata-only line gets the time of this build's layer
// before it, or of the first one after it, or else the last time of the base. None is later than
// plan.created_max.
ImageConfig FinishImageConfig(const Plan& plan, absl::Span<const StepLayer> layers);

// Indexes of the steps whose layers stand on plan.result's base, lowest first.
std::vector<int> StepsOf(const Plan& plan, FileSystemRef file_system);
// The base image (index in plan.bases) that `file_system` stands on; -1: scratch.
int BaseOf(const Plan& plan, FileSystemRef file_system);

}  // namespace farm

#endif  // FARM_PLAN_FINISH_IMAGE_H_
