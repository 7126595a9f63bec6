#include "plan/resolve_sources.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "plan/source_finder.h"

namespace farm {
namespace {

absl::string_view BaseName(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// What the matching of one step may still cost.
struct MatchBudget {
  const CancelToken& cancel;
  const uint64_t steps_max;
  uint64_t steps = 0;  // So far.
};

// Whether patterns match the paths of a walk in a table's order: each directory is judged once.
class WalkMatcher {
 public:
  explicit WalkMatcher(const PathPatterns& patterns) : patterns_(patterns) {}

  // `path` must outlive the walk.
  bool Matches(absl::string_view path, uint64_t& steps) {
    while (!judged_.empty() && !IsUnder(path, judged_.back().path)) judged_.pop_back();
    size_t end = judged_.empty() ? 0 : judged_.back().path.size() + 1;
    do {  // From below what is judged; directories without an entry of their own included.
      end = std::min(path.find('/', end), path.size());
      Judged next{path.substr(0, end), {}};
      next.verdict = patterns_.Judge(
          next.path, judged_.empty() ? PathPatterns::Verdict() : judged_.back().verdict);
      steps += next.verdict.steps;
      judged_.push_back(std::move(next));
    } while (end++ < path.size());
    return judged_.back().verdict.ignored;
  }

 private:
  struct Judged {
    absl::string_view path;
    PathPatterns::Verdict verdict;
  };

  static bool IsUnder(absl::string_view path, absl::string_view directory) {
    return path.size() > directory.size() && path[directory.size()] == '/' &&
           absl::StartsWith(path, directory);
  }

  const PathPatterns& patterns_;
  std::vector<Judged> judged_;  // The last path and the directories above it, outermost first.
};

// Resolves one SourceRequest in the file system that it reads.
class SourceResolver {
 public:
  SourceResolver(const PlanStep& step, int source, const Table& table, MatchBudget& budget)
      : request_(step.sources[source]),
        source_(source),
        table_(table),
        finder_(step, source, table, /*ignore=*/nullptr),
        budget_(budget) {}

  absl::Status AddItems(ResolvedSources& resolved) {
    v1::CopyOperation& operation = *resolved.identity.mutable_copy();
    ASSIGN_OR_RETURN(excludes_, finder_.Parse(request_.excludes));
    for (size_t i = 0; i < request_.patterns.size(); ++i) {
      if (!finder_.IsWildcard(i)) {
        ASSIGN_OR_RETURN(const std::string path, finder_.FindPattern(i));
        RETURN_IF_ERROR(AddItem(request_.patterns[i], path, i, resolved, operation));
        continue;
      }
      ASSIGN_OR_RETURN(const std::vector<std::string> matches, Match(i));
      for (const std::string& match : matches) {
        ASSIGN_OR_RETURN(const std::string path, finder_.Find(match, i));
        RETURN_IF_ERROR(AddItem(match, path, i, resolved, operation));
      }
    }
    return absl::OkStatus();
  }

  // A mount's source is one path: no wildcards.
  absl::Status FillMount(v1::RunMount& mount) const {
    ASSIGN_OR_RETURN(const std::string resolved, finder_.FindMount(mount));
    ASSIGN_OR_RETURN(const Digest content, table_.ContentDigest(resolved));
    mount.set_path(resolved);
    *mount.mutable_content() = DigestToProto(content);
    return absl::OkStatus();
  }

 private:
  // `path`, which pattern `pattern` named, leads to `resolved`.
  absl::Status AddItem(const std::string& path, const std::string& resolved, size_t pattern,
                       ResolvedSources& all, v1::CopyOperation& operation) const {
    const std::string include = finder_.Include(pattern);
    const bool is_directory = table_.IsDirectory(resolved);
    if (is_directory && (!include.empty() || !request_.excludes.empty())) {
      ASSIGN_OR_RETURN(Table selection, Select(resolved, include));
      v1::CopyItem& item = *operation.add_items();
      item.set_source(source_);
      item.set_path(resolved);
      ASSIGN_OR_RETURN(const Digest content, selection.ContentDigest(""));
      *item.mutable_content() = DigestToProto(content);
      *item.mutable_selection() = DigestToProto(DigestOf(selection.Encode()));
      all.selections.push_back(std::move(selection));
      return absl::OkStatus();
    }
    const std::string name(BaseName(path));
    if (!is_directory) {
      // The name that was asked for, not the one that a symlink led to.
      const PathPatterns::Verdict verdict = excludes_.Judge(name, {});
      RETURN_IF_ERROR(Spend(verdict.steps));
      if (verdict.ignored) return absl::OkStatus();
    }
    // A directory is copied into one that is there or made anew: its own metadata is not.
    ASSIGN_OR_RETURN(const Digest content, is_directory ? table_.ContentsDigest(resolved)
                                                        : table_.ContentDigest(resolved));
    v1::CopyItem& item = *operation.add_items();
    item.set_source(source_);
    item.set_path(resolved);
    *item.mutable_content() = DigestToProto(content);
    if (is_directory) return absl::OkStatus();
    item.set_name(name);
    item.set_unpack_archive(request_.unpack && table_.Find(resolved)->type == EntryType::kFile);
    return absl::OkStatus();
  }

  // What of `directory` matches `include` ("" is all) and not the excludes, with the directories
  // above it; paths relative to `directory`.
  absl::StatusOr<Table> Select(const std::string& directory, const std::string& include) const {
    std::vector<std::string> includes;
    if (!include.empty()) includes.push_back(include);
    ASSIGN_OR_RETURN(const PathPatterns included, finder_.Parse(includes));
    WalkMatcher is_included(included);
    WalkMatcher is_excluded(excludes_);
    std::vector<TableEntry> selected;
    std::vector<const TableEntry*> above;  // Directories around the entry, not yet selected.
    std::map<std::string, std::string>
        new_first;  // Of hard links: the first name that is selected.
    const size_t prefix = directory.empty() ? 0 : directory.size() + 1;
    const auto add = [&](const TableEntry& entry) {
      TableEntry& added = selected.emplace_back(entry);
      added.path = entry.path.substr(std::min(prefix, entry.path.size()));
      if (entry.type != EntryType::kFile) return;
      const std::string first = entry.hard_link_to.empty() ? entry.path : entry.hard_link_to;
      const auto [name, is_first] = new_first.emplace(first, added.path);
      added.hard_link_to = is_first ? "" : name->second;
    };
    for (const TableEntry& entry : table_.Subtree(directory)) {
      if (entry.path == directory) continue;
      while (!above.empty() && !absl::StartsWith(entry.path, above.back()->path + "/")) {
        above.pop_back();
      }
      const absl::string_view path = absl::string_view(entry.path).substr(prefix);
      uint64_t steps = 0;
      const bool matches = (include.empty() || is_included.Matches(path, steps)) &&
                           !is_excluded.Matches(path, steps);
      RETURN_IF_ERROR(Spend(steps));
      if (matches) {
        for (const TableEntry* parent : above) {
          add(*parent);
        }
        above.clear();
        add(entry);
      } else if (entry.type == EntryType::kDirectory) {
        above.push_back(&entry);
      }
    }
    return Table::FromEntries(std::move(selected));
  }

  // What is below the directory of a wildcard must match, the whole of a name. What matches is not
  // searched further.
  absl::StatusOr<std::vector<std::string>> Match(size_t pattern) const {
    ASSIGN_OR_RETURN(const SourceFinder::Wildcard wildcard, finder_.FindWildcard(pattern));
    const std::string& directory = wildcard.directory;
    std::vector<std::string> matches;
    std::string matched;  // A match, while what is below it is passed by.
    for (const TableEntry& entry : table_.Subtree(directory)) {
      if (entry.path == directory) continue;
      if (!matched.empty() && absl::StartsWith(entry.path, matched)) continue;
      const absl::string_view name =
          absl::string_view(entry.path).substr(directory.empty() ? 0 : directory.size() + 1);
      uint64_t steps = 0;
      const bool is_match = wildcard.rest.Matches(name, steps);
      RETURN_IF_ERROR(Spend(steps));
      if (!is_match) continue;
      matches.push_back(entry.path);
      matched = entry.path + "/";
    }
    return matches;
  }

  // Asked for each path.
  absl::Status Spend(uint64_t steps) const {
    if (budget_.cancel.cancelled()) return absl::CancelledError("while sources were looked up");
    budget_.steps += steps;
    if (budget_.steps <= budget_.steps_max) return absl::OkStatus();
    return WithCode(
        absl::StatusCode::kResourceExhausted,
        finder_.Error(absl::StrCat("matching the files with wildcards and --exclude takes more "
                                   "than ",
                                   budget_.steps_max, " comparisons")));
  }

  const SourceRequest& request_;
  const int source_;
  const Table& table_;
  const SourceFinder finder_;
  MatchBudget& budget_;
  PathPatterns excludes_;
};

}  // namespace

absl::Status CheckSource(const PlanStep& step, int source, const Table& table,
                         const DockerIgnore& ignore) {
  return SourceFinder(step, source, table, &ignore).Check();
}

absl::StatusOr<ResolvedSources> ResolveSources(const PlanStep& step,
                                               absl::Span<const Table* const> tables,
                                               const CancelToken& cancel,
                                               uint64_t match_steps_max) {
  FARM_CHECK_EQ(tables.size(), step.sources.size());
  MatchBudget budget{.cancel = cancel, .steps_max = match_steps_max};
  ResolvedSources resolved;
  resolved.identity = step.identity;
  if (step.identity.has_run()) {
    for (v1::RunMount& mount : *resolved.identity.mutable_run()->mutable_mounts()) {
      if (mount.source() < 0) continue;
      RETURN_IF_ERROR(
          SourceResolver(step, mount.source(), *tables[mount.source()], budget).FillMount(mount));
    }
    return resolved;
  }
  for (size_t i = 0; i < tables.size(); ++i) {
    RETURN_IF_ERROR(
        SourceResolver(step, static_cast<int>(i), *tables[i], budget).AddItems(resolved));
  }
  for (const InlineFile& file : step.inline_files) {
    v1::CopyItem& item = *resolved.identity.mutable_copy()->add_items();
    item.set_source(-1);
    item.set_name(file.name);
    item.set_inline_(file.data);
  }
  return resolved;
}

}  // namespace farm
