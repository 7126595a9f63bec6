// That what steps read of contexts is there, told as soon as the files are known: who mistyped a
// name must not wait for the RUNs before it.
#include <optional>
#include <set>
#include <utility>

#include "base/status_macros.h"
#include "coordinator/build_session.h"
#include "dockerfile/dockerignore.h"
#include "plan/resolve_sources.h"

namespace farm {
namespace {

// The error of the first source of `files` that is not in `table`, and its step.
struct MissingSource {
  int step = 0;  // index in the plan
  absl::Status error;
};

std::optional<MissingSource> FindMissing(const Plan& plan, FileSystemRef files, const Table& table,
                                         const DockerIgnore& ignore) {
  for (const PlanStep& step : plan.steps) {
    for (size_t i = 0; i < step.sources.size(); ++i) {
      if (step.sources[i].from != files) continue;
      absl::Status status = CheckSource(step, static_cast<int>(i), table, ignore);
      if (!status.ok()) return MissingSource{.step = step.id, .error = std::move(status)};
    }
  }
  return std::nullopt;
}

}  // namespace

void BuildSession::CheckSources(const std::vector<FileSystemRef>& here,
                                std::function<void()> then) {
  if (here.empty()) return then();
  struct Files {
    FileSystemRef ref;
    Tables tables;
    v1::IgnoreFile ignore;
  };
  std::vector<Files> all;
  for (const FileSystemRef ref : here) {
    Files& files = all.emplace_back(Files{.ref = ref, .tables = TablesOf(ref), .ignore = {}});
    if (ref.kind != FileSystemRef::Kind::kContext) continue;
    files.ignore = ref.index == 0 ? request_.ignore_file()
                                  : request_.named_contexts(ref.index - 1).ignore_file();
  }
  const int generation = generation_;
  Blocking(
      [&farm = farm_, plan = plan_,
       all = std::move(all)]() -> absl::StatusOr<std::optional<MissingSource>> {
        for (const Files& files : all) {
          ASSIGN_OR_RETURN(const DockerIgnore ignore,
                           DockerIgnore::Parse(files.ignore.name(), files.ignore.text()));
          const absl::StatusOr<std::shared_ptr<const Table>> table = Load(farm, files.tables);
          // What is lost is for the steps to find: they know how to have it made again.
          if (!table.ok()) continue;
          auto missing = FindMissing(*plan, files.ref, **table, ignore);
          if (missing.has_value()) return missing;
        }
        return std::nullopt;
      },
      [this, generation,
       then = std::move(then)](absl::StatusOr<std::optional<MissingSource>> missing) {
        if (generation != generation_) return;
        if (!missing.ok()) return Fail(missing.status());
        if (!missing->has_value()) return then();
        Fail((*missing)->error, nodes_[static_cast<size_t>((*missing)->step)].step);
      });
}

std::vector<FileSystemRef> BuildSession::ContextsHere() const {
  std::set<int> indexes;
  for (const PlanStep& step : plan_->steps) {
    for (const SourceRequest& source : step.sources) {
      if (source.from.kind == FileSystemRef::Kind::kContext) indexes.insert(source.from.index);
    }
  }
  std::vector<FileSystemRef> contexts;
  for (int index : indexes) contexts.push_back({FileSystemRef::Kind::kContext, index});
  return contexts;
}

}  // namespace farm
