#include "worker/overlay_snapshotter.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr size_t kLayersMax = 500;         // OVL_MAX_STACK in the kernel.
constexpr size_t kFsconfigBytesMax = 256;  // A longer value is EINVAL.
constexpr size_t kMountBytesMax = 4095;    // mount(2)'s options are one page.

struct OverlayDirs {
  std::vector<std::string> lower;  // Topmost first, at least one.
  std::string upper;
  std::string work;
  std::string links;  // Scratch directory of kMount.
};

// The reason that the kernel leaves in a context's message queue: "e overlay: no such layer".
std::string FsContextMessage(int context_fd) {
  char buffer[512];
  const ssize_t n = read(context_fd, buffer, sizeof(buffer));
  if (n <= 2) return "";
  absl::string_view message(buffer, static_cast<size_t>(n));
  message.remove_prefix(2);
  return absl::StrCat(" (", message, ")");
}

// Sets a path, through an open descriptor where it is too long for fsconfig.
absl::Status SetPath(int context_fd, const char* key, const std::string& path) {
  UniqueFd held;
  std::string value = path;
  if (path.size() >= kFsconfigBytesMax) {
    held.Reset(open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!held.valid()) return ErrnoStatus(errno, path);
    value = absl::StrCat("/proc/self/fd/", held.get());
  }
  if (fsconfig(context_fd, FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
    return ErrnoStatus(errno, absl::StrCat(key, "=", path, FsContextMessage(context_fd)));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> MountByFsconfig(const OverlayDirs& dirs) {
  UniqueFd context(fsopen("overlay", FSOPEN_CLOEXEC));
  if (!context.valid()) return ErrnoStatus(errno, "fsopen overlay");
  for (const std::string& lower : dirs.lower) {
    RETURN_IF_ERROR(SetPath(context.get(), "lowerdir+", lower));
  }
  RETURN_IF_ERROR(SetPath(context.get(), "upperdir", dirs.upper));
  RETURN_IF_ERROR(SetPath(context.get(), "workdir", dirs.work));
  for (const auto& [key, value] : {std::pair("redirect_dir", "nofollow"),
                                   {"metacopy", "off"},
                                   {"index", "off"},
                                   {"xino", "off"}}) {
    if (fsconfig(context.get(), FSCONFIG_SET_STRING, key, value, 0) != 0) {
      return ErrnoStatus(errno, absl::StrCat("overlay ", key, FsContextMessage(context.get())));
    }
  }
  if (fsconfig(context.get(), FSCONFIG_SET_FLAG, "volatile", nullptr, 0) != 0 ||
      fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return ErrnoStatus(errno, absl::StrCat("overlay of ", dirs.lower.size(), " layers",
                                           FsContextMessage(context.get())));
  }
  UniqueFd mount(fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV));
  if (!mount.valid()) return ErrnoStatus(errno, "fsmount overlay");
  return mount;
}

// Runs in a thread of its own, which it gives a directory and mounts of its own: relative paths
// start from the one, and nobody on the host sees the other.
absl::StatusOr<UniqueFd> MountAt(const OverlayDirs& dirs) {
  if (unshare(CLONE_FS | CLONE_NEWNS) != 0 || chdir(dirs.links.c_str()) != 0) {
    return ErrnoStatus(errno, dirs.links);
  }
  // EINVAL: the root is that of a chroot, no mount, and what is mounted below may be seen for a
  // moment.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 && errno != EINVAL) {
    return ErrnoStatus(errno, "private mounts");
  }
  std::vector<std::string> names;
  for (const std::string& lower : dirs.lower) {
    names.push_back(absl::StrCat(absl::Hex(names.size())));
    if (symlink(lower.c_str(), names.back().c_str()) != 0) return ErrnoStatus(errno, lower);
  }
  const std::string options = absl::StrCat(
      "lowerdir=", absl::StrJoin(names, ":"),
      ",upperdir=../upper,workdir=../work,redirect_dir=nofollow,metacopy=off,index=off,xino=off,"
      "volatile");
  if (options.size() > kMountBytesMax) {
    return absl::FailedPreconditionError(
        absl::StrCat(dirs.lower.size(),
                     " layers are more than this kernel can stack by mount(2); Linux 6.8 can "
                     "stack ",
                     kLayersMax, ". Build on an image with fewer layers"));
  }
  const char mount_point[] = "m";
  if (mkdir(mount_point, 0700) != 0) return ErrnoStatus(errno, dirs.links);
  if (mount("overlay", mount_point, "overlay", MS_NODEV, options.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("overlay of ", dirs.lower.size(), " layers"));
  }
  UniqueFd clone(open_tree(AT_FDCWD, mount_point, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  const int error = errno;
  umount2(mount_point, MNT_DETACH);
  if (!clone.valid()) return ErrnoStatus(error, "open_tree");
  return clone;
}

absl::StatusOr<UniqueFd> MountByMount(const OverlayDirs& dirs) {
  if (mkdir(dirs.links.c_str(), 0700) != 0) return ErrnoStatus(errno, dirs.links);
  absl::StatusOr<UniqueFd> mount = absl::UnknownError("");
  std::thread([&] { mount = MountAt(dirs); }).join();
  return mount;
}

// The merged root directory shows the upper's attributes, so these have to be the topmost layer's.
absl::Status CopyAttributes(const std::string& from, int to_fd) {
  struct stat info;
  if (stat(from.c_str(), &info) != 0) return ErrnoStatus(errno, from);
  if (!S_ISDIR(info.st_mode)) return ErrnoStatus(ENOTDIR, from);
  const timespec times[2] = {info.st_atim, info.st_mtim};
  if (fchown(to_fd, info.st_uid, info.st_gid) != 0 || fchmod(to_fd, info.st_mode & 07777) != 0 ||
      futimens(to_fd, times) != 0) {
    return ErrnoStatus(errno, "root directory");
  }
  return absl::OkStatus();
}

class OverlaySnapshot final : public Snapshot {
 public:
  OverlaySnapshot(std::string step_dir, Trash& trash)
      : step_dir_(std::move(step_dir)), trash_(trash) {}

  ~OverlaySnapshot() override { DropStepDir(); }

  int root_fd() const override { return root_.get(); }
  int upper_fd() const override { return upper_.get(); }

  absl::Status Mount(OverlayMethod method, const std::vector<std::string>& layer_dirs) {
    OverlayDirs dirs{.lower = layer_dirs,
                     .upper = step_dir_ + "/upper",
                     .work = step_dir_ + "/work",
                     .links = step_dir_ + "/links"};
    for (const std::string& dir : {dirs.upper, dirs.work}) {
      if (mkdir(dir.c_str(), 0755) != 0) return ErrnoStatus(errno, dir);
    }
    upper_.Reset(open(dirs.upper.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!upper_.valid()) return ErrnoStatus(errno, dirs.upper);
    if (dirs.lower.empty()) {
      dirs.lower.push_back(step_dir_ + "/empty");
      if (mkdir(dirs.lower[0].c_str(), 0755) != 0) return ErrnoStatus(errno, dirs.lower[0]);
    }
    RETURN_IF_ERROR(CopyAttributes(dirs.lower[0], upper_.get()));
    ASSIGN_OR_RETURN(
        root_, method == OverlayMethod::kFsconfig ? MountByFsconfig(dirs) : MountByMount(dirs));
    return absl::OkStatus();
  }

  absl::Status Commit(const std::string& path) override {
    root_.Reset();
    const std::string upper = step_dir_ + "/upper";
    if (renameat2(AT_FDCWD, upper.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
      return ErrnoStatus(errno, absl::StrCat(upper, " to ", path));
    }
    DropStepDir();
    return absl::OkStatus();
  }

 private:
  void DropStepDir() {
    if (step_dir_.empty()) return;
    root_.Reset();
    upper_.Reset();
    trash_.Throw(step_dir_).IgnoreError();  // It logs; the next start cleans up.
    step_dir_.clear();
  }

  std::string step_dir_;  // Empty once it is thrown away.
  Trash& trash_;
  UniqueFd root_;
  UniqueFd upper_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<OverlaySnapshotter>> OverlaySnapshotter::Create(
    const std::string& probe_dir, Trash& trash) {
  std::string reasons;
  for (OverlayMethod method : {OverlayMethod::kFsconfig, OverlayMethod::kMount}) {
    auto snapshotter = std::make_unique<OverlaySnapshotter>(method, trash);
    std::string dir = probe_dir + "/overlay-probe-XXXXXX";
    if (mkdtemp(dir.data()) == nullptr) return ErrnoStatus(errno, dir);
    const absl::Status probed = snapshotter->Prepare({}, dir + "/step").status();
    trash.Throw(dir).IgnoreError();
    if (probed.ok()) return snapshotter;
    absl::StrAppend(&reasons, reasons.empty() ? "" : "; ", probed.message());
  }
  return absl::FailedPreconditionError(
      absl::StrCat("overlayfs does not work in ", probe_dir, ": ", reasons));
}

absl::StatusOr<std::unique_ptr<Snapshot>> OverlaySnapshotter::Prepare(
    const std::vector<std::string>& layer_dirs, const std::string& step_dir) {
  if (layer_dirs.size() > kLayersMax) {
    return absl::FailedPreconditionError(
        absl::StrCat(layer_dirs.size(), " layers are more than the ", kLayersMax,
                     " that overlayfs can stack. Build on an image with fewer layers"));
  }
  if (mkdir(step_dir.c_str(), 0700) != 0) return ErrnoStatus(errno, step_dir);
  auto snapshot = std::make_unique<OverlaySnapshot>(step_dir, trash_);
  RETURN_IF_ERROR(snapshot->Mount(method_, layer_dirs)) << "root file system";
  return snapshot;
}

}  // namespace farm
