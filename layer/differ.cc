#include "layer/differ.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/directory.h"
#include "layer/tar_writer.h"
#include "layer/twin_sha256.h"
#include "layer/whiteout.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

// Small enough to stay in a core's cache between reading, hashing and writing.
constexpr size_t kBufferBytes = 128 * 1024;

std::string Join(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
}

std::string Shown(absl::string_view path) {
  return absl::StrCat("\"", absl::CHexEscape(path), "\"");
}

// Opens for reading without following a symlink, without waiting for the other end of a fifo, and
// without touching the access time where we may.
UniqueFd OpenItem(int dirfd, const std::string& name, int flags) {
  flags |= O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  int fd = openat(dirfd, name.c_str(), flags | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = openat(dirfd, name.c_str(), flags);
  return UniqueFd(fd);
}

absl::StatusOr<EntryType> TypeOf(const struct stat& stat) {
  switch (stat.st_mode & S_IFMT) {
    case S_IFREG:
      return EntryType::kFile;
    case S_IFDIR:
      return EntryType::kDirectory;
    case S_IFLNK:
      return EntryType::kSymlink;
    case S_IFCHR:
      return EntryType::kCharDevice;
    case S_IFBLK:
      return EntryType::kBlockDevice;
    case S_IFIFO:
      return EntryType::kFifo;
    default:
      return absl::InvalidArgumentError(absl::StrCat("file of type ", stat.st_mode & S_IFMT));
  }
}

// Everything but content, link target and xattrs; the time in whole seconds.
TableEntry EntryOf(std::string path, EntryType type, const struct stat& stat) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.mode = stat.st_mode & 07777;
  entry.uid = stat.st_uid;
  entry.gid = stat.st_gid;
  entry.mtime = absl::FromUnixSeconds(stat.st_mtim.tv_sec);
  if (type == EntryType::kCharDevice || type == EntryType::kBlockDevice) {
    entry.device_major = major(stat.st_rdev);
    entry.device_minor = minor(stat.st_rdev);
  }
  return entry;
}

TarEntry TarEntryOf(const TableEntry& entry) {
  TarEntry tar;
  tar.name = entry.path;
  tar.mode = entry.mode;
  tar.uid = entry.uid;
  tar.gid = entry.gid;
  tar.mtime = entry.mtime;
  tar.device_major = entry.device_major;
  tar.device_minor = entry.device_minor;
  tar.link_name = entry.link_target;
  tar.xattrs = entry.xattrs;
  switch (entry.type) {
    case EntryType::kFile:
      tar.type = TarType::kFile;
      tar.size_bytes = entry.size_bytes();
      break;
    case EntryType::kDirectory:
      tar.type = TarType::kDirectory;
      break;
    case EntryType::kSymlink:
      tar.type = TarType::kSymlink;
      break;
    case EntryType::kCharDevice:
      tar.type = TarType::kCharDevice;
      break;
    case EntryType::kBlockDevice:
      tar.type = TarType::kBlockDevice;
      break;
    case EntryType::kFifo:
      tar.type = TarType::kFifo;
      break;
    case EntryType::kWhiteout: {
      const absl::string_view name = entry.name();
      tar.name.insert(tar.name.size() - name.size(), kWhiteoutPrefix);
      break;
    }
  }
  if (!entry.hard_link_to.empty()) {
    tar.type = TarType::kHardLink;
    tar.link_name = entry.hard_link_to;
    tar.size_bytes = 0;
    tar.xattrs.clear();  // They are the inode's, hence the first name's.
  }
  return tar;
}

enum class Meaning { kOverlayUpper, kPlainTree };

// One pass over a directory. Each entry goes to the tar and to the table at once.
class Packer {
 public:
  Packer(Meaning meaning, const PackOptions& options, ByteSink& tar)
      : meaning_(meaning),
        options_(options),
        writer_(tar, options.tar_bytes_max, &tar_hash_),
        buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

  absl::StatusOr<PackedLayer> Pack(int dirfd, const LowerDirectory& below) {
    RETURN_IF_ERROR(AddContents(Directory{dirfd, "", below, /*opaque=*/false})) << Shown(path_);
    RETURN_IF_ERROR(writer_.Finish());
    ASSIGN_OR_RETURN(Table table, Table::FromEntries(std::move(entries_), options_.limits));
    return PackedLayer{tar_hash_.Finish(), std::move(table)};
  }

 private:
  struct Directory {
    int fd;
    std::string path;
    LowerDirectory below;
    // It, or one above it, hides what is below: only explicit whiteouts can say so in the tar.
    bool opaque;
  };

  // A directory that is written only if something in it is.
  struct PendingDirectory {
    int fd;
    TableEntry entry;
    timespec mtime;  // With its fraction.
  };

  absl::Status AddContents(const Directory& directory) {
    ASSIGN_OR_RETURN(const std::vector<DirectoryItem> items, ListDirectory(directory.fd));
    std::vector<std::string> hidden;
    if (directory.opaque && !directory.below.empty()) {
      ASSIGN_OR_RETURN(hidden, directory.below.List());
    }
    auto item = items.begin();
    auto gone = hidden.begin();
    while (item != items.end() || gone != hidden.end()) {
      if (gone == hidden.end() || (item != items.end() && item->name <= *gone)) {
        if (gone != hidden.end() && item->name == *gone) ++gone;
        path_ = Join(directory.path, item->name);
        RETURN_IF_ERROR(AddItem(directory, *item));
        ++item;
      } else {
        RETURN_IF_ERROR(AddWhiteout(directory, *gone));
        ++gone;
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddItem(const Directory& parent, const DirectoryItem& item) {
    if (options_.cancel != nullptr && options_.cancel->cancelled()) {
      return absl::CancelledError("packing was cancelled");
    }
    if (absl::StartsWith(item.name, kWhiteoutPrefix)) {
      return absl::InvalidArgumentError(
          "a layer cannot hold a name that begins with .wh.: it would delete a file");
    }
    UniqueFd fd;
    struct stat stat;
    if (item.type == DT_REG || item.type == DT_DIR) {
      fd = OpenItem(parent.fd, item.name, 0);
      if (!fd.valid()) return ErrnoStatus(errno, "open");
      if (fstat(fd.get(), &stat) != 0) return ErrnoStatus(errno, "stat");
    } else if (fstatat(parent.fd, item.name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoStatus(errno, "stat");
    }
    if (S_ISSOCK(stat.st_mode)) return absl::OkStatus();
    if (IsWhiteoutDevice(stat)) return AddWhiteoutDevice(parent, item.name);
    if (!fd.valid() && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) {
      fd = OpenItem(parent.fd, item.name, 0);  // The file system does not tell types in lists.
      if (!fd.valid()) return ErrnoStatus(errno, "open");
    }
    if (S_ISDIR(stat.st_mode)) return AddDirectory(parent, item.name, std::move(fd), stat);
    if (S_ISREG(stat.st_mode)) return AddFile(fd.get(), stat);
    return AddSpecial(parent, item.name, stat);
  }

  absl::Status AddWhiteoutDevice(const Directory& parent, const std::string& name) {
    if (meaning_ == Meaning::kPlainTree) {
      return absl::InvalidArgumentError(
          "a char device 0:0, which overlayfs takes for a deleted file");
    }
    if (parent.below.empty()) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::optional<LowerEntry> lower, parent.below.Stat(name));
    return lower.has_value() ? AddWhiteout(parent, name) : absl::OkStatus();
  }

  absl::Status AddWhiteout(const Directory& parent, const std::string& name) {
    TableEntry entry;
    entry.path = Join(parent.path, name);
    entry.type = EntryType::kWhiteout;
    return Write(std::move(entry));
  }

  absl::Status AddDirectory(const Directory& parent, const std::string& name, UniqueFd fd,
                            const struct stat& stat) {
    TableEntry entry = EntryOf(path_, EntryType::kDirectory, stat);
    ASSIGN_OR_RETURN(entry.xattrs, ReadLayerXattrs(fd.get()));
    Directory directory{fd.get(), entry.path, LowerDirectory(), parent.opaque};
    if (!parent.below.empty()) {
      ASSIGN_OR_RETURN(directory.below, parent.below.Open(name));
    }
    if (directory.below.empty()) {
      RETURN_IF_ERROR(WriteDirectory({fd.get(), std::move(entry), stat.st_mtim}));
      return AddContents(directory);
    }
    if (!directory.opaque) {
      ASSIGN_OR_RETURN(directory.opaque, HasOpaqueMark(fd.get()));
    }
    ASSIGN_OR_RETURN(const LowerEntry lower, directory.below.StatSelf());
    ASSIGN_OR_RETURN(const bool same, IsSameDirectory(entry, lower));
    PendingDirectory pending{fd.get(), std::move(entry), stat.st_mtim};
    if (!same) {
      RETURN_IF_ERROR(WriteDirectory(std::move(pending)));
      return AddContents(directory);
    }
    const size_t depth = pending_.size();
    pending_.push_back(std::move(pending));
    RETURN_IF_ERROR(AddContents(directory));
    if (pending_.size() <= depth) return absl::OkStatus();
    pending_.pop_back();
    // It stays out of the layer, so the one below is what others will see: make that true here too.
    return SetTimeLike(fd.get(), stat, lower.stat);
  }

  // By whole seconds, as all times of a layer are.
  static absl::StatusOr<bool> IsSameDirectory(const TableEntry& entry, const LowerEntry& lower) {
    TableEntry below = EntryOf(entry.path, EntryType::kDirectory, lower.stat);
    const UniqueFd fd(openat(lower.layer_fd, lower.path.c_str(),
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, "open in lower layer");
    ASSIGN_OR_RETURN(below.xattrs, ReadLayerXattrs(fd.get()));
    return entry == below;
  }

  static absl::Status SetTimeLike(int fd, const struct stat& stat, const struct stat& wanted) {
    if (stat.st_mtim.tv_nsec == wanted.st_mtim.tv_nsec) return absl::OkStatus();
    const timespec times[2] = {{0, UTIME_OMIT}, wanted.st_mtim};
    return futimens(fd, times) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "set mtime");
  }

  absl::Status AddFile(int fd, const struct stat& stat) {
    RETURN_IF_ERROR(TruncateTime(fd, nullptr, stat.st_mtim));
    if (stat.st_nlink > 1) {
      const auto [first, is_new] =
          first_names_.try_emplace({stat.st_dev, stat.st_ino}, entries_.size());
      if (!is_new) {
        TableEntry entry = entries_[first->second];
        entry.hard_link_to = std::exchange(entry.path, path_);
        return Write(std::move(entry));
      }
    }
    TableEntry entry = EntryOf(path_, EntryType::kFile, stat);
    ASSIGN_OR_RETURN(entry.xattrs, ReadLayerXattrs(fd));
    const Digest* known = nullptr;
    if (options_.known_files != nullptr) {
      const auto found = options_.known_files->find(entry.path);
      if (found != options_.known_files->end()) known = &found->second;
    }
    if (known != nullptr && known->size_bytes() != stat.st_size) {
      return absl::DataLossError(
          absl::StrCat("the file has ", stat.st_size, " bytes instead of ", known->size_bytes()));
    }
    entry.content = known != nullptr ? *known : Digest(Digest::Hash(), stat.st_size);
    RETURN_IF_ERROR(Write(std::move(entry)));
    const size_t index = entries_.size() - 1;
    if (stat.st_nlink > 1) first_names_[{stat.st_dev, stat.st_ino}] = index;
    RETURN_IF_ERROR(AddFileData(fd, stat.st_size, known == nullptr));
    if (known == nullptr) entries_[index].content = file_hash_.Finish();
    return absl::OkStatus();
  }

  absl::Status AddFileData(int fd, int64_t size_bytes, bool hash) {
    for (int64_t left = size_bytes; left > 0;) {
      if (options_.cancel != nullptr && options_.cancel->cancelled()) {
        return absl::CancelledError("packing was cancelled");
      }
      const ssize_t count =
          read(fd, buffer_.get(), static_cast<size_t>(std::min<int64_t>(left, kBufferBytes)));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return ErrnoStatus(errno, "read");
      if (count == 0) return absl::InvalidArgumentError("the file got shorter while it was read");
      const absl::string_view bytes(buffer_.get(), static_cast<size_t>(count));
      RETURN_IF_ERROR(writer_.AddData(bytes, hash ? &file_hash_ : nullptr));
      left -= count;
    }
    return absl::OkStatus();
  }

  absl::Status AddSpecial(const Directory& parent, const std::string& name,
                          const struct stat& stat) {
    ASSIGN_OR_RETURN(const EntryType type, TypeOf(stat));
    TableEntry entry = EntryOf(path_, type, stat);
    if (type == EntryType::kSymlink) {
      char target[PATH_MAX];
      const ssize_t size = readlinkat(parent.fd, name.c_str(), target, sizeof(target));
      if (size < 0) return ErrnoStatus(errno, "read symlink");
      entry.link_target.assign(target, static_cast<size_t>(size));
    }
    RETURN_IF_ERROR(TruncateTime(parent.fd, name.c_str(), stat.st_mtim));
    return Write(std::move(entry));
  }

  // Of the name in the open directory, or of what is open if `name` is null.
  absl::Status TruncateTime(int fd, const char* name, const timespec& mtime) {
    if (meaning_ == Meaning::kPlainTree || mtime.tv_nsec == 0) return absl::OkStatus();
    const timespec times[2] = {{0, UTIME_OMIT}, {mtime.tv_sec, 0}};
    const int result =
        name == nullptr ? futimens(fd, times) : utimensat(fd, name, times, AT_SYMLINK_NOFOLLOW);
    return result == 0 ? absl::OkStatus() : ErrnoStatus(errno, "truncate mtime");
  }

  absl::Status WriteDirectory(PendingDirectory directory) {
    RETURN_IF_ERROR(WritePending());
    return WriteDirectoryItself(std::move(directory));
  }

  absl::Status WriteDirectoryItself(PendingDirectory directory) {
    RETURN_IF_ERROR(TruncateTime(directory.fd, nullptr, directory.mtime));
    return WriteItself(std::move(directory.entry));
  }

  absl::Status WritePending() {
    for (PendingDirectory& directory : pending_) {
      RETURN_IF_ERROR(WriteDirectoryItself(std::move(directory)));
    }
    pending_.clear();
    return absl::OkStatus();
  }

  absl::Status Write(TableEntry entry) {
    RETURN_IF_ERROR(WritePending());
    return WriteItself(std::move(entry));
  }

  absl::Status WriteItself(TableEntry entry) {
    if (static_cast<int64_t>(entries_.size()) >= options_.limits.entries_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("more than entries_max ", options_.limits.entries_max, " entries"));
    }
    RETURN_IF_ERROR(writer_.AddEntry(TarEntryOf(entry)));
    entries_.push_back(std::move(entry));
    return absl::OkStatus();
  }

  const Meaning meaning_;
  const PackOptions& options_;
  TwinSha256 tar_hash_;
  TarWriter writer_;
  const std::unique_ptr<char[]> buffer_;
  TwinSha256 file_hash_;
  std::string path_;  // Of the item under way, for errors.
  std::vector<TableEntry> entries_;
  std::vector<PendingDirectory> pending_;  // Outermost first.
  // Inode to index in entries_, for files with several names.
  absl::flat_hash_map<std::pair<dev_t, ino_t>, size_t> first_names_;
};

}  // namespace

absl::StatusOr<PackedLayer> PackLayer(int upper_dirfd, const LowerView& below,
                                      const PackOptions& options, ByteSink& tar) {
  return Packer(Meaning::kOverlayUpper, options, tar).Pack(upper_dirfd, below.Root());
}

absl::StatusOr<PackedLayer> PackTree(int dirfd, const PackOptions& options, ByteSink& tar) {
  return Packer(Meaning::kPlainTree, options, tar).Pack(dirfd, LowerDirectory());
}

}  // namespace farm
