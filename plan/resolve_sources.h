#ifndef FARM_PLAN_RESOLVE_SOURCES_H_
#define FARM_PLAN_RESOLVE_SOURCES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/cancel_token.h"
#include "dockerfile/dockerignore.h"
#include "layer/table.h"
#include "plan/plan.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Symlinks that are followed on the way to one source; more are taken for a loop.
inline constexpr int kCopySymlinksMax = 255;

// Comparisons of a character with a part of a pattern that the wildcards and --excludes of one step
// may take: about a minute. A million paths against a hundred usual patterns take a tenth of it.
inline constexpr uint64_t kMatchStepsMax = 20'000'000'000;

// What the sources of a step hold, as far as the step reads it.
struct ResolvedSources {
  // Complete: the items of a COPY, the content of a RUN's mounts. An item's or mount's `source` is
  // the index of its SourceRequest.
  v1::StepIdentity identity;
  // Tables that the identity's items name as `selection`: put them into the CAS before the step
  // runs.
  std::vector<Table> selections;
};

// Whether source `source` of `step` is in `table`, the merged table of its file system: what can be
// told without reading it all, so that nobody has to wait for other steps to be told. `ignore` is
// what the table was made without; the error of a source that it excludes names the line.
// Errors are those of ResolveSources(), which may then still miss what a wildcard's match links to.
absl::Status CheckSource(const PlanStep& step, int source, const Table& table,
                         const DockerIgnore& ignore);

// Resolves wildcards, symlinks and directories of each `step.sources[i]` in `tables[i]`, the merged
// table of its file system. The order of items is that of the patterns, then of the names matched;
// inline files come last.
//
// As BuildKit does it: symlinks are followed within the root, also where they are a source's last
// component or what a wildcard matched; wildcards do not look through symlinks; those in a copied
// directory stay symlinks. A wildcard that matches nothing is no error, and may leave no item at
// all. With --parents a path without wildcards must be there.
//   NOT_FOUND           a source, or the directory before a wildcard, is not there; with position
//   INVALID_ARGUMENT    a bad pattern, a loop of symlinks
//   RESOURCE_EXHAUSTED  over `match_steps_max`; with position
//   CANCELLED           `cancel`
absl::StatusOr<ResolvedSources> ResolveSources(const PlanStep& step,
                                               absl::Span<const Table* const> tables,
                                               const CancelToken& cancel,
                                               uint64_t match_steps_max = kMatchStepsMax);

}  // namespace farm

#endif  // FARM_PLAN_RESOLVE_SOURCES_H_
