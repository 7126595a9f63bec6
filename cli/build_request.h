// The flags of `farm build`, and what of them is said to the farm.
#ifndef FARM_CLI_BUILD_REQUEST_H_
#define FARM_CLI_BUILD_REQUEST_H_

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/build_output.h"
#include "cli/named_contexts.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// As they are typed.
struct BuildFlags {
  std::string context;
  std::string file;
  std::vector<std::string> tags;
  std::vector<std::string> build_args;
  std::vector<std::string> build_contexts;
  std::vector<std::string> labels;
  std::vector<std::string> add_hosts;
  std::vector<std::string> ulimits;
  std::vector<std::string> secrets;
  std::vector<std::string> ssh;
  std::vector<std::string> allow;
  std::vector<std::string> outputs;
  std::string target;
  std::string platform;
  std::string network;
  std::string shm_size;
  std::string cgroup_parent;
  std::string progress = "auto";
  std::string iidfile;
  std::string metadata_file;
  bool no_cache = false;
  bool pull = false;
  bool push = false;
  bool load = false;
  bool quiet = false;
  bool explain = false;
  bool check = false;
  std::string call = "build";
};

// Where the result goes, --push and --load too; the farm's own store, if nothing else is said.
// INVALID_ARGUMENT: a flag is wrong. Errors as of CheckBuildOutput().
absl::StatusOr<std::vector<BuildOutput>> MakeOutputs(const BuildFlags& flags);

// All of the request that the flags say, without contexts, Dockerfile and credentials.
// INVALID_ARGUMENT: a flag is wrong. Errors as of ReadSecret().
absl::StatusOr<v1::StartBuildRequest> MakeRequest(const BuildFlags& flags,
                                                  const std::vector<BuildOutput>& outputs);

// The hosts that a push goes to.
std::set<std::string> PushHosts(const std::vector<BuildOutput>& outputs,
                                const v1::StartBuildRequest& request);

// Without the tables and images of those that are here.
void AddNamedContexts(const std::vector<ContextFlag>& contexts, v1::StartBuildRequest& request);

}  // namespace farm

#endif  // FARM_CLI_BUILD_REQUEST_H_
