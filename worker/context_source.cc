#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "worker/copy_source.h"

namespace farm {
namespace {

// The file whose bytes an entry has: its own path, or that of the first of its hard links.
absl::string_view FirstName(const TableEntry& entry) {
  return entry.hard_link_to.empty() ? entry.path : entry.hard_link_to;
}

// What is written for `path` of the table, in order: the entry itself, if it is there and not only
// its contents are asked for, and all beneath it.
absl::Span<const TableEntry> Selection(const Table& table, absl::string_view path,
                                       bool contents_only) {
  absl::Span<const TableEntry> entries = table.Subtree(path);
  if (contents_only && !entries.empty() && entries.front().path == path) {
    entries.remove_prefix(1);
  }
  return entries;
}

EntryMetadata MetadataOf(const TableEntry& entry) {
  return {.mode = entry.mode,
          .owner = {entry.uid, entry.gid},
          .mtime = entry.mtime,
          .xattrs = &entry.xattrs};
}

}  // namespace

// Writes a selection: entries in table order, so that a directory is followed by what is in it.
class ContextSource::TreeCopy {
 public:
  TreeCopy(ContextSource& source, CopyTarget& target) : source_(source), target_(target) {}

  // The first entry is named `name`, if that is not empty.
  absl::Status Copy(absl::Span<const TableEntry> entries, const CopyTarget::Directory& directory,
                    absl::string_view name) {
    for (const TableEntry& entry : entries) {
      if (source_.cancel_.cancelled()) return absl::CancelledError("while files were copied");
      RETURN_IF_ERROR(LeaveUntil(entry));
      const CopyTarget::Directory& parent = open_.empty() ? directory : open_.back().directory;
      const absl::string_view entry_name =
          &entry == entries.data() && !name.empty() ? name : entry.name();
      RETURN_IF_ERROR(CopyOne(entry, parent, entry_name)) << entry.path;
    }
    while (!open_.empty()) RETURN_IF_ERROR(Leave());
    return absl::OkStatus();
  }

 private:
  struct Open {
    const TableEntry* entry;
    CopyTarget::Directory directory;
  };

  bool IsInside(const TableEntry& entry, const TableEntry& directory) const {
    absl::string_view rest = entry.path;
    return directory.path.empty() ||
           (absl::ConsumePrefix(&rest, directory.path) && !rest.empty() && rest[0] == '/');
  }

  absl::Status LeaveUntil(const TableEntry& entry) {
    while (!open_.empty() && !IsInside(entry, *open_.back().entry)) RETURN_IF_ERROR(Leave());
    return absl::OkStatus();
  }

  absl::Status Leave() {
    const Open& open = open_.back();
    RETURN_IF_ERROR(target_.Finish(open.directory.fd.get(), MetadataOf(*open.entry)))
        << "/" << open.directory.path;
    open_.pop_back();
    return absl::OkStatus();
  }

  absl::Status CopyOne(const TableEntry& entry, const CopyTarget::Directory& parent,
                       absl::string_view name) {
    switch (entry.type) {
      case EntryType::kDirectory: {
        ASSIGN_OR_RETURN(CopyTarget::Directory directory, target_.EnterDirectory(parent, name));
        open_.push_back({.entry = &entry, .directory = std::move(directory)});
        return absl::OkStatus();
      }
      case EntryType::kFile:
        return CopyFile(entry, parent, name);
      case EntryType::kSymlink:
        return target_.CreateSymlink(parent, name, entry.link_target, MetadataOf(entry));
      case EntryType::kCharDevice:
      case EntryType::kBlockDevice:
      case EntryType::kFifo:
        return target_.CreateNode(parent, name, entry.type, entry.device_major, entry.device_minor,
                                  MetadataOf(entry));
      case EntryType::kWhiteout:
        break;
    }
    return absl::InvalidArgumentError("a context holds no whiteouts");
  }

  absl::Status CopyFile(const TableEntry& entry, const CopyTarget::Directory& parent,
                        absl::string_view name) {
    const std::string path = JoinPath(parent.path, name);
    const auto [link, first] = links_.try_emplace(FirstName(entry), path);
    source_.known_.verified.erase(path);  // Of a file that this one replaces.
    source_.known_.unverified.erase(path);
    if (!first) return target_.CreateLink(parent, name, link->second);
    ASSIGN_OR_RETURN(const UniqueFd fd, target_.CreateFile(parent, name));
    ASSIGN_OR_RETURN(const BlobFeed::Written written, source_.feed_.WriteNext(fd.get()));
    (written.verified ? source_.known_.verified : source_.known_.unverified)[path] = entry.content;
    return target_.Finish(fd.get(), MetadataOf(entry));
  }

  ContextSource& source_;
  CopyTarget& target_;
  std::vector<Open> open_;
  absl::flat_hash_map<absl::string_view, std::string> links_;  // first name -> where it was written
};

void ContextSource::AppendFilesOf(const Table& table, absl::string_view path,
                                  std::vector<Digest>& digests) {
  absl::flat_hash_set<absl::string_view> seen;
  for (const TableEntry& entry : table.Subtree(path)) {
    if (entry.type == EntryType::kFile && seen.insert(FirstName(entry)).second) {
      digests.push_back(entry.content);
    }
  }
}

absl::StatusOr<bool> ContextSource::IsDirectory(absl::string_view path) {
  if (table_.IsDirectory(path)) return true;
  if (table_.Find(path) != nullptr) return false;
  return absl::InvalidArgumentError(absl::StrCat("the context has no \"", path, "\""));
}

absl::Status ContextSource::CopyEntry(absl::string_view path, CopyTarget& target,
                                      const CopyTarget::Directory& directory,
                                      absl::string_view name) {
  return TreeCopy(*this, target)
      .Copy(Selection(table_, path, /*contents_only=*/false), directory, name);
}

absl::Status ContextSource::CopyContents(absl::string_view path, CopyTarget& target,
                                         const CopyTarget::Directory& directory) {
  RETURN_IF_ERROR(
      TreeCopy(*this, target).Copy(Selection(table_, path, /*contents_only=*/true), directory, ""));
  const TableEntry* self = table_.Find(path);
  return self == nullptr ? absl::OkStatus() : target.SetTime(directory, self->mtime);
}

}  // namespace farm
