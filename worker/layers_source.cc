#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "layer/xattrs.h"
#include "worker/copy_source.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
constexpr size_t kLinkBytesMax = 4096;

absl::StatusOr<UniqueFd> Open(const LowerEntry& entry, int flags) {
  const std::string path = entry.path.empty() ? "." : entry.path;
  UniqueFd fd(openat(entry.layer_fd, path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "/" + entry.path);
  return fd;
}

EntryMetadata MetadataOf(const struct stat& info, const Xattrs* xattrs) {
  return {.mode = info.st_mode & 07777,
          .owner = {info.st_uid, info.st_gid},
          .mtime = absl::TimeFromTimespec(info.st_mtim),
          .xattrs = xattrs};
}

absl::Status CopyBytesOf(int from_fd, int to_fd, std::string& buffer) {
  FdSource source(from_fd);
  FdSink sink(to_fd);
  while (true) {
    ASSIGN_OR_RETURN(const size_t size, source.Read(buffer.data(), buffer.size()));
    if (size == 0) return absl::OkStatus();
    RETURN_IF_ERROR(sink.Write(absl::string_view(buffer.data(), size)));
  }
}

}  // namespace

class LayersSource::TreeCopy {
 public:
  // `base` is the directory that the source's selection is relative to.
  TreeCopy(LayersSource& source, absl::string_view base, CopyTarget& target)
      : source_(source), base_(base), target_(target), buffer_(kBufferBytes, '\0') {}

  absl::Status CopyContents(const LowerDirectory& from, const CopyTarget::Directory& to) {
    ASSIGN_OR_RETURN(const std::vector<std::string> names, from.List());
    for (const std::string& name : names) {
      if (source_.cancel_.cancelled()) return absl::CancelledError("while files were copied");
      ASSIGN_OR_RETURN(const std::optional<LowerEntry> entry, from.Stat(name));
      if (!entry.has_value() || !IsSelected(*entry)) continue;
      RETURN_IF_ERROR(CopyOne(from, name, *entry, to, name)) << "/" << entry->path;
    }
    return absl::OkStatus();
  }

  // `entry` is `from_name` of `from`.
  absl::Status CopyOne(const LowerDirectory& from, absl::string_view from_name,
                       const LowerEntry& entry, const CopyTarget::Directory& to,
                       absl::string_view name) {
    switch (entry.stat.st_mode & S_IFMT) {
      case S_IFDIR: {
        ASSIGN_OR_RETURN(const LowerDirectory directory, from.Open(from_name));
        ASSIGN_OR_RETURN(const CopyTarget::Directory made, target_.EnterDirectory(to, name));
        RETURN_IF_ERROR(CopyContents(directory, made));
        ASSIGN_OR_RETURN(const UniqueFd fd, farm::Open(entry, O_RDONLY | O_DIRECTORY));
        ASSIGN_OR_RETURN(const Xattrs xattrs, ReadLayerXattrs(fd.get()));
        return target_.Finish(made.fd.get(), MetadataOf(entry.stat, &xattrs));
      }
      case S_IFREG:
        return CopyFile(entry, to, name);
      case S_IFLNK: {
        std::string link(kLinkBytesMax, '\0');
        const ssize_t size =
            readlinkat(entry.layer_fd, entry.path.c_str(), link.data(), link.size());
        if (size < 0) return ErrnoStatus(errno, "/" + entry.path);
        link.resize(static_cast<size_t>(size));
        return target_.CreateSymlink(to, name, link, MetadataOf(entry.stat, nullptr));
      }
      case S_IFCHR:
        return CopyNode(EntryType::kCharDevice, entry, to, name);
      case S_IFBLK:
        return CopyNode(EntryType::kBlockDevice, entry, to, name);
      case S_IFIFO:
        return CopyNode(EntryType::kFifo, entry, to, name);
      default:
        return absl::OkStatus();  // Sockets are in no layer.
    }
  }

 private:
  bool IsSelected(const LowerEntry& entry) const {
    if (source_.selection_ == nullptr) return true;
    absl::string_view path = entry.path;
    if (!base_.empty()) path.remove_prefix(std::min(base_.size() + 1, path.size()));
    return source_.selection_->Find(path) != nullptr;
  }

  absl::Status CopyFile(const LowerEntry& entry, const CopyTarget::Directory& to,
                        absl::string_view name) {
    if (entry.stat.st_nlink > 1) {
      const auto [link, first] =
          links_.try_emplace({entry.stat.st_dev, entry.stat.st_ino}, JoinPath(to.path, name));
      if (!first) return target_.CreateLink(to, name, link->second);
    }
    ASSIGN_OR_RETURN(const UniqueFd from, farm::Open(entry, O_RDONLY));
    ASSIGN_OR_RETURN(const UniqueFd made, target_.CreateFile(to, name));
    RETURN_IF_ERROR(CopyBytesOf(from.get(), made.get(), buffer_));
    ASSIGN_OR_RETURN(const Xattrs xattrs, ReadLayerXattrs(from.get()));
    return target_.Finish(made.get(), MetadataOf(entry.stat, &xattrs));
  }

  absl::Status CopyNode(EntryType type, const LowerEntry& entry, const CopyTarget::Directory& to,
                        absl::string_view name) {
    return target_.CreateNode(to, name, type, major(entry.stat.st_rdev), minor(entry.stat.st_rdev),
                              MetadataOf(entry.stat, nullptr));
  }

  LayersSource& source_;
  const absl::string_view base_;
  CopyTarget& target_;
  std::string buffer_;
  std::map<std::pair<dev_t, ino_t>, std::string> links_;  // where the first name was written
};

absl::StatusOr<bool> LayersSource::IsDirectory(absl::string_view path) {
  if (path.empty()) return true;
  ASSIGN_OR_RETURN(const std::optional<LowerEntry> entry, view_.Stat(path));
  if (!entry.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("the source has no \"/", path, "\""));
  }
  return S_ISDIR(entry->stat.st_mode);
}

absl::Status LayersSource::CopyEntry(absl::string_view path, CopyTarget& target,
                                     const CopyTarget::Directory& directory,
                                     absl::string_view name) {
  const size_t slash = path.rfind('/');
  const bool at_root = slash == absl::string_view::npos;
  ASSIGN_OR_RETURN(const LowerDirectory parent, view_.Open(at_root ? "" : path.substr(0, slash)));
  const absl::string_view from_name = at_root ? path : path.substr(slash + 1);
  ASSIGN_OR_RETURN(const std::optional<LowerEntry> entry, parent.Stat(from_name));
  if (!entry.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("the source has no \"/", path, "\""));
  }
  return TreeCopy(*this, path, target).CopyOne(parent, from_name, *entry, directory, name);
}

absl::Status LayersSource::CopyContents(absl::string_view path, CopyTarget& target,
                                        const CopyTarget::Directory& directory) {
  ASSIGN_OR_RETURN(const LowerDirectory from, view_.Open(path));
  if (from.empty()) return absl::OkStatus();  // The root of scratch.
  RETURN_IF_ERROR(TreeCopy(*this, path, target).CopyContents(from, directory));
  ASSIGN_OR_RETURN(const LowerEntry self, from.StatSelf());
  return target.SetTime(directory, absl::TimeFromTimespec(self.stat.st_mtim));
}

}  // namespace farm
