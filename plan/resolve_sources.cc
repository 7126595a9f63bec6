#include "plan/resolve_sources.h"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/glob.h"

namespace farm {
namespace {

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
}

absl::string_view BaseName(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// Where it was looked for: "in the stage build".
std::string PlaceOf(const SourceRequest& request) {
  const std::string stage = absl::StrCat("in the stage ", request.from_written);
  const std::string context = absl::StrCat("in the context ", request.from_written);
  const bool is_named = !request.from_written.empty();
  switch (request.from.kind) {
    case FileSystemRef::Kind::kContext:
      return is_named ? context : "in the build context";
    case FileSystemRef::Kind::kBase:
      return request.stage >= 0 ? stage : absl::StrCat("in the image ", request.from_written);
    case FileSystemRef::Kind::kStep:
      return stage;
    case FileSystemRef::Kind::kRemote:
      return is_named ? context : "in what was fetched";
    case FileSystemRef::Kind::kScratch:
      break;
  }
  return absl::StrCat(request.stage >= 0 ? stage : "in scratch", ", which has no files");
}

// --parents and --exclude have the patterns of .dockerignore: to be ignored is to match.
using PathPatterns = DockerIgnore;

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

// Finds the patterns of one SourceRequest in the file system that it reads.
class SourceResolver {
 public:
  SourceResolver(const PlanStep& step, int source, const Table& table, MatchBudget& budget)
      : step_(step),
        request_(step.sources[source]),
        source_(source),
        table_(table),
        budget_(budget) {}

  absl::Status AddItems(ResolvedSources& resolved) {
    v1::CopyOperation& operation = *resolved.identity.mutable_copy();
    ASSIGN_OR_RETURN(excludes_, Patterns(request_.excludes));
    for (size_t i = 0; i < request_.patterns.size(); ++i) {
      const std::string& pattern = request_.patterns[i];
      const std::string include = i < request_.includes.size() ? request_.includes[i] : "";
      if (request_.literal || !HasGlob(pattern)) {
        RETURN_IF_ERROR(AddItem(pattern, include, /*required=*/true, resolved, operation));
        continue;
      }
      ASSIGN_OR_RETURN(const std::vector<std::string> matches, Match(pattern));
      for (const std::string& match : matches) {
        RETURN_IF_ERROR(AddItem(match, include, /*required=*/false, resolved, operation));
      }
    }
    return absl::OkStatus();
  }

  // A mount's source is one path: no wildcards.
  absl::Status FillMount(v1::RunMount& mount) const {
    ASSIGN_OR_RETURN(const std::string resolved, Find(request_.patterns[0]));
    const TableEntry* const entry = table_.Find(resolved);
    const bool is_file = entry != nullptr && entry->type == EntryType::kFile;
    if (!table_.IsDirectory(resolved) && (!is_file || mount.kind() == v1::RunMount::KIND_CACHE)) {
      return Error(absl::StrCat("\"/", request_.patterns[0], "\" is ",
                                is_file ? "a file; a cache begins with a directory"
                                        : "neither a file nor a directory: it cannot be mounted"));
    }
    ASSIGN_OR_RETURN(const Digest content, table_.ContentDigest(resolved));
    mount.set_path(resolved);
    *mount.mutable_content() = DigestToProto(content);
    return absl::OkStatus();
  }

 private:
  // Where `path` leads to, and that it is there.
  absl::StatusOr<std::string> Find(const std::string& path) const {
    ASSIGN_OR_RETURN(std::string resolved, FollowSymlinks(path));
    if (table_.Find(resolved) == nullptr && !table_.IsDirectory(resolved)) {
      return NotFound(path, resolved);
    }
    return resolved;
  }

  absl::Status AddItem(const std::string& path, const std::string& include, bool required,
                       ResolvedSources& all, v1::CopyOperation& operation) const {
    ASSIGN_OR_RETURN(const std::string resolved, Find(path));
    const bool is_directory = table_.IsDirectory(resolved);
    if (is_directory && (!include.empty() || !request_.excludes.empty())) {
      if (required && !include.empty() && !HasGlob(include)) {
        RETURN_IF_ERROR(Find(JoinPath(path, include)).status());
      }
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

  absl::StatusOr<PathPatterns> Patterns(const std::vector<std::string>& patterns) const {
    absl::StatusOr<PathPatterns> parsed = PathPatterns::FromPatterns(patterns);
    if (!parsed.ok()) return Error(parsed.status().message());
    return parsed;
  }

  // What of `directory` matches `include` ("" is all) and not the excludes, with the directories
  // above it; paths relative to `directory`.
  absl::StatusOr<Table> Select(const std::string& directory, const std::string& include) const {
    std::vector<std::string> includes;
    if (!include.empty()) includes.push_back(include);
    ASSIGN_OR_RETURN(const PathPatterns included, Patterns(includes));
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

  // Components before the first with a wildcard are followed as a path; then the rest must match,
  // below there, the whole of a name. What matches is not searched further.
  absl::StatusOr<std::vector<std::string>> Match(const std::string& pattern) const {
    const std::vector<std::string> components = absl::StrSplit(pattern, '/');
    size_t wild = 0;
    while (!HasGlob(components[wild])) ++wild;
    const auto middle = components.begin() + static_cast<std::ptrdiff_t>(wild);
    const std::string prefix = absl::StrJoin(components.begin(), middle, "/");
    const std::string rest = absl::StrJoin(middle, components.end(), "/");

    const absl::StatusOr<GlobPattern> glob = GlobPattern::Parse(rest, {});
    if (!glob.ok()) {
      return Error(absl::StrCat("pattern \"", pattern, "\": ", glob.status().message()));
    }
    ASSIGN_OR_RETURN(const std::string directory, FollowSymlinks(prefix));
    if (table_.Find(directory) == nullptr && !table_.IsDirectory(directory)) {
      return NotFound(prefix, directory);
    }

    std::vector<std::string> matches;
    std::string matched;  // A match, while what is below it is passed by.
    for (const TableEntry& entry : table_.Subtree(directory)) {
      if (entry.path == directory) continue;
      if (!matched.empty() && absl::StartsWith(entry.path, matched)) continue;
      const absl::string_view name =
          absl::string_view(entry.path).substr(directory.empty() ? 0 : directory.size() + 1);
      uint64_t steps = 0;
      const bool is_match = glob->Matches(name, steps);
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
    return WithCode(absl::StatusCode::kResourceExhausted,
                    Error(absl::StrCat("matching the files with wildcards and --exclude takes more "
                                       "than ",
                                       budget_.steps_max, " comparisons")));
  }

  // Where `path` leads to. Names that do not exist stay as they are, ".." of the root is the root.
  absl::StatusOr<std::string> FollowSymlinks(const std::string& path) const {
    std::deque<std::string> pending = absl::StrSplit(path, '/', absl::SkipEmpty());
    std::string resolved;
    int followed = 0;
    while (!pending.empty()) {
      const std::string component = std::move(pending.front());
      pending.pop_front();
      if (component == ".") continue;
      if (component == "..") {
        const size_t slash = resolved.rfind('/');
        resolved.resize(slash == std::string::npos ? 0 : slash);
        continue;
      }
      std::string next = JoinPath(resolved, component);
      const TableEntry* entry = table_.Find(next);
      if (entry == nullptr || entry->type != EntryType::kSymlink) {
        resolved = std::move(next);
        continue;
      }
      if (++followed > kCopySymlinksMax) {
        return Error(absl::StrCat("\"/", path, "\": too many symlinks (more than ",
                                  kCopySymlinksMax, ", probably a loop)"));
      }
      if (absl::StartsWith(entry->link_target, "/")) resolved.clear();
      const std::vector<std::string> target =
          absl::StrSplit(entry->link_target, '/', absl::SkipEmpty());
      pending.insert(pending.begin(), target.begin(), target.end());
    }
    return resolved;
  }

  absl::Status NotFound(const std::string& path, const std::string& resolved) const {
    std::string message = absl::StrCat("\"/", path, "\": not found ", PlaceOf(request_));
    if (resolved != path) absl::StrAppend(&message, " (a symlink leads to \"/", resolved, "\")");
    const std::string suggestion = Suggestion(resolved);
    if (!suggestion.empty()) absl::StrAppend(&message, ", did you mean \"/", suggestion, "\"?");
    return WithCode(absl::StatusCode::kNotFound, Error(message));
  }

  // `path` with the first component that is missing replaced by the most alike of its siblings.
  std::string Suggestion(const std::string& path) const {
    std::string directory;
    const std::vector<std::string> components = absl::StrSplit(path, '/', absl::SkipEmpty());
    for (size_t i = 0; i < components.size(); ++i) {
      std::string next = JoinPath(directory, components[i]);
      if (table_.Find(next) != nullptr || table_.IsDirectory(next)) {
        directory = std::move(next);
        continue;
      }
      std::vector<std::string> siblings;
      for (const TableEntry* child : table_.Children(directory)) {
        siblings.emplace_back(child->name());
      }
      const std::string closest = ClosestMatch(components[i], siblings);
      if (closest.empty()) return "";
      const std::string rest = absl::StrJoin(components.begin() + i + 1, components.end(), "/");
      return rest.empty() ? JoinPath(directory, closest)
                          : absl::StrCat(JoinPath(directory, closest), "/", rest);
    }
    return "";
  }

  absl::Status Error(absl::string_view message) const { return step_.Error(message); }

  const PlanStep& step_;
  const SourceRequest& request_;
  const int source_;
  const Table& table_;
  MatchBudget& budget_;
  PathPatterns excludes_;
};

}  // namespace

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
