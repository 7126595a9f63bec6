#ifndef FARM_WORKER_OCI_BUNDLE_H_
#define FARM_WORKER_OCI_BUNDLE_H_

#include <string>
#include <vector>

#include "worker/sandbox.h"
#include "worker/user_database.h"

namespace farm {

// Where the parts of a run are for an OCI runtime.
struct OciPaths {
  std::string root;
  std::vector<std::string> mount_sources;  // Of each of the spec's mounts; tmpfs have "".
  std::string cgroup;  // Below a hierarchy's root; "" if the runtime makes none.
};

// config.json of a bundle (OCI runtime spec 1.0.2) that runs `spec` as NamespaceSandbox would.
std::string OciConfigJson(const SandboxSpec& spec, const ResolvedUser& user,
                          const std::vector<std::string>& env,
                          const std::vector<SandboxRlimit>& rlimits, const OciPaths& paths);

}  // namespace farm

#endif  // FARM_WORKER_OCI_BUNDLE_H_
