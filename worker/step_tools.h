#ifndef FARM_WORKER_STEP_TOOLS_H_
#define FARM_WORKER_STEP_TOOLS_H_

#include <functional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "cas/blob_store.h"
#include "layer/compression.h"
#include "oci/registry.h"
#include "proto/farm/v1/config.pb.h"
#include "worker/blob_feed.h"
#include "worker/cache_directories.h"
#include "worker/input_fetcher.h"
#include "worker/layer_cache.h"
#include "worker/sandbox.h"
#include "worker/snapshotter.h"
#include "worker/source_client.h"
#include "worker/trash.h"

namespace farm {

// What the steps of a worker have at hand. Borrows; all of it is safe for concurrent calls.
struct StepTools {
  Clock& clock;
  BlobStore& blobs;
  GetBlobs get_blobs;  // many small ones at once, from the same store
  Registry& registry;
  LayerCache& layers;
  CacheDirectories& caches;
  InputFetcher& inputs;
  Snapshotter& snapshotter;
  Sandbox& sandbox;
  SourceClient& sources;
  Trash& trash;
  std::string steps_dir;  // one directory for each run, by its id; same file system as the layers
  std::string tmp_dir;
  v1::StepLimits limits;
  DecompressOptions unpack;            // what an archive or pulled layer may hold
  std::set<v1::NetworkMode> networks;  // that RUN may have here
  // What a RUN gets if nobody says which; UNSPECIFIED: it is refused.
  v1::NetworkMode network_default = v1::NETWORK_MODE_UNSPECIFIED;
  bool insecure_allowed = false;  // RUN --security=insecure
  std::string isolated_missing;   // why `networks` has no isolated one, if it should have
  // resolv.conf of an isolated network; see IsolatedNetwork.
  std::function<absl::StatusOr<std::string>()> isolated_resolv_conf;

  std::string StepDir(const std::string& run_id) const {
    return absl::StrCat(steps_dir, "/", run_id);
  }
};

}  // namespace farm

#endif  // FARM_WORKER_STEP_TOOLS_H_
