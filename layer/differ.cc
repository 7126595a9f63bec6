#include "layer/differ.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/directory.h"
#include "layer/paths.h"
#include "layer/tar_writer.h"
#include "layer/twin_sha256.h"
#include "layer/whiteout.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

// Small enough to stay in a core's cache between reading, hashing and writing.
constexpr size_t kBufferBytes = 128 * 1024;

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
        buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)),
        memory_(options.limits) {}

  absl::StatusOr<PackedLayer> Pack(int dirfd, const LowerDirectory& below) {
    RETURN_IF_ERROR(Walk(dirfd, below)) << ShownPath(path_);
    RETURN_IF_ERROR(writer_.Finish());
    if (meaning_ == Meaning::kOverlayUpper) {
      RETURN_IF_ERROR(ResetRoot(dirfd));
    }
    ASSIGN_OR_RETURN(Table table, Table::FromEntries(std::move(entries_), options_.limits));
    return PackedLayer{tar_hash_.Finish(), std::move(table)};
  }

 private:
  // A directory under way: open, with what is still to come of it.
  struct Directory {
    int fd;
    std::string path;
    LowerDirectory below;
    // It, or one above it, hides what is below: only explicit whiteouts can say so in the tar.
    bool opaque = false;

    UniqueFd held;  // What `fd` is, but for the root.
    std::vector<DirectoryItem> items;
    size_t next_item = 0;
    std::vector<std::string> hidden;  // Names below that an opaque directory hides.
    size_t next_hidden = 0;
    // Of a directory that is as it is below: it is in pending_ until something in it is written.
    struct Unchanged {
      size_t pending_depth;
      struct stat stat;
      struct stat lower_stat;
    };
    std::optional<Unchanged> unchanged = std::nullopt;
  };

  // A directory that is written only if something in it is.
  struct PendingDirectory {
    int fd;
    TableEntry entry;
    timespec mtime;  // With its fraction.
  };

  // Not by recursion: how deep a tree is, a step decides, and the stack is the worker's.
  absl::Status Walk(int dirfd, const LowerDirectory& below) {
    RETURN_IF_ERROR(Enter({.fd = dirfd, .path = "", .below = below}));
    while (!open_.empty()) {
      Directory& directory = open_.back();
      const DirectoryItem* item = directory.next_item < directory.items.size()
                                      ? &directory.items[directory.next_item]
                                      : nullptr;
      const std::string* gone = directory.next_hidden < directory.hidden.size()
                                    ? &directory.hidden[directory.next_hidden]
                                    : nullptr;
      if (item == nullptr && gone == nullptr) {
        RETURN_IF_ERROR(Leave());
      } else if (gone == nullptr || (item != nullptr && item->name <= *gone)) {
        ++directory.next_item;
        if (gone != nullptr && item->name == *gone) ++directory.next_hidden;
        path_ = JoinPath(directory.path, item->name);
        RETURN_IF_ERROR(AddItem(directory, *item));
      } else {
        ++directory.next_hidden;
        RETURN_IF_ERROR(AddWhiteout(directory, *gone));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Enter(Directory directory) {
    if (static_cast<int64_t>(open_.size()) > options_.limits.path_depth_max) {
      return absl::ResourceExhaustedError(absl::StrCat("directories more than path_depth_max ",
                                                       options_.limits.path_depth_max, " deep"));
    }
    ASSIGN_OR_RETURN(directory.items, ListDirectory(directory.fd, options_.limits.entries_max));
    // The lists of all directories on the way are in memory together.
    listed_ += static_cast<int64_t>(directory.items.size());
    if (listed_ > options_.limits.entries_max) return OverEntries();
    if (directory.opaque && !directory.below.empty()) {
      ASSIGN_OR_RETURN(directory.hidden, directory.below.List());
    }
    open_.push_back(std::move(directory));
    return absl::OkStatus();
  }

  absl::Status Leave() {
    const Directory left = std::move(open_.back());
    open_.pop_back();
    listed_ -= static_cast<int64_t>(left.items.size());
    if (!left.unchanged.has_value() || pending_.size() <= left.unchanged->pending_depth) {
      return absl::OkStatus();
    }
    pending_.pop_back();
    // It stays out of the layer, so the one below is what others will see: make that true here too.
    return SetTimeLike(left.fd, left.unchanged->stat, left.unchanged->lower_stat);
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
    if (S_ISSOCK(stat.st_mode)) return DropSocket(parent, item.name);
    if (IsWhiteoutDevice(stat)) return AddWhiteoutDevice(parent, item.name);
    if (!fd.valid() && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) {
      fd = OpenItem(parent.fd, item.name, 0);  // The file system does not tell types in lists.
      if (!fd.valid()) return ErrnoStatus(errno, "open");
    }
    if (S_ISDIR(stat.st_mode)) return AddDirectory(parent, item.name, std::move(fd), stat);
    if (S_ISREG(stat.st_mode)) return AddFile(fd.get(), stat);
    return AddSpecial(parent, item.name, stat);
  }

  // Who unpacks the layer elsewhere will not have it either.
  absl::Status DropSocket(const Directory& parent, const std::string& name) {
    if (meaning_ == Meaning::kPlainTree) return absl::OkStatus();
    struct stat stat;
    if (fstat(parent.fd, &stat) != 0) return ErrnoStatus(errno, "stat");
    if (unlinkat(parent.fd, name.c_str(), 0) != 0) return ErrnoStatus(errno, "remove socket");
    const timespec times[2] = {{0, UTIME_OMIT}, stat.st_mtim};
    return futimens(parent.fd, times) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "set mtime");
  }

  // The layer's; others are taken away, as they are of those who unpack the layer elsewhere.
  absl::StatusOr<Xattrs> XattrsOf(int fd) const {
    return meaning_ == Meaning::kPlainTree ? ReadLayerXattrs(fd) : KeepLayerXattrs(fd);
  }

  // The root is in no layer, so it must not keep what the step did to it: it is as ApplyLayer()
  // makes the root of a tar without one.
  absl::Status ResetRoot(int dirfd) const {
    RETURN_IF_ERROR(KeepOverlayXattrs(dirfd));
    const timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    if (fchown(dirfd, 0, 0) != 0 || fchmod(dirfd, kImpliedDirectoryMode) != 0 ||
        futimens(dirfd, times) != 0) {
      return ErrnoStatus(errno, "root of the layer");
    }
    return absl::OkStatus();
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
    entry.path = JoinPath(parent.path, name);
    entry.type = EntryType::kWhiteout;
    return Write(std::move(entry));
  }

  absl::Status AddDirectory(const Directory& parent, const std::string& name, UniqueFd fd,
                            const struct stat& stat) {
    TableEntry entry = EntryOf(path_, EntryType::kDirectory, stat);
    ASSIGN_OR_RETURN(entry.xattrs, XattrsOf(fd.get()));
    Directory directory{
        .fd = fd.get(), .path = entry.path, .below = LowerDirectory(), .opaque = parent.opaque};
    if (!parent.below.empty()) {
      ASSIGN_OR_RETURN(directory.below, parent.below.Open(name));
    }
    PendingDirectory pending{fd.get(), std::move(entry), stat.st_mtim};
    directory.held = std::move(fd);
    if (directory.below.empty()) {
      RETURN_IF_ERROR(WriteDirectory(std::move(pending)));
      return Enter(std::move(directory));
    }
    if (!directory.opaque) {
      ASSIGN_OR_RETURN(directory.opaque, HasOpaqueMark(directory.fd));
    }
    ASSIGN_OR_RETURN(const LowerEntry lower, directory.below.StatSelf());
    ASSIGN_OR_RETURN(const bool same, IsSameDirectory(pending.entry, lower));
    if (same) {
      directory.unchanged = {pending_.size(), stat, lower.stat};
      pending_.push_back(std::move(pending));
    } else {
      RETURN_IF_ERROR(WriteDirectory(std::move(pending)));
    }
    return Enter(std::move(directory));
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
    ASSIGN_OR_RETURN(entry.xattrs, XattrsOf(fd));
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
    if (meaning_ == Meaning::kOverlayUpper && type != EntryType::kSymlink) {
      RETURN_IF_ERROR(DropAclAt(parent.fd, name));
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
      return OverEntries();
    }
    RETURN_IF_ERROR(memory_.Add(entry));
    RETURN_IF_ERROR(writer_.AddEntry(TarEntryOf(entry)));
    entries_.push_back(std::move(entry));
    return absl::OkStatus();
  }

  absl::Status OverEntries() const {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than entries_max ", options_.limits.entries_max, " entries"));
  }

  const Meaning meaning_;
  const PackOptions& options_;
  TwinSha256 tar_hash_;
  TarWriter writer_;
  const std::unique_ptr<char[]> buffer_;
  TwinSha256 file_hash_;
  std::string path_;  // Of the item under way, for errors.
  std::vector<TableEntry> entries_;
  TableMemory memory_;                     // Of entries_.
  std::deque<Directory> open_;             // Outermost first. A deque: adding one moves none.
  int64_t listed_ = 0;                     // Items of all of open_.
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
