#ifndef FARM_PLAN_PLANNER_H_
#define FARM_PLAN_PLANNER_H_

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "dockerfile/instruction.h"
#include "dockerfile/stage_graph.h"
#include "plan/named_context.h"
#include "plan/plan.h"

namespace farm {

// Text that a plan may hold: history, environments of commands. Real ones have some kB; a hostile
// file of variables that double can want any number.
inline constexpr size_t kPlanTextBytesMax = 64 << 20;

// Ports of an image, and of one EXPOSE as its line of history lists them: as many entries of a list
// as image configs are read with (kImageListEntriesMax).
inline constexpr size_t kExposedPortsMax = 16 << 10;
// Variables that a stage has, of ENV, ARG and its base.
inline constexpr size_t kStageVariablesMax = 10'000;

// --exclude of one COPY or ADD: each is tried on each path.
inline constexpr size_t kExcludesMax = 300;

struct PlanOptions {
  std::string target;  // stage name or index; "" is the last
  std::map<std::string, std::string> build_args;
  std::map<std::string, std::string> labels;  // --label
  v1::Platform platform;        // of the result; unset os/arch: build_platform, or what FROM says
  v1::Platform build_platform;  // BUILDPLATFORM; unset: of the machine that plans
  v1::NetworkMode network = v1::NETWORK_MODE_UNSPECIFIED;  // --network
  std::map<std::string, NamedContext> contexts;            // --build-context, by ContextName()
  // Of all RUNs, see RunOperation.
  std::vector<std::string> extra_host_names;  // --add-host
  int64_t shm_bytes = 0;                      // --shm-size
  std::vector<v1::Ulimit> ulimits;            // --ulimit
};

// How `options` appear to FROM lines and ARGs.
StageGraphOptions StageGraphOptionsOf(const PlanOptions& options);

// An image that a build needs. One name may be needed for several platforms.
struct ImageKey {
  std::string name;      // canonical: "docker.io/library/alpine:latest"
  std::string platform;  // normalised: "linux/arm64"

  friend auto operator<=>(const ImageKey&, const ImageKey&) = default;
};

using ResolvedImages = std::map<ImageKey, BaseImage>;

// The images that the target needs (FROM, in the platform of its stage, and --from, in that of the
// build) and that are not in `resolved` yet. Call it until it returns none: what an image's ONBUILD
// triggers name is known only once the image is. Errors as of MakePlan().
absl::StatusOr<std::vector<ImageKey>> ImagesToResolve(const Dockerfile& file,
                                                      const ResolvedImages& resolved,
                                                      const PlanOptions& options);

// Names of the contexts that the target needs, of those that hold the client's files, as far as
// `resolved` tells: a trigger of an image that is not in it may need more. Errors as of MakePlan().
absl::StatusOr<std::set<std::string>> ContextsNeeded(const Dockerfile& file,
                                                     const ResolvedImages& resolved,
                                                     const PlanOptions& options);

// `error`, which came of resolving `image`, one of those that ImagesToResolve() named for these
// arguments (some more may be resolved since): with the position of the first line that names it,
// and with the stage that this line may mean, as a name that is no stage's is an image's. Code and
// payloads stay.
absl::Status UnresolvedImage(const Dockerfile& file, const ResolvedImages& resolved,
                             const PlanOptions& options, const ImageKey& image,
                             const absl::Status& error);

// Lowers the target and the stages that it needs. `resolved` is keyed by what ImagesToResolve()
// named. Pure: equal arguments give equal plans.
// INVALID_ARGUMENT with a position for what is wrong in the Dockerfile or the options;
// UNIMPLEMENTED with a position for what farm does not do; FAILED_PRECONDITION for an image that is
// not in `resolved`; RESOURCE_EXHAUSTED, with a position, over a limit above.
absl::StatusOr<Plan> MakePlan(const Dockerfile& file, const ResolvedImages& resolved,
                              const PlanOptions& options);

}  // namespace farm

#endif  // FARM_PLAN_PLANNER_H_
