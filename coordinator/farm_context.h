#ifndef FARM_COORDINATOR_FARM_CONTEXT_H_
#define FARM_COORDINATOR_FARM_CONTEXT_H_

#include <memory>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/executor.h"
#include "cas/action_cache.h"
#include "cas/blob_store.h"
#include "coordinator/image_store.h"
#include "coordinator/publisher.h"
#include "coordinator/step_runner.h"
#include "coordinator/table_cache.h"
#include "oci/registry.h"

namespace farm {

// What sessions work with. Borrows; main.cc owns the parts.
struct FarmContext {
  Clock& clock;
  Executor& loop;  // one thread: everything that changes a session
  Executor& pool;  // what blocks for moments: disk, index
  // What may take minutes, and must not keep the pool from the rest: registries, and what walks the
  // whole store.
  Executor& slow_pool;
  BlobStore& blobs;
  ActionCache& actions;
  Publisher& publisher;
  TableCache& tables;
  ImageStore& images;
  Registry& registry;
  StepRunner& runner;
  v1::Platform platform;  // of the farm's workers, for steps that any of them can run
  // Of RUN where neither the Dockerfile nor the client says anything. UNSPECIFIED: its worker
  // chooses, which only a local farm's does.
  v1::NetworkMode run_network_default = v1::NETWORK_MODE_UNSPECIFIED;
  int context_entries_max = 1'000'000;
  // It listens on unix sockets alone, so all that use it are on this host.
  bool is_local = false;
};

// Runs `work` on `pool` and `then(result)` on `loop`, if `owner` still lives then. `work` must not
// touch the owner. False if the pool is full: nothing runs.
template <typename Owner, typename Work, typename Then>
[[nodiscard]] bool RunBlocking(Executor& pool, Executor& loop, std::weak_ptr<Owner> owner,
                               Work work, Then then) {
  return pool.Post(
      [&loop, owner = std::move(owner), work = std::move(work), then = std::move(then)]() mutable {
        auto result = std::make_shared<decltype(work())>(work());
        const bool posted =
            loop.Post([owner = std::move(owner), then = std::move(then), result]() mutable {
              if (const auto alive = owner.lock()) then(std::move(*result));
            });
        FARM_CHECK(posted) << "the event loop refuses work";
      });
}

}  // namespace farm

#endif  // FARM_COORDINATOR_FARM_CONTEXT_H_
