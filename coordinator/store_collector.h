#ifndef FARM_COORDINATOR_STORE_COLLECTOR_H_
#define FARM_COORDINATOR_STORE_COLLECTOR_H_

#include <functional>
#include <memory>

#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/executor.h"
#include "base/mutex.h"
#include "cas/blob_store.h"
#include "cas/garbage_collector.h"
#include "cas/index.h"
#include "cas/record_sweeper.h"
#include "coordinator/collector.h"
#include "coordinator/image_store.h"
#include "coordinator/session_table.h"
#include "coordinator/table_cache.h"

namespace farm {

// The coordinator's collector. Alive is what tagged images and open sessions name; what steps gave
// can be made again, and goes when room is needed.
class StoreCollector final : public Collector {
 public:
  struct Options {
    int64_t high_mark_bytes = 0;
    int64_t low_mark_bytes = 0;
    absl::Duration grace = absl::Hours(6);
  };
  // `loop` owns `sessions`, so calls must not come from it. `stopping` ends a run early.
  StoreCollector(Clock& clock, Executor& loop, CollectableBlobStore& blobs, Index& index,
                 ImageStore& images, TableCache& tables, SessionTable& sessions,
                 const CancelToken& stopping, Options options);
  ~StoreCollector() override;

  absl::StatusOr<v1::DiskUsageResponse> DiskUsage() override;
  absl::StatusOr<v1::PruneResponse> Prune(const v1::PruneRequest& request) override;
  absl::Status Collect() override;

 private:
  class Known;
  // What is alive now. UNAVAILABLE while the coordinator stops.
  absl::StatusOr<std::unique_ptr<Known>> Look(bool keep_steps);
  // Runs `collect`, and has the index's records follow the blobs that it tells of.
  absl::StatusOr<GarbageCollector::Amount> Sweep(
      const std::function<absl::StatusOr<GarbageCollector::Amount>(
          const GarbageCollector::Removed& removed)>& collect);

  Clock& clock_;
  Executor& loop_;
  Index& index_;
  ImageStore& images_;
  TableCache& tables_;
  SessionTable& sessions_;
  const CancelToken& stopping_;
  const Options options_;
  Mutex one_at_a_time_;
  absl::Time bound_at_ FARM_GUARDED_BY(one_at_a_time_) = absl::InfinitePast();
  GarbageCollector collector_;
  RecordSweeper sweeper_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_STORE_COLLECTOR_H_
