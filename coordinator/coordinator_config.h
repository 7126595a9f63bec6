#ifndef FARM_COORDINATOR_COORDINATOR_CONFIG_H_
#define FARM_COORDINATOR_COORDINATOR_CONFIG_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/farm/v1/config.pb.h"

namespace farm {

// What the command line says; empty: not given.
struct CoordinatorFlags {
  std::string file;
  std::vector<std::string> listen;
  std::string state_dir;
  std::string idle_shutdown;  // "15m"
};

// The settings that are in force: defaults, then the file's, then the flags'. INVALID_ARGUMENT for
// settings that make no sense (a low mark over the high mark, nothing to listen on).
absl::StatusOr<v1::CoordinatorConfig> EffectiveConfig(const CoordinatorFlags& flags);

// True if it listens on unix sockets alone: all that use the farm are on its host.
bool IsLocal(const v1::CoordinatorConfig& config);

}  // namespace farm

#endif  // FARM_COORDINATOR_COORDINATOR_CONFIG_H_
