#include "layer/applier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/beneath.h"
#include "layer/directory.h"
#include "layer/paths.h"
#include "layer/tar_reader.h"
#include "layer/twin_sha256.h"
#include "layer/whiteout.h"
#include "layer/xattrs.h"

namespace farm {
namespace {

constexpr int kSymlinksMax = 40;  // On the way to one entry, as the kernel has it.
// What the kernel keeps of device numbers. Bits beyond are cut off, which could make 0:0 of others.
constexpr uint32_t kDeviceMajorMax = (1 << 12) - 1;
constexpr uint32_t kDeviceMinorMax = (1 << 20) - 1;

enum class Form { kOverlayLayer, kPlainTree };

struct ExtractorOptions {
  Form form;
  TableLimits limits{};
  int64_t tar_bytes_max;
  bool restore_owner;
  std::optional<ExtractOptions::Owner> owner;
  const LowerView* below;
  const CancelToken* cancel;
};

// Reads a tar and makes its entries one by one; directories get their metadata at the end, when
// nothing changes their times any more.
class Extractor {
 public:
  Extractor(ByteSource& tar, int root_fd, const ExtractorOptions& options)
      : options_(options),
        overlay_(options.form == Form::kOverlayLayer),
        root_fd_(root_fd),
        own_uid_(geteuid()),
        own_gid_(getegid()),
        reader_(tar,
                {.bytes_max = options.tar_bytes_max, .entries_max = options.limits.entries_max},
                overlay_ ? &tar_hash_ : nullptr),
        memory_(options.limits) {}

  absl::Status Run() {
    if (overlay_) {
      RETURN_IF_ERROR(TakeRoot());
    }
    TarEntry entry;
    while (true) {
      RETURN_IF_ERROR(CheckCancelled());
      ASSIGN_OR_RETURN(const bool more, reader_.Next(&entry));
      if (!more) break;
      if (options_.owner.has_value()) {
        entry.uid = options_.owner->uid;
        entry.gid = options_.owner->gid;
      }
      RETURN_IF_ERROR(Add(entry)) << "entry " << ShownPath(entry.name);
    }
    RETURN_IF_ERROR(FinishDirectories());
    return reader_.Drain();
  }

  absl::StatusOr<Table> TakeTable() {
    std::vector<TableEntry> entries;
    entries.reserve(made_.size());
    absl::flat_hash_map<int64_t, absl::string_view> first_names;
    TableMemory memory(options_.limits);  // With the names of first links.
    for (auto& [path, made] : made_) {
      if (!made.in_tar) continue;
      if (made.inode != 0) {
        const auto [first, is_new] = first_names.try_emplace(made.inode, path);
        if (!is_new) made.entry.hard_link_to = std::string(first->second);
      }
      RETURN_IF_ERROR(memory.Add(made.entry));
      entries.push_back(std::move(made.entry));
    }
    made_.clear();
    return Table::FromEntries(std::move(entries), options_.limits);
  }

  Digest TakeDiffId() { return tar_hash_.Finish(); }
  bool parents_from_below() const { return parents_from_below_; }

 private:
  struct Made {
    TableEntry entry;
    bool in_tar = true;  // False for parents that the tar lacks.
    int64_t inode = 0;   // Equal for names of one file; 0 as long as it has one name.
  };
  struct ComponentLess {
    using is_transparent = void;
    bool operator()(absl::string_view a, absl::string_view b) const { return PathLess(a, b); }
  };
  using MadeMap = std::map<std::string, Made, ComponentLess>;
  // Where an entry goes: an open directory, and its path without symlinks.
  struct Place {
    int parent_fd;
    std::string name;
    std::string path;
  };

  // What is made in the layer is ours, whatever group the directory around it passes on.
  absl::Status TakeRoot() const {
    if (fchown(root_fd_, own_uid_, own_gid_) != 0 || fchmod(root_fd_, 0700) != 0) {
      return ErrnoStatus(errno, "root of the layer");
    }
    return absl::OkStatus();
  }

  absl::Status CheckCancelled() const {
    if (options_.cancel == nullptr || !options_.cancel->cancelled()) return absl::OkStatus();
    return absl::CancelledError("unpacking was cancelled");
  }

  absl::Status Add(const TarEntry& tar) {
    ASSIGN_OR_RETURN(const std::string name, CleanName(tar.name, options_.limits));
    RETURN_IF_ERROR(CheckXattrs(tar));
    if (name.empty()) return AddRoot(tar);
    if (overlay_ && absl::StrContains(name, kWhiteoutPrefix)) {
      const auto [directory, base] = SplitPath(name);
      if (absl::StartsWith(directory, kWhiteoutPrefix) ||
          absl::StrContains(directory, absl::StrCat("/", kWhiteoutPrefix))) {
        if (absl::StrContains(directory, kAufsPrefix)) return absl::OkStatus();
        return absl::InvalidArgumentError("it is under a whiteout");
      }
      if (base == kOpaqueWhiteout) return AddOpaque(directory);
      if (absl::StartsWith(base, kAufsPrefix)) return absl::OkStatus();
      if (absl::StartsWith(base, kWhiteoutPrefix)) return AddWhiteout(name);
    }
    ASSIGN_OR_RETURN(const Place place, FindPlace(name));
    switch (tar.type) {
      case TarType::kDirectory:
        return AddDirectory(tar, place);
      case TarType::kFile:
        return AddFile(tar, place);
      case TarType::kHardLink:
        return AddHardLink(tar, place);
      case TarType::kSymlink:
        return AddSymlink(tar, place);
      case TarType::kCharDevice:
        return AddNode(tar, place, EntryType::kCharDevice, S_IFCHR);
      case TarType::kBlockDevice:
        return AddNode(tar, place, EntryType::kBlockDevice, S_IFBLK);
      case TarType::kFifo:
        return AddNode(tar, place, EntryType::kFifo, S_IFIFO);
    }
    return absl::InternalError("no such TarType");
  }

  absl::Status CheckXattrs(const TarEntry& tar) const {
    int64_t bytes = 0;
    for (const auto& [name, value] : tar.xattrs) {
      if (IsLayerXattr(name)) bytes += static_cast<int64_t>(name.size() + value.size());
    }
    if (bytes <= options_.limits.xattr_bytes_max) return absl::OkStatus();
    return absl::ResourceExhaustedError(absl::StrCat(
        bytes, " bytes of xattrs, over xattr_bytes_max ", options_.limits.xattr_bytes_max));
  }

  static TableEntry EntryOf(const TarEntry& tar, std::string path, EntryType type) {
    TableEntry entry;
    entry.path = std::move(path);
    entry.type = type;
    entry.mode = type == EntryType::kSymlink ? 0777 : tar.mode;
    entry.uid = tar.uid;
    entry.gid = tar.gid;
    entry.mtime = tar.mtime;
    if (type == EntryType::kFile || type == EntryType::kDirectory) {
      for (const auto& [name, value] : tar.xattrs) {
        if (IsLayerXattr(name)) entry.xattrs.emplace(name, value);
      }
    }
    return entry;
  }

  absl::Status AddRoot(const TarEntry& tar) {
    if (tar.type != TarType::kDirectory) return absl::InvalidArgumentError("the root is replaced");
    if (!overlay_) return absl::OkStatus();  // The directory was there before the archive.
    return Record(EntryOf(tar, "", EntryType::kDirectory));
  }

  // Whiteouts.

  absl::Status AddOpaque(absl::string_view directory) {
    std::string path;
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenParent(directory, &path));
    if (path.empty()) {
      return absl::InvalidArgumentError(
          "it hides all layers below, which overlayfs cannot do at the root; flatten the image, or "
          "delete name by name");
    }
    return MakeOpaque(path);
  }

  absl::Status MakeOpaque(const std::string& path) {
    const UniqueFd fd(OpenBeneath(root_fd_, path, O_RDONLY));
    if (!fd.valid()) return ErrnoStatus(errno, "open");
    RETURN_IF_ERROR(SetOpaqueMark(fd.get()));
    // That it is opaque is in the tar, so it must be in the table, even if the directory is not.
    auto made = made_.find(path);
    if (made == made_.end()) {
      ASSIGN_OR_RETURN(made, Insert(path, Made{ImpliedDirectory(path)}));
    } else if (!made->second.in_tar) {
      // An entry must not depend on what is below: the same tar gives the same table everywhere.
      made->second = Made{ImpliedDirectory(path)};
    }
    made->second.entry.opaque = true;
    return absl::OkStatus();
  }

  absl::Status AddWhiteout(absl::string_view whiteout) {
    const auto [directory, base] = SplitPath(whiteout);
    const std::string name(base.substr(sizeof(kWhiteoutPrefix) - 1));
    if (name.empty() || name == "." || name == "..") {
      return absl::InvalidArgumentError("a whiteout of no name");
    }
    ASSIGN_OR_RETURN(const Place place, FindPlace(JoinPath(directory, name)));
    const mode_t mode = S_IFCHR;
    if (mknodat(place.parent_fd, name.c_str(), mode, makedev(0, 0)) == 0) {
      TableEntry entry;
      entry.path = place.path;
      entry.type = EntryType::kWhiteout;
      return Record(std::move(entry));
    }
    if (errno != EEXIST) return ErrnoStatus(errno, "make whiteout");
    // The layer has the name as well, which stays: the whiteout speaks of what is below.
    const auto made = made_.find(place.path);
    const bool is_directory =
        made != made_.end() && made->second.entry.type == EntryType::kDirectory;
    return is_directory ? MakeOpaque(place.path) : absl::OkStatus();
  }

  // Entries.

  absl::Status AddDirectory(const TarEntry& tar, const Place& place) {
    TableEntry entry = EntryOf(tar, place.path, EntryType::kDirectory);
    if (mkdirat(place.parent_fd, place.name.c_str(), 0700) != 0) {
      if (errno != EEXIST) return ErrnoStatus(errno, "make directory");
      struct stat stat;
      if (fstatat(place.parent_fd, place.name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
        return ErrnoStatus(errno, "stat");
      }
      const auto made = made_.find(place.path);
      entry.opaque = made != made_.end() &&
                     (made->second.entry.opaque || made->second.entry.type == EntryType::kWhiteout);
      if (!S_ISDIR(stat.st_mode)) {
        RETURN_IF_ERROR(Remove(place));
        if (mkdirat(place.parent_fd, place.name.c_str(), 0700) != 0) {
          return ErrnoStatus(errno, "make directory");
        }
      }
    }
    const bool opaque = entry.opaque;
    RETURN_IF_ERROR(Record(std::move(entry)));
    return opaque ? MakeOpaque(place.path) : absl::OkStatus();
  }

  absl::Status AddFile(const TarEntry& tar, const Place& place) {
    TableEntry entry = EntryOf(tar, place.path, EntryType::kFile);
    UniqueFd fd;
    RETURN_IF_ERROR(Create(place, "make file", [&] {
      fd.Reset(openat(place.parent_fd, place.name.c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
      return fd.valid();
    }));
    FdSink file(fd.get());
    while (true) {
      RETURN_IF_ERROR(CheckCancelled());
      ASSIGN_OR_RETURN(const absl::string_view bytes,
                       reader_.NextData(overlay_ ? &file_hash_ : nullptr));
      if (bytes.empty()) break;
      RETURN_IF_ERROR(file.Write(bytes));
    }
    if (overlay_) entry.content = file_hash_.Finish();
    RETURN_IF_ERROR(RestoreMetadata(fd.get(), entry));
    return Record(std::move(entry));
  }

  absl::Status AddSymlink(const TarEntry& tar, const Place& place) {
    TableEntry entry = EntryOf(tar, place.path, EntryType::kSymlink);
    entry.link_target = tar.link_name;
    if (tar.link_name.empty()) return absl::InvalidArgumentError("a symlink without a target");
    if (static_cast<int64_t>(tar.link_name.size()) > options_.limits.path_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a symlink's target of ", tar.link_name.size(),
                       " bytes, over path_bytes_max ", options_.limits.path_bytes_max));
    }
    RETURN_IF_ERROR(Create(place, "make symlink", [&] {
      return symlinkat(entry.link_target.c_str(), place.parent_fd, place.name.c_str()) == 0;
    }));
    RETURN_IF_ERROR(RestoreMetadataAt(place, entry));
    return Record(std::move(entry));
  }

  absl::Status AddNode(const TarEntry& tar, const Place& place, EntryType type, mode_t file_type) {
    TableEntry entry = EntryOf(tar, place.path, type);
    if (type != EntryType::kFifo) {
      entry.device_major = tar.device_major;
      entry.device_minor = tar.device_minor;
    }
    if (entry.device_major > kDeviceMajorMax || entry.device_minor > kDeviceMinorMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("there is no device ", entry.device_major, ":", entry.device_minor));
    }
    const dev_t device = makedev(entry.device_major, entry.device_minor);
    if (type == EntryType::kCharDevice && device == makedev(0, 0)) {
      return absl::InvalidArgumentError(
          "char device 0:0, which overlayfs takes for a deleted file; a layer says that with .wh.");
    }
    RETURN_IF_ERROR(Create(place, "make node", [&] {
      return mknodat(place.parent_fd, place.name.c_str(), file_type | 0600, device) == 0;
    }));
    RETURN_IF_ERROR(RestoreMetadataAt(place, entry));
    return Record(std::move(entry));
  }

  absl::Status AddHardLink(const TarEntry& tar, const Place& place) {
    ASSIGN_OR_RETURN(const std::string target, CleanName(tar.link_name, options_.limits));
    const auto [directory, base] = SplitPath(target);
    std::string target_directory;
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenExisting(directory, &target_directory),
                     _ << "hard link to " << ShownPath(tar.link_name));
    const std::string target_path = JoinPath(target_directory, base);
    const auto made = made_.find(target_path);
    if (made == made_.end() || made->second.entry.type == EntryType::kWhiteout ||
        made->second.entry.type == EntryType::kDirectory || target_path == place.path) {
      return absl::InvalidArgumentError(absl::StrCat("a hard link to ", ShownPath(tar.link_name),
                                                     ", which is no file before it"));
    }
    const std::string name(base);
    RETURN_IF_ERROR(Create(place, "hard link", [&] {
      return linkat(fd.get(), name.c_str(), place.parent_fd, place.name.c_str(), 0) == 0;
    }));
    // Create() may have removed a directory with the target in it, but then the link failed.
    Made& first = made_.find(target_path)->second;
    if (first.entry.type == EntryType::kFile && first.inode == 0) first.inode = ++inodes_;
    Made link = first;
    link.entry.path = place.path;
    return Insert(place.path, std::move(link)).status();
  }

  // Calls `create` again after removing what is in the way.
  template <typename CreateFn>
  absl::Status Create(const Place& place, absl::string_view what, const CreateFn& create) {
    if (create()) return absl::OkStatus();
    if (errno != EEXIST) return ErrnoStatus(errno, what);
    RETURN_IF_ERROR(Remove(place));
    return create() ? absl::OkStatus() : ErrnoStatus(errno, what);
  }

  absl::Status Remove(const Place& place) {
    RETURN_IF_ERROR(RemoveTree(place.parent_fd, place.name, options_.limits.path_depth_max));
    const auto first = made_.lower_bound(place.path);
    auto last = first;
    while (last != made_.end() &&
           (last->first == place.path || absl::StartsWith(last->first, place.path + "/"))) {
      ++last;
    }
    made_.erase(first, last);
    return absl::OkStatus();
  }

  absl::Status Record(TableEntry entry) {
    std::string path = entry.path;
    return Insert(std::move(path), Made{std::move(entry)}).status();
  }

  // What was replaced or removed still counts: nobody needs a tar that says much of it.
  absl::StatusOr<MadeMap::iterator> Insert(std::string path, Made made) {
    RETURN_IF_ERROR(memory_.Add(made.entry));
    return made_.insert_or_assign(made_.end(), std::move(path), std::move(made));
  }

  // Metadata. Owner before mode (chown clears set-id bits) and before capabilities (it drops them).

  bool MustChown(const TableEntry& entry) const {
    if (!options_.restore_owner) return false;
    // What we make in a directory we made is ours; elsewhere the directory may pass on its group.
    return !overlay_ || entry.uid != own_uid_ || entry.gid != own_gid_;
  }

  // Set-id bits are about an owner, so they go where that goes.
  mode_t ModeOf(const TableEntry& entry) const {
    return options_.restore_owner ? entry.mode : entry.mode & 01777;
  }

  absl::Status RestoreMetadata(int fd, const TableEntry& entry) const {
    if (MustChown(entry) && fchown(fd, entry.uid, entry.gid) != 0) {
      return ErrnoStatus(errno, "set owner");
    }
    if (fchmod(fd, ModeOf(entry)) != 0) return ErrnoStatus(errno, "set mode");
    if (!entry.xattrs.empty() && options_.restore_owner) {
      RETURN_IF_ERROR(WriteLayerXattrs(fd, entry.xattrs));
    }
    const timespec times[2] = {{0, UTIME_OMIT}, absl::ToTimespec(entry.mtime)};
    return futimens(fd, times) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "set mtime");
  }

  // Of what cannot be opened. It was made just now, and only we use the directory.
  absl::Status RestoreMetadataAt(const Place& place, const TableEntry& entry) const {
    const char* name = place.name.c_str();
    if (MustChown(entry) &&
        fchownat(place.parent_fd, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoStatus(errno, "set owner");
    }
    if (entry.type != EntryType::kSymlink &&
        fchmodat(place.parent_fd, name, ModeOf(entry), 0) != 0) {
      return ErrnoStatus(errno, "set mode");
    }
    const timespec times[2] = {{0, UTIME_OMIT}, absl::ToTimespec(entry.mtime)};
    if (utimensat(place.parent_fd, name, times, AT_SYMLINK_NOFOLLOW) != 0) {
      return ErrnoStatus(errno, "set mtime");
    }
    return absl::OkStatus();
  }

  // From the inside out: a directory may forbid what we still do in it.
  absl::Status FinishDirectories() {
    if (overlay_ && made_.find("") == made_.end()) {
      // Whatever it is below: a layer of the cache may be under any stack, and its root is what is
      // seen if it is the topmost.
      made_[""] = Made{ImpliedDirectory(""), /*in_tar=*/false};
    }
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) {
      const TableEntry& entry = made->second.entry;
      if (entry.type != EntryType::kDirectory) continue;
      const UniqueFd fd(OpenBeneath(root_fd_, entry.path, O_RDONLY));
      if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", ShownPath(entry.path)));
      RETURN_IF_ERROR(RestoreMetadata(fd.get(), entry)) << ShownPath(entry.path);
    }
    return absl::OkStatus();
  }

  // Paths.

  absl::StatusOr<Place> FindPlace(absl::string_view name) {
    const auto [directory, base] = SplitPath(name);
    if (!parent_fd_.valid() || parent_name_ != directory) {
      // Archives list a directory's entries together, so one look-up serves many.
      ASSIGN_OR_RETURN(parent_fd_, OpenParent(directory, &parent_path_));
      parent_name_ = std::string(directory);
    }
    return Place{parent_fd_.get(), std::string(base), JoinPath(parent_path_, base)};
  }

  // Opens a directory for use with the *at() calls and sets `path` to where it really is. Makes
  // what is missing.
  absl::StatusOr<UniqueFd> OpenParent(absl::string_view directory, std::string* path) {
    UniqueFd fd(OpenBeneath(root_fd_, directory, O_PATH));
    *path = std::string(directory);
    if (fd.valid()) return fd;
    if (errno != ENOENT && errno != ELOOP && errno != ENOTDIR) {
      return ErrnoStatus(errno, absl::StrCat("open ", ShownPath(directory)));
    }
    return Walk(directory, /*make=*/true, path);
  }

  absl::StatusOr<UniqueFd> OpenExisting(absl::string_view directory, std::string* path) {
    UniqueFd fd(OpenBeneath(root_fd_, directory, O_PATH));
    *path = std::string(directory);
    if (fd.valid()) return fd;
    return Walk(directory, /*make=*/false, path);
  }

  // Goes to `directory` component by component, follows symlinks as if the root were "/".
  absl::StatusOr<UniqueFd> Walk(absl::string_view directory, bool make, std::string* path) {
    std::deque<std::string> todo = absl::StrSplit(directory, '/', absl::SkipEmpty());
    path->clear();
    UniqueFd fd(OpenBeneath(root_fd_, "", O_PATH));
    int64_t depth = 0;
    for (int symlinks = 0; fd.valid() && !todo.empty();) {
      const std::string name = std::move(todo.front());
      todo.pop_front();
      if (name == ".") continue;
      if (name == "..") {
        *path = std::string(SplitPath(*path).first);
        depth = std::max<int64_t>(depth - 1, 0);
        fd.Reset(OpenBeneath(root_fd_, *path, O_PATH));
        continue;
      }
      // Symlinks lead deeper than any name in the tar.
      if (depth >= options_.limits.path_depth_max) {
        return absl::ResourceExhaustedError(absl::StrCat(
            ShownPath(*path), " is deeper than path_depth_max ", options_.limits.path_depth_max));
      }
      ASSIGN_OR_RETURN(const std::optional<std::string> target,
                       Enter(fd.get(), name, JoinPath(*path, name), make));
      if (!target.has_value()) {
        ++depth;
        *path = JoinPath(*path, name);
        fd.Reset(OpenBeneath(root_fd_, *path, O_PATH));
        continue;
      }
      if (++symlinks > kSymlinksMax) return absl::InvalidArgumentError("too many symlinks");
      const std::vector<std::string> names = absl::StrSplit(*target, '/', absl::SkipEmpty());
      todo.insert(todo.begin(), names.begin(), names.end());
      if (!absl::StartsWith(*target, "/")) continue;
      path->clear();
      depth = 0;
      fd.Reset(OpenBeneath(root_fd_, "", O_PATH));
    }
    if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", ShownPath(*path)));
    return fd;
  }

  // Sees to it that `name` is a directory; the target instead if it is a symlink.
  absl::StatusOr<std::optional<std::string>> Enter(int parent_fd, const std::string& name,
                                                   const std::string& path, bool make) {
    struct stat stat;
    if (fstatat(parent_fd, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) == 0) {
      if (S_ISDIR(stat.st_mode)) return std::nullopt;
      if (S_ISLNK(stat.st_mode)) return ReadLink(parent_fd, name);
      if (!make || !overlay_ || !IsWhiteoutDevice(stat)) {
        return absl::InvalidArgumentError(
            absl::StrCat(ShownPath(path), " is on its way and no directory"));
      }
      // The layer deletes the name and has a new directory there.
      RETURN_IF_ERROR(Remove({parent_fd, name, path}));
      RETURN_IF_ERROR(MakeMissing(parent_fd, name, Made{ImpliedDirectory(path)}));
      RETURN_IF_ERROR(MakeOpaque(path));
      return std::nullopt;
    }
    if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("stat ", ShownPath(path)));
    if (!make) return absl::InvalidArgumentError(absl::StrCat(ShownPath(path), " is not there"));
    if (!overlay_) {
      if (mkdirat(parent_fd, name.c_str(), kImpliedDirectoryMode) == 0) return std::nullopt;
      return ErrnoStatus(errno, absl::StrCat("make ", ShownPath(path)));
    }
    if (options_.below != nullptr) {
      // As if the layer were unpacked over what is below.
      ASSIGN_OR_RETURN(const std::optional<LowerEntry> lower, options_.below->Stat(path));
      if (lower.has_value() && S_ISLNK(lower->stat.st_mode)) {
        parents_from_below_ = true;
        return ReadLink(lower->layer_fd, lower->path);
      }
    }
    ASSIGN_OR_RETURN(Made parent, MissingParent(path));
    RETURN_IF_ERROR(MakeMissing(parent_fd, name, std::move(parent)));
    return std::nullopt;
  }

  static absl::StatusOr<std::optional<std::string>> ReadLink(int dirfd, const std::string& name) {
    char target[PATH_MAX];
    const ssize_t size = readlinkat(dirfd, name.c_str(), target, sizeof(target));
    if (size < 0) return ErrnoStatus(errno, absl::StrCat("read symlink ", ShownPath(name)));
    return std::string(target, static_cast<size_t>(size));
  }

  absl::Status MakeMissing(int parent_fd, const std::string& name, Made made) {
    if (mkdirat(parent_fd, name.c_str(), 0700) != 0) {
      return ErrnoStatus(errno, absl::StrCat("make ", ShownPath(made.entry.path)));
    }
    std::string path = made.entry.path;
    return Insert(std::move(path), std::move(made)).status();
  }

  // A directory that the tar lacks, as it is below if it is.
  absl::StatusOr<Made> MissingParent(const std::string& path) {
    Made made{ImpliedDirectory(path), /*in_tar=*/false};
    if (options_.below == nullptr) return made;
    ASSIGN_OR_RETURN(const std::optional<LowerEntry> lower, options_.below->Stat(path));
    if (!lower.has_value() || !S_ISDIR(lower->stat.st_mode)) return made;
    parents_from_below_ = true;
    made.entry.mode = lower->stat.st_mode & 07777;
    made.entry.uid = lower->stat.st_uid;
    made.entry.gid = lower->stat.st_gid;
    made.entry.mtime = absl::TimeFromTimespec(lower->stat.st_mtim);
    const UniqueFd fd(openat(lower->layer_fd, lower->path.empty() ? "." : lower->path.c_str(),
                             O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("lower layer: ", ShownPath(path)));
    ASSIGN_OR_RETURN(made.entry.xattrs, ReadLayerXattrs(fd.get()));
    return made;
  }

  static TableEntry ImpliedDirectory(const std::string& path) {
    TableEntry entry;
    entry.path = path;
    entry.type = EntryType::kDirectory;
    entry.mode = kImpliedDirectoryMode;
    return entry;
  }

  const ExtractorOptions options_;
  const bool overlay_;
  const int root_fd_;
  const uid_t own_uid_;
  const gid_t own_gid_;
  TwinSha256 tar_hash_;
  TarReader reader_;
  TwinSha256 file_hash_;
  // All that is in the root by our doing, as the table will say it.
  MadeMap made_;
  TableMemory memory_;  // Of made_.
  int64_t inodes_ = 0;
  bool parents_from_below_ = false;
  // The directory of the last entry: as its name says, where that is, and open.
  std::string parent_name_;
  std::string parent_path_;
  UniqueFd parent_fd_;
};

std::string DifferenceOf(const Table& table, const Table& expected) {
  const size_t count = std::min(table.size(), expected.size());
  for (size_t i = 0; i < count; ++i) {
    const TableEntry& entry = table.entries()[i];
    if (entry == expected.entries()[i]) continue;
    return absl::StrCat("it first differs at ", ShownPath(entry.path));
  }
  return absl::StrCat("it has ", table.size(), " entries instead of ", expected.size());
}

absl::Status CheckExpectations(const AppliedLayer& layer, const ApplyOptions& options) {
  const Digest* expected = options.expected_diff_id;
  if (expected != nullptr && (layer.diff_id.hash() != expected->hash() ||
                              (expected->size_bytes() != 0 && layer.diff_id != *expected))) {
    return absl::DataLossError(absl::StrCat("the layer's diffID is ", layer.diff_id.oci(),
                                            " instead of ", expected->oci()));
  }
  if (options.expected_table != nullptr && layer.table != *options.expected_table) {
    return absl::DataLossError(absl::StrCat("layer ", layer.diff_id.oci(), " has another table: ",
                                            DifferenceOf(layer.table, *options.expected_table)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AppliedLayer> ApplyLayer(ByteSource& tar, int dest_dirfd,
                                        const ApplyOptions& options) {
  Extractor extractor(tar, dest_dirfd,
                      {.form = Form::kOverlayLayer,
                       .limits = options.limits,
                       .tar_bytes_max = options.tar_bytes_max,
                       .restore_owner = true,
                       .owner = std::nullopt,
                       .below = options.below,
                       .cancel = options.cancel});
  RETURN_IF_ERROR(extractor.Run());
  AppliedLayer layer;
  layer.diff_id = extractor.TakeDiffId();
  ASSIGN_OR_RETURN(layer.table, extractor.TakeTable());
  layer.parents_from_below = extractor.parents_from_below();
  RETURN_IF_ERROR(CheckExpectations(layer, options));
  return layer;
}

absl::Status ExtractTar(ByteSource& tar, int dest_dirfd, const ExtractOptions& options) {
  return Extractor(tar, dest_dirfd,
                   {.form = Form::kPlainTree,
                    .limits = options.limits,
                    .tar_bytes_max = options.tar_bytes_max,
                    .restore_owner = options.restore_owner,
                    .owner = options.owner,
                    .below = nullptr,
                    .cancel = options.cancel})
      .Run();
}

}  // namespace farm
