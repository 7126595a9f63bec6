#include "layer/table_rules.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "layer/paths.h"

namespace farm {
namespace {

// Seconds that an mtime may be away from 1970: some 34,000 years. No file system here keeps more.
constexpr int64_t kMtimeSecondsMax = int64_t{1} << 40;

absl::Status CheckPath(absl::string_view path, const TableLimits& limits) {
  if (path.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(path.size()) > limits.path_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a path of ", path.size(), " bytes, over path_bytes_max ",
                     limits.path_bytes_max, ": ", ShownPath(path.substr(0, 64)), "..."));
  }
  if (path.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat("path ", ShownPath(path), " has a zero byte"));
  }
  int64_t depth = 0;
  while (true) {
    const size_t slash = std::min(path.find('/'), path.size());
    const absl::string_view name = path.substr(0, slash);
    if (name.empty() || name == "." || name == "..") {
      return absl::InvalidArgumentError(
          absl::StrCat("path has the component ", ShownPath(name), ", which none may have"));
    }
    if (static_cast<int64_t>(name.size()) > kNameBytesMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a name of ", name.size(), " bytes, more than ", kNameBytesMax));
    }
    if (++depth > limits.path_depth_max) {
      return absl::ResourceExhaustedError(absl::StrCat("a path of more than path_depth_max ",
                                                       limits.path_depth_max, " components"));
    }
    if (slash == path.size()) return absl::OkStatus();
    path.remove_prefix(slash + 1);
  }
}

absl::Status CheckXattrs(const TableEntry& entry, const TableLimits& limits) {
  int64_t bytes = 0;
  for (const auto& [name, value] : entry.xattrs) {
    if (name.empty() || name.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError("an xattr without a proper name");
    }
    bytes += static_cast<int64_t>(name.size() + value.size());
  }
  if (bytes > limits.xattr_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(bytes, " bytes of xattrs, over xattr_bytes_max ", limits.xattr_bytes_max));
  }
  return absl::OkStatus();
}

absl::Status CheckFields(const TableEntry& entry, const TableLimits& limits) {
  const EntryType type = entry.type;
  const bool has_mtime = entry.mtime != absl::UnixEpoch();
  if (type == EntryType::kWhiteout && (entry.mode != 0 || entry.uid != 0 || entry.gid != 0 ||
                                       has_mtime || !entry.xattrs.empty() || entry.path.empty())) {
    return absl::InvalidArgumentError("a whiteout has a path and nothing else");
  }
  if (entry.path.empty() && type != EntryType::kDirectory) {
    return absl::InvalidArgumentError("the root is no directory");
  }
  if (entry.mode > 07777 || (type == EntryType::kSymlink && entry.mode != 0777)) {
    return absl::InvalidArgumentError(absl::StrCat("mode 0", absl::Hex(entry.mode), " (hex)"));
  }
  if (type != EntryType::kFile && (!entry.content.empty() || !entry.hard_link_to.empty())) {
    return absl::InvalidArgumentError("content, but no file");
  }
  if (entry.size_bytes() < 0) return absl::InvalidArgumentError("negative size");
  if ((type == EntryType::kSymlink) == entry.link_target.empty()) {
    return absl::InvalidArgumentError("symlinks, and only they, have a link target");
  }
  if (static_cast<int64_t>(entry.link_target.size()) > limits.path_bytes_max ||
      entry.link_target.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the link target is too long or has a zero byte");
  }
  if (!IsDevice(type) && (entry.device_major != 0 || entry.device_minor != 0)) {
    return absl::InvalidArgumentError("device numbers, but no device");
  }
  if (entry.opaque && type != EntryType::kDirectory) {
    return absl::InvalidArgumentError("opaque, but no directory");
  }
  if (entry.mtime < absl::FromUnixSeconds(-kMtimeSecondsMax) ||
      entry.mtime > absl::FromUnixSeconds(kMtimeSecondsMax)) {
    return absl::InvalidArgumentError("mtime out of range");
  }
  return CheckXattrs(entry, limits);
}

bool SameInode(const TableEntry& a, const TableEntry& b) {
  return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.mtime == b.mtime &&
         a.content == b.content && a.xattrs == b.xattrs;
}

// Index of the last name that each entry's hard link leads to; its own for all others.
absl::StatusOr<std::vector<size_t>> ResolveHardLinks(const std::vector<TableEntry>& entries) {
  std::vector<size_t> target(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    target[i] = i;
    if (entries[i].hard_link_to.empty()) continue;
    const auto found = std::lower_bound(entries.begin(), entries.end(), entries[i].hard_link_to,
                                        [](const TableEntry& entry, const std::string& path) {
                                          return PathLess(entry.path, path);
                                        });
    if (found == entries.end() || found->path != entries[i].hard_link_to) {
      return absl::InvalidArgumentError(
          absl::StrCat(ShownPath(entries[i].path), " is a hard link to ",
                       ShownPath(entries[i].hard_link_to), ", which is not there"));
    }
    target[i] = static_cast<size_t>(found - entries.begin());
  }
  // Pointer doubling: after k rounds each entry knows the 2^k-th of its chain.
  for (size_t length = 1; length < entries.size(); length *= 2) {
    bool changed = false;
    std::vector<size_t> next(target.size());
    for (size_t i = 0; i < target.size(); ++i) {
      next[i] = target[target[i]];
      changed |= next[i] != target[i];
    }
    target.swap(next);
    if (!changed) break;
  }
  return target;
}

}  // namespace

bool IsDevice(EntryType type) {
  return type == EntryType::kCharDevice || type == EntryType::kBlockDevice;
}

absl::Status CheckEntry(const TableEntry& entry, const TableLimits& limits) {
  RETURN_IF_ERROR(CheckPath(entry.path, limits));
  RETURN_IF_ERROR(CheckFields(entry, limits)) << ShownPath(entry.path);
  return absl::OkStatus();
}

absl::Status CheckOrder(const TableEntry& before, const TableEntry& entry) {
  if (!PathLess(before.path, entry.path)) {
    return absl::InvalidArgumentError(absl::StrCat(
        ShownPath(entry.path), before.path == entry.path ? " is there twice" : " is not in order"));
  }
  // All that is under a path follows it at once, so looking at neighbours is enough.
  if (before.type != EntryType::kDirectory && IsUnder(entry.path, before.path)) {
    return absl::InvalidArgumentError(absl::StrCat(ShownPath(entry.path), " is under a ",
                                                   std::string(EntryTypeName(before.type))));
  }
  return absl::OkStatus();
}

absl::Status CheckEntryCount(uint64_t count, const TableLimits& limits) {
  if (count <= static_cast<uint64_t>(limits.entries_max)) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("more than entries_max ", limits.entries_max, " entries"));
}

absl::Status CheckHardLink(const TableEntry& entry, const TableEntry& first) {
  for (const TableEntry* name : {&entry, &first}) {
    if (name->type == EntryType::kFile) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("hard link between ", ShownPath(entry.path), " and ", ShownPath(first.path),
                     ", of which one is a ", std::string(EntryTypeName(name->type))));
  }
  if (!SameInode(entry, first)) {
    return absl::InvalidArgumentError(absl::StrCat(ShownPath(entry.path), " is a hard link to ",
                                                   ShownPath(first.path),
                                                   ", which has other metadata or content"));
  }
  return absl::OkStatus();
}

absl::Status NormalizeHardLinks(std::vector<TableEntry>& entries, const TableLimits& limits) {
  if (std::all_of(entries.begin(), entries.end(),
                  [](const TableEntry& entry) { return entry.hard_link_to.empty(); })) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<size_t> target, ResolveHardLinks(entries));
  std::vector<size_t> first(entries.size(), entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[target[i]].hard_link_to.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(ShownPath(entries[i].path), " is a hard link that leads in a circle"));
    }
    first[target[i]] = std::min(first[target[i]], i);
  }
  for (size_t i = 0; i < entries.size(); ++i) {
    const size_t start = first[target[i]];
    if (start == i) continue;
    RETURN_IF_ERROR(CheckHardLink(entries[i], entries[start]));
  }
  TableMemory memory(limits);  // Again: the first name may be longer than the one that was named.
  for (size_t i = 0; i < entries.size(); ++i) {
    const size_t start = first[target[i]];
    entries[i].hard_link_to = start == i ? "" : entries[start].path;
    RETURN_IF_ERROR(memory.Add(entries[i]));
  }
  return absl::OkStatus();
}

}  // namespace farm
