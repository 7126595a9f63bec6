#ifndef FARM_WORKER_WORKER_CONFIG_H_
#define FARM_WORKER_WORKER_CONFIG_H_

#include <string>

#include "absl/status/statusor.h"
#include "proto/farm/v1/config.pb.h"
#include "worker/isolated_network.h"

namespace farm {

// What the command line says; empty or 0: not given.
struct WorkerFlags {
  std::string file;
  std::string coordinator;
  std::string name;
  std::string state_dir;
  int slots = 0;
  std::string runtime;
  std::string token_file;
  std::string shared_blob_dir;
};

// The settings that are in force: defaults, then the file's, then the flags'. INVALID_ARGUMENT for
// settings that make no sense.
absl::StatusOr<v1::WorkerConfig> EffectiveWorkerConfig(const WorkerFlags& flags);

// What isolated networks are to be like; the owner is left to the caller. INVALID_ARGUMENT for
// settings that make no sense.
absl::StatusOr<IsolatedNetwork::Options> IsolatedNetworkOptions(const v1::WorkerConfig& config);

}  // namespace farm

#endif  // FARM_WORKER_WORKER_CONFIG_H_
