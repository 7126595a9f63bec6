#ifndef FARM_COORDINATOR_COLLECTOR_H_
#define FARM_COORDINATOR_COLLECTOR_H_

#include "absl/status/statusor.h"
#include "proto/farm/v1/admin.pb.h"

namespace farm {

// Keeps the store between its marks, and answers `farm du` and `farm prune`. Calls block on the
// disk. Safe for concurrent calls.
class Collector {
 public:
  virtual ~Collector() = default;

  virtual absl::StatusOr<v1::DiskUsageResponse> DiskUsage() = 0;
  // Removes what no build, lease or tagged image holds, the least recently used first. While builds
  // are under way, what was used since the oldest began stays, and what was an hour before. Takes
  // seconds at least.
  virtual absl::StatusOr<v1::PruneResponse> Prune(const v1::PruneRequest& request) = 0;
  // One round: if the store is over its high mark, removes down to the low mark.
  virtual absl::Status Collect() = 0;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_COLLECTOR_H_
