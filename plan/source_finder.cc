#include "plan/source_finder.h"

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "plan/resolve_sources.h"

namespace farm {
namespace {

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
}

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

}  // namespace

absl::Status SourceFinder::Check() const {
  if (step_.identity.has_run()) {
    for (const v1::RunMount& mount : step_.identity.run().mounts()) {
      if (mount.source() != source_) continue;
      RETURN_IF_ERROR(FindMount(mount).status());
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Parse(request_.excludes).status());
  for (size_t i = 0; i < request_.patterns.size(); ++i) {
    RETURN_IF_ERROR(IsWildcard(i) ? FindWildcard(i).status() : FindPattern(i).status());
  }
  return absl::OkStatus();
}

bool SourceFinder::IsWildcard(size_t pattern) const {
  return !request_.literal && HasGlob(request_.patterns[pattern]);
}

absl::StatusOr<std::string> SourceFinder::FindPattern(size_t pattern) const {
  const std::string& path = request_.patterns[pattern];
  ASSIGN_OR_RETURN(std::string resolved, Find(path, pattern));
  const std::string include = Include(pattern);
  if (table_.IsDirectory(resolved) && !include.empty() && !HasGlob(include)) {
    RETURN_IF_ERROR(Find(JoinPath(path, include), pattern).status());
  }
  return resolved;
}

absl::StatusOr<SourceFinder::Wildcard> SourceFinder::FindWildcard(size_t pattern) const {
  const std::string& text = request_.patterns[pattern];
  const std::vector<std::string> components = absl::StrSplit(text, '/');
  size_t wild = 0;
  while (!HasGlob(components[wild])) ++wild;
  const auto middle = components.begin() + static_cast<std::ptrdiff_t>(wild);
  absl::StatusOr<GlobPattern> rest =
      GlobPattern::Parse(absl::StrJoin(middle, components.end(), "/"), {});
  if (!rest.ok()) return Error(absl::StrCat("pattern \"", text, "\": ", rest.status().message()));
  ASSIGN_OR_RETURN(std::string directory,
                   Find(absl::StrJoin(components.begin(), middle, "/"), pattern));
  return Wildcard{.directory = std::move(directory), .rest = *std::move(rest)};
}

absl::StatusOr<std::string> SourceFinder::FindMount(const v1::RunMount& mount) const {
  ASSIGN_OR_RETURN(std::string resolved, Find(request_.patterns[0], 0));
  const TableEntry* const entry = table_.Find(resolved);
  const bool is_file = entry != nullptr && entry->type == EntryType::kFile;
  if (table_.IsDirectory(resolved) || (is_file && mount.kind() != v1::RunMount::KIND_CACHE)) {
    return resolved;
  }
  return Error(absl::StrCat("\"/", request_.patterns[0], "\" is ",
                            is_file ? "a file; a cache begins with a directory"
                                    : "neither a file nor a directory: it cannot be mounted"));
}

absl::StatusOr<std::string> SourceFinder::Find(const std::string& path, size_t pattern) const {
  ASSIGN_OR_RETURN(std::string resolved, FollowSymlinks(path));
  if (table_.Find(resolved) == nullptr && !table_.IsDirectory(resolved)) {
    return NotFound(path, resolved, pattern);
  }
  return resolved;
}

std::string SourceFinder::Include(size_t pattern) const {
  return pattern < request_.includes.size() ? request_.includes[pattern] : "";
}

absl::StatusOr<PathPatterns> SourceFinder::Parse(const std::vector<std::string>& patterns) const {
  absl::StatusOr<PathPatterns> parsed = PathPatterns::FromPatterns(patterns);
  if (!parsed.ok()) return Error(parsed.status().message());
  return parsed;
}

// Where `path` leads to. Names that do not exist stay as they are, ".." of the root is the root.
absl::StatusOr<std::string> SourceFinder::FollowSymlinks(const std::string& path) const {
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
      return Error(absl::StrCat("\"/", path, "\": too many symlinks (more than ", kCopySymlinksMax,
                                ", probably a loop)"));
    }
    if (absl::StartsWith(entry->link_target, "/")) resolved.clear();
    const std::vector<std::string> target =
        absl::StrSplit(entry->link_target, '/', absl::SkipEmpty());
    pending.insert(pending.begin(), target.begin(), target.end());
  }
  return resolved;
}

absl::Status SourceFinder::NotFound(const std::string& path, const std::string& resolved,
                                    size_t pattern) const {
  std::string message = absl::StrCat("\"/", path, "\": not found ", PlaceOf(request_));
  if (pattern < request_.lead_out.size() && request_.lead_out[pattern]) {
    absl::StrAppend(&message, ", which \"..\" does not leave");
    const bool is_build_context = request_.from == FileSystemRef{FileSystemRef::Kind::kContext, 0};
    if (is_build_context) {
      absl::StrAppend(&message, " (name other directories with --build-context NAME=DIRECTORY)");
    }
  }
  if (resolved != path) absl::StrAppend(&message, " (a symlink leads to \"/", resolved, "\")");
  if (ignore_ != nullptr) {
    if (const std::optional<DockerIgnore::Reason> reason = ignore_->WhyIgnored(resolved)) {
      absl::StrAppend(&message, ": ", reason->position.ToString(), " excludes it by \"",
                      reason->pattern, "\"");
    }
  }
  const std::string suggestion = Suggestion(resolved);
  if (!suggestion.empty()) absl::StrAppend(&message, ", did you mean \"/", suggestion, "\"?");
  return WithCode(absl::StatusCode::kNotFound, Error(message));
}

// `path` with the first component that is missing replaced by the most alike of its siblings.
std::string SourceFinder::Suggestion(const std::string& path) const {
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

}  // namespace farm
