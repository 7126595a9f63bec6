#ifndef FARM_WORKER_RUN_MOUNTS_H_
#define FARM_WORKER_RUN_MOUNTS_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "worker/cache_directories.h"
#include "worker/mount_source.h"
#include "worker/sandbox.h"
#include "worker/ssh_agent_socket.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// What the mounts and heredocs of a RUN show to its command. Holds what is mounted: it must outlive
// the run. Not safe for concurrent calls.
class RunMounts {
 public:
  // Borrows; `step_dir` is a directory of the step's that is there already.
  RunMounts(const StepTools& tools, const StepRun& run, std::string step_dir)
      : tools_(tools), run_(run), step_dir_(std::move(step_dir)) {}

  // Brings here what is mounted; waits for caches that other steps have locked, and says so in the
  // log.
  //   INVALID_ARGUMENT  a mount that cannot be made, or a secret or ssh agent that is required and
  //   not
  //                     there
  //   CANCELLED
  // and the errors of MountSource and CacheDirectories.
  absl::Status Prepare(InputFetcher::Errand& errand);

  // Adds the mounts, in the order in which they are to be made: a directory before what is mounted
  // in it, whatever the order in the Dockerfile, as BuildKit does. Adds the variables of secrets.
  void AddTo(SandboxSpec& spec) const;

 private:
  // Mounts are named by their place in the operation.
  const v1::RunMount& Asked(int index) const { return run_.spec.identity().run().mounts(index); }
  absl::Status Add(int index, InputFetcher::Errand& errand);
  absl::Status AddBind(int index, InputFetcher::Errand& errand);
  absl::Status AddCaches(InputFetcher::Errand& errand);
  absl::Status AddSecret(int index);
  absl::Status AddSshAgent(int index);
  void Put(int index, SandboxMount mount);
  absl::StatusOr<MountSource> Fetch(const v1::RunMount& asked, InputFetcher::Errand& errand) const;

  const StepTools& tools_;
  const StepRun& run_;
  const std::string step_dir_;
  std::deque<MountSource> sources_;
  std::vector<std::unique_ptr<SshAgentSocket>> ssh_agents_;
  std::map<std::string, CacheDirectories::Handle> caches_;      // by name
  std::map<std::pair<std::string, int>, SandboxMount> mounts_;  // by target, then as written
  std::vector<std::string> env_;
};

}  // namespace farm

#endif  // FARM_WORKER_RUN_MOUNTS_H_
