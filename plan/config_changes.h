#ifndef FARM_PLAN_CONFIG_CHANGES_H_
#define FARM_PLAN_CONFIG_CHANGES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "oci/image_config.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// The config that `changes`, each an instruction of a Dockerfile ("CMD [\"sh\"]"), make of an empty
// one, as docker import --change has it. INVALID_ARGUMENT for an instruction that needs a step, or
// is wrong; it names --change.
absl::StatusOr<ContainerConfig> ApplyConfigChanges(const std::vector<std::string>& changes,
                                                   const v1::Platform& platform);

}  // namespace farm

#endif  // FARM_PLAN_CONFIG_CHANGES_H_
