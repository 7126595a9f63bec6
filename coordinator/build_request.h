// What a client asks of a build: whether it makes sense, and what plans and steps take of it.
#ifndef FARM_COORDINATOR_BUILD_REQUEST_H_
#define FARM_COORDINATOR_BUILD_REQUEST_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "coordinator/farm_context.h"
#include "plan/plan.h"
#include "plan/planner.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// Numbers, names and settings, without asking anything. INVALID_ARGUMENT.
absl::Status CheckRequest(const v1::StartBuildRequest& request);

// INVALID_ARGUMENT: of the named contexts.
absl::StatusOr<PlanOptions> PlanOptionsOf(const FarmContext& farm,
                                          const v1::StartBuildRequest& request);

// The digest of a context that was sent; nullopt for one that was not.
absl::StatusOr<std::optional<Digest>> SentTable(const v1::Digest& table);

// That steps may copy from the contexts that were sent. Blocks: call it on the pool.
//   FAILED_PRECONDITION  the client has yet to send the table of one
//   RESOURCE_EXHAUSTED   more entries than FarmContext.context_entries_max
//   INVALID_ARGUMENT     a table that no client of ours makes
absl::Status CheckContexts(FarmContext& farm, const v1::StartBuildRequest& request);

// That the client has sent the contexts that the plan reads. It may not know of those that triggers
// of an image name, and sends all if it is told so by FAILED_PRECONDITION.
absl::Status CheckSent(const Plan& plan, const v1::StartBuildRequest& request);

// What a plan may say and a farm does not do, or the client does not want. INVALID_ARGUMENT with
// the step's place.
absl::Status CheckRunnable(const Plan& plan, const v1::StartBuildRequest& request);

// Adds the secrets and ssh agents that the mounts of `run`, which is of `step`, name, of those that
// the client has. INVALID_ARGUMENT with the step's place: one that is required is not there.
absl::Status AddSecrets(const PlanStep& step, const v1::RunOperation& run,
                        const v1::StartBuildRequest& request, v1::StepExecution& execution);

}  // namespace farm

#endif  // FARM_COORDINATOR_BUILD_REQUEST_H_
