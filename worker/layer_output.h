#ifndef FARM_WORKER_LAYER_OUTPUT_H_
#define FARM_WORKER_LAYER_OUTPUT_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "layer/table.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/layer_stack.h"
#include "worker/snapshotter.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// When a step's work began and ended: times of files in between are its own (canonical digest).
struct StepTimes {
  absl::Time started;
  absl::Time finished;
};

// Digests of files by path in the root, where the step knows them.
struct KnownFiles {
  absl::flat_hash_map<std::string, Digest> verified;    // believed
  absl::flat_hash_map<std::string, Digest> unverified;  // what they should be; checked
};

// Makes a layer of what a step changed in `snapshot`, which stands on `below`: stores its tar and
// its table in the CAS, and keeps the changes as the unpacked layer of this worker. Fills
// `result.layer` and its times.
//   DATA_LOSS  a file is not what KnownFiles::unverified says
absl::Status StoreLayer(const StepTools& tools, const StepRun& run, Snapshot& snapshot,
                        const LayerStack& below, const KnownFiles& known, const StepTimes& times,
                        v1::StepResult& result);

// Makes a layer of all that is in the directory `path`, on nothing: stores it as StoreLayer() does,
// and moves the directory to where this worker keeps unpacked layers, if that lacks it.
absl::Status StoreTree(const StepTools& tools, const StepRun& run, const std::string& path,
                       const KnownFiles& known, const StepTimes& times, v1::StepResult& result);

// Fills `result.layer` and its times for a layer whose blob `form` is in the CAS; stores the table.
absl::Status StoreTable(const StepTools& tools, const Digest& diff_id, const Table& table,
                        const v1::Descriptor& form, const StepTimes& times, v1::StepResult& result);

void SetTimes(const StepTimes& times, v1::StepResult& result);

}  // namespace farm

#endif  // FARM_WORKER_LAYER_OUTPUT_H_
