#ifndef FARM_COORDINATOR_BASE_RESOLVER_H_
#define FARM_COORDINATOR_BASE_RESOLVER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coordinator/farm_context.h"
#include "coordinator/session.h"
#include "oci/registry.h"
#include "plan/plan.h"

namespace farm {

// An image that a reference led to.
struct ResolvedBase {
  BaseImage image;
  std::string manifest_bytes;
  std::string config_bytes;
  std::string repository;                   // that may have the layers' blobs; "": only the CAS
  std::vector<Session::FoundLayer> layers;  // base first
};

// Registry credentials of a client as the registry client takes them.
RegistryAuth AuthOf(const std::vector<v1::RegistryCredential>& credentials);

// Resolves a reference as FROM does: by the domain's tags first, unless `pull`, else at its
// registry. No layer is fetched. `call.remark` is told as well if the domain has the image for
// another platform alone. Blocks: call it on the pool. Errors as of ImageStore and Registry;
// INVALID_ARGUMENT also for an image of another platform.
absl::StatusOr<ResolvedBase> ResolveBase(FarmContext& farm, const std::string& domain,
                                         const std::string& reference, const v1::Platform& platform,
                                         bool pull, const RegistryCall& call);

}  // namespace farm

#endif  // FARM_COORDINATOR_BASE_RESOLVER_H_
