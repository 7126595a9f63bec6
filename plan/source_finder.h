// What resolve_sources.cc looks sources up with. Not for other libraries.
#ifndef FARM_PLAN_SOURCE_FINDER_H_
#define FARM_PLAN_SOURCE_FINDER_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/glob.h"
#include "layer/table.h"
#include "plan/plan.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// --parents and --exclude have the patterns of .dockerignore: to be ignored is to match.
using PathPatterns = DockerIgnore;

// Finds what one SourceRequest of a step names in the table of its file system, without matching
// any wildcard. Errors are those of ResolveSources().
class SourceFinder {
 public:
  // `ignore`: what the table was made without; null if nothing. All must outlive this.
  SourceFinder(const PlanStep& step, int source, const Table& table, const DockerIgnore* ignore)
      : step_(step),
        request_(step.sources[source]),
        source_(source),
        table_(table),
        ignore_(ignore) {}

  // That all is there, as far as it can be told here.
  absl::Status Check() const;

  bool IsWildcard(size_t pattern) const;
  // Where a pattern that is no wildcard leads to; with --parents, what it includes is there, too.
  absl::StatusOr<std::string> FindPattern(size_t pattern) const;
  // Where a wildcard begins: components before the first with a wildcard are followed as a path.
  struct Wildcard {
    std::string directory;
    GlobPattern rest;  // For paths relative to `directory`.
  };
  absl::StatusOr<Wildcard> FindWildcard(size_t pattern) const;
  // What a mount's source, which is one path, leads to.
  absl::StatusOr<std::string> FindMount(const v1::RunMount& mount) const;
  // Where `path`, which came of a pattern, leads to, and that it is there.
  absl::StatusOr<std::string> Find(const std::string& path, size_t pattern) const;

  // What --parents includes of a pattern's directory; "" is all.
  std::string Include(size_t pattern) const;
  absl::StatusOr<PathPatterns> Parse(const std::vector<std::string>& patterns) const;
  absl::Status Error(absl::string_view message) const { return step_.Error(message); }

 private:
  absl::StatusOr<std::string> FollowSymlinks(const std::string& path) const;
  absl::Status NotFound(const std::string& path, const std::string& resolved, size_t pattern) const;
  std::string Suggestion(const std::string& path) const;

  const PlanStep& step_;
  const SourceRequest& request_;
  const int source_;
  const Table& table_;
  const DockerIgnore* const ignore_;
};

}  // namespace farm

#endif  // FARM_PLAN_SOURCE_FINDER_H_
