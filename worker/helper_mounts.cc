#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <initializer_list>

#include "worker/helper_internal.h"
#include "worker/root_directory.h"
#include "worker/step_restrictions.h"

namespace farm::helper {
namespace {

constexpr unsigned long kQuiet = MS_NOSUID | MS_NOEXEC | MS_NODEV;
constexpr gid_t kTtyGroup = 5;

// Where the staging root ends up in the step's root: under the mount that belongs there.
constexpr char kStagingPlace[] = "/dev/mqueue";

constexpr CharacterDevice kCharacterDevices[] = {{"null", 1, 3},    {"zero", 1, 5},
                                                 {"full", 1, 7},    {"random", 1, 8},
                                                 {"urandom", 1, 9}, {"tty", 5, 0}};

constexpr const char* kDeviceLinks[][2] = {
    {"/proc/self/fd", "dev/fd"},       {"/proc/self/fd/0", "dev/stdin"},
    {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"},
    {"pts/ptmx", "dev/ptmx"},          {"/proc/kcore", "dev/core"},
};

void MakeDirectory(const char* path) {
  if (mkdir(path, 0755) != 0) Broken("mkdir", path);
}

void Mount(const char* type, const char* target, unsigned long flags, const char* options) {
  if (mount(type, target, type, flags, options) != 0) Broken("mount", target);
}

void Bind(const char* source, const char* target) {
  if (mount(source, target, nullptr, MS_BIND, nullptr) != 0) Broken("bind mount", target);
}

void Attach(int mount_fd, const char* target) {
  if (move_mount(mount_fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    Broken("move_mount", target);
  }
}

// Swaps the host's root for the mount whose root directory is `fd`, and lets go of the host's.
void LeaveHost(int fd) {
  if (fchdir(fd) != 0 || syscall(SYS_pivot_root, ".", ".") != 0) Broken("pivot_root");
  // "." is now both: the new root, and over it the old one, which is unmounted.
  if (umount2(".", MNT_DETACH) != 0 || chdir("/") != 0) Broken("old root");
}

// Swaps the staging root for the step's. Unmounting takes an RCU grace period, up to some 10 ms, so
// the staging root, which holds nothing of the host, goes under a mount instead: only who may
// unmount that one could see it.
void SwapStagingFor(int root_fd) {
  if (fchdir(root_fd) != 0 || syscall(SYS_pivot_root, ".", kStagingPlace + 1) != 0 ||
      chdir("/") != 0) {
    Broken("pivot_root");
  }
}
void CoverStaging() {
  char mqueue[64];
  snprintf(mqueue, sizeof(mqueue), "%s/mqueue", kStagingPlace);
  if (move_mount(AT_FDCWD, mqueue, AT_FDCWD, kStagingPlace, 0) != 0) {
    Broken("move_mount", kStagingPlace);
  }
}

int NewTmpfs(const char* size, unsigned attributes) {
  const int context = fsopen("tmpfs", FSOPEN_CLOEXEC);
  if (context < 0 || fsconfig(context, FSCONFIG_SET_STRING, "size", size, 0) != 0 ||
      fsconfig(context, FSCONFIG_SET_STRING, "mode", "0755", 0) != 0 ||
      fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    Broken("tmpfs");
  }
  const int mount_fd = fsmount(context, FSMOUNT_CLOEXEC, attributes);
  if (mount_fd < 0) Broken("tmpfs");
  close(context);
  return mount_fd;
}

// Nodes that the worker may not make itself are left out.
void AddInsecureDevice(const char* path, mode_t type, unsigned major, unsigned minor) {
  if (mknod(path, type | 0660, makedev(major, minor)) != 0 && errno != EPERM) {
    Broken("mknod", path);
  }
}

void AddInsecureDevices() {
  MakeDirectory("dev/net");
  char path[32];
  for (const CharacterDevice& device : kInsecureDevices) {
    snprintf(path, sizeof(path), "dev/%s", device.name);
    AddInsecureDevice(path, S_IFCHR, device.major, device.minor);
  }
  const int loops = CountLoopDevices("dev/loop-control");
  for (int i = 0; i < loops; ++i) {
    snprintf(path, sizeof(path), "dev/loop%d", i);
    AddInsecureDevice(path, S_IFBLK, kLoopMajor, static_cast<unsigned>(i));
  }
}

void PrepareDev(bool insecure) {
  // Nodes of our own, not the host's: a step that changes their mode changes nothing elsewhere.
  // They are bound into a /dev that itself opens no devices, so those that a step makes there are
  // as useless as anywhere else.
  Mount("tmpfs", "dev", MS_NOSUID | (insecure ? 0 : MS_NODEV), "mode=755,size=65536k");
  if (insecure) AddInsecureDevices();
  for (const CharacterDevice& node : kCharacterDevices) {
    char own[32], bound[32];
    snprintf(own, sizeof(own), "nodes/%s", node.name);
    snprintf(bound, sizeof(bound), "dev/%s", node.name);
    if (mknod(own, S_IFCHR | 0666, makedev(node.major, node.minor)) != 0) Broken("mknod", own);
    const int fd = open(bound, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    if (fd < 0) Broken("open", bound);
    close(fd);
    Bind(own, bound);
  }
  for (const auto& link : kDeviceLinks) {
    if (symlink(link[0], link[1]) != 0) Broken("symlink", link[1]);
  }
  MakeDirectory("dev/pts");
  MakeDirectory("dev/shm");
  MakeDirectory("dev/mqueue");
  char options[64];
  snprintf(options, sizeof(options), "newinstance,ptmxmode=0666,mode=0620,gid=%u", kTtyGroup);
  Mount("devpts", "dev/pts", MS_NOSUID | MS_NOEXEC, options);
  Mount("tmpfs", "dev/shm", kQuiet, "mode=1777,size=64m");
}

// Hides or protects parts of /proc and /sys; a kernel does not have all of them.
void MaskPath(const char* path) {
  struct stat info;
  if (stat(path + 1, &info) != 0) return;  // Below the staging root.
  Bind(S_ISDIR(info.st_mode) ? "empty" : "nodes/null", path + 1);
}
void MaskPaths() {
  for (const char* path : kMaskedPaths) MaskPath(path);
  for (int cpu = 0;; ++cpu) {
    char path[64];
    snprintf(path, sizeof(path), kCpuPath, cpu);
    if (access(path + 1, F_OK) != 0) break;  // Numbers have no gaps: one that is off is there.
    snprintf(path, sizeof(path), kMaskedCpuPath, cpu);
    MaskPath(path);
  }
  for (const char* read_only : kReadOnlyPaths) {
    const char* path = read_only + 1;
    if (access(path, F_OK) != 0) continue;
    Bind(path, path);
    if (mount(nullptr, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | kQuiet, nullptr) != 0) {
      Broken("remount", path);
    }
  }
}

int OpenInRoot(int root_fd, const char* path, uint64_t flags) {
  open_how how{};
  how.flags = flags | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(syscall(SYS_openat2, root_fd, path, &how, sizeof(how)));
}

// Moves a prepared mount, with those on it, to the same place in the root. BuildKit's runtimes make
// a missing directory too, and it stays in the layer.
void MoveIn(int root_fd, const char* name) {
  const int target = OpenOrMakeDirectory(root_fd, name, 0, 0);
  if (target < 0) Fail(wire::ReplyKind::kBadSpec, "directory for mount", name);
  if (move_mount(AT_FDCWD, name, target, "", MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    Broken("move_mount", name);
  }
  close(target);
}

// Opens where a mount goes; makes it, in what is mounted there already, if it is missing. (What is
// missing in the root itself was made by the worker, which takes it away again.)
int OpenTarget(int root_fd, const char* path, bool directory) {
  int fd = OpenInRoot(root_fd, path, O_PATH);
  if (fd < 0 && errno == ENOENT) {
    if (directory) {
      fd = OpenOrMakeDirectory(root_fd, path, 0, 0);
    } else {
      char* parent = strdup(path);
      *strrchr(parent, '/') = '\0';
      const int parent_fd = OpenOrMakeDirectory(root_fd, parent, 0, 0);
      free(parent);
      if (parent_fd >= 0) {
        fd = openat(parent_fd, strrchr(path, '/') + 1,
                    O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
        close(parent_fd);
      }
    }
  }
  if (fd < 0) Fail(wire::ReplyKind::kBadSpec, "mount point", path);
  struct statfs info;
  if (fstatfs(fd, &info) == 0 && (info.f_type == PROC_SUPER_MAGIC || info.f_type == SYSFS_MAGIC)) {
    errno = EPERM;
    Fail(wire::ReplyKind::kBadSpec, "mount point inside of /proc or /sys", path);
  }
  return fd;
}

void WriteNewFile(const char* path, const wire::Mount& mount, const char* contents) {
  const int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) Broken("open", path);
  for (uint64_t done = 0; done < mount.content_bytes;) {
    const ssize_t n = write(fd, contents + done, mount.content_bytes - done);
    if (n < 0) Broken("write", path);
    done += static_cast<uint64_t>(n);
  }
  if (fchown(fd, mount.uid, mount.gid) != 0 || fchmod(fd, mount.mode) != 0) Broken("chmod", path);
  close(fd);
}

// A file in the staging root, mounted from there.
int NewFileMount(int index, const wire::Mount& mount, const char* contents) {
  char path[64];
  snprintf(path, sizeof(path), "%s/files/%d", kStagingPlace, index);
  WriteNewFile(path, mount, contents);
  const int mount_fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
  if (mount_fd < 0) Broken("open_tree", path);
  return mount_fd;
}

int NewTmpfsMount(const wire::Mount& mount) {
  char size[32];
  snprintf(size, sizeof(size), "%llu", static_cast<unsigned long long>(mount.size_bytes));
  const int mount_fd = NewTmpfs(mount.size_bytes > 0 ? size : "50%", 0);
  if (fchownat(mount_fd, "", mount.uid, mount.gid, AT_EMPTY_PATH) != 0) Broken("chown", "tmpfs");
  if (fchmodat(mount_fd, ".", mount.mode, 0) != 0) Broken("chmod", "tmpfs");
  return mount_fd;
}

void MountExtra(int root_fd, int index, const wire::Mount& mount, const char* target,
                const char* contents, const int*& binds) {
  int mount_fd = -1;
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_NODEV | (mount.read_only ? MOUNT_ATTR_RDONLY : 0);
  switch (mount.kind) {
    case wire::MountKind::kBind:
      mount_fd = *binds++;
      break;
    case wire::MountKind::kTmpfs:
      mount_fd = NewTmpfsMount(mount);
      attributes.attr_set |= MOUNT_ATTR_NOSUID;
      break;
    case wire::MountKind::kFile:
      mount_fd = NewFileMount(index, mount, contents);
      attributes.attr_set |= MOUNT_ATTR_NOSUID;
      // A script is a file that may be run; a secret is not.
      if ((mount.mode & 0111) == 0) attributes.attr_set |= MOUNT_ATTR_NOEXEC;
      break;
  }
  if (mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
    Broken("mount_setattr", target);
  }
  const bool directory = mount.kind == wire::MountKind::kTmpfs || mount.directory != 0;
  const int target_fd = OpenTarget(root_fd, target, directory);
  if (move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) !=
      0) {
    Fail(wire::ReplyKind::kBadSpec, "mount on", target);
  }
  close(target_fd);
}

void OpenDevices(int root_fd) {
  mount_attr attributes{};
  attributes.attr_clr = MOUNT_ATTR_NODEV;
  if (mount_setattr(root_fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
    Broken("mount_setattr", "root");
  }
}

// Goes from the directory that a chroot(2) made the root back to the root of the mount namespace:
// only a mount point has a propagation, and can be swapped by pivot_root(2). Nothing is reached by
// this that stays reachable, since the host's root is left right after.
void LeaveChroot() {
  // Outside of the root there is nothing that ends a walk through "..".
  const int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root < 0 || chroot("/proc") != 0 || fchdir(root) != 0) Broken("leave chroot");
  close(root);
  struct stat here, above;
  do {
    if (stat(".", &here) != 0 || stat("..", &above) != 0 || chdir("..") != 0) {
      Broken("leave chroot");
    }
  } while (here.st_dev != above.st_dev || here.st_ino != above.st_ino);
  if (chroot(".") != 0) Broken("leave chroot");
}

}  // namespace

void PrepareMounts(bool insecure) {
  // Nothing of what happens here shows up on the host, and the other way round.
  const auto make_private = [] {
    return mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  };
  if (!make_private()) {
    if (errno != EINVAL) Broken("private mounts");
    LeaveChroot();
    if (!make_private()) Broken("private mounts");
  }
  // The one place where device nodes open; files for the run live there too.
  const int staging = NewTmpfs("16m", MOUNT_ATTR_NOSUID);
  Attach(staging, "/");  // On top of it, where only the descriptor leads.
  LeaveHost(staging);
  close(staging);
  for (const char* dir : {"proc", "sys", "dev", "mqueue", "nodes", "files", "empty", "root"}) {
    MakeDirectory(dir);
  }
  Mount("tmpfs", "empty", kQuiet | MS_RDONLY, "size=0,mode=755");
  Mount("proc", "proc", kQuiet, nullptr);
  Mount("sysfs", "sys", kQuiet | (insecure ? 0 : MS_RDONLY), nullptr);
  Mount("mqueue", "mqueue", kQuiet, nullptr);
  PrepareDev(insecure);
  if (!insecure) MaskPaths();
}

void EnterRoot(int root_fd, const int* binds, const Shared& shared) {
  const wire::RunHeader& header = shared.header;
  if (header.open_devices != 0) OpenDevices(root_fd);
  Attach(root_fd, "/root");
  if (header.shm_bytes != 0) {
    char options[64];
    snprintf(options, sizeof(options), "mode=1777,size=%llu",
             static_cast<unsigned long long>(header.shm_bytes));
    if (mount(nullptr, "dev/shm", nullptr, MS_REMOUNT | kQuiet, options) != 0) Broken("/dev/shm");
  }
  for (const char* name : {"proc", "sys", "dev"}) MoveIn(root_fd, name);
  SwapStagingFor(root_fd);
  wire::Reader reader(shared.body, header.body_bytes);
  reader.Bytes(header.groups * sizeof(uint32_t) + header.rlimits * sizeof(wire::Rlimit));
  const char* hostname = reader.String();
  const char* cwd = reader.String();
  reader.String();  // For OCI runtimes, like the next.
  reader.String();
  for (uint32_t i = 0; i < header.mounts; ++i) {
    const auto mount = reader.Value<wire::Mount>();
    const char* target = reader.String();
    const char* contents = reader.Bytes(mount.content_bytes);
    if (!reader.ok()) Broken("run message", "mounts");
    MountExtra(root_fd, static_cast<int>(i), mount, target, contents, binds);
  }
  CoverStaging();
  if (sethostname(hostname, strlen(hostname)) != 0) {
    Fail(wire::ReplyKind::kBadSpec, "host name", hostname);
  }
  const int cwd_fd = OpenOrMakeDirectory(root_fd, cwd, header.uid, header.gid);
  if (cwd_fd < 0) Fail(wire::ReplyKind::kBadSpec, "working directory", cwd);
  close(cwd_fd);
  if (header.read_only_root) {
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_RDONLY;
    if (mount_setattr(root_fd, "", AT_EMPTY_PATH, &attributes, sizeof(attributes)) != 0) {
      Broken("mount_setattr", "root");
    }
  }
}

void PrepareHostView(bool hide_unified) {
  // What is unmounted on the host must go here too, or a disk could not be taken out while a step
  // runs; nothing goes the other way.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) Broken("private mounts");
  Mount("proc", "/proc", kQuiet, nullptr);
  if (hide_unified && umount2("/sys/fs/cgroup/unified", MNT_DETACH) != 0) {
    Broken("umount", "/sys/fs/cgroup/unified");
  }
}

void AttachForRuntime(int root_fd, const int* binds, const Shared& shared) {
  const wire::RunHeader& header = shared.header;
  if (header.open_devices != 0) OpenDevices(root_fd);
  wire::Reader reader(shared.body, header.body_bytes);
  reader.Bytes(header.groups * sizeof(uint32_t) + header.rlimits * sizeof(wire::Rlimit));
  reader.String();  // Host name.
  reader.String();  // Bundle.
  Attach(root_fd, reader.String());
  Attach(NewTmpfs("16m", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV), reader.String());
  for (uint32_t i = 0; i < header.mounts; ++i) {
    const auto mount = reader.Value<wire::Mount>();
    const char* target = reader.String();
    const char* contents = reader.Bytes(mount.content_bytes);
    if (!reader.ok()) Broken("run message", "mounts");
    if (mount.kind == wire::MountKind::kFile) {
      WriteNewFile(target, mount, contents);
    } else if (mount.kind == wire::MountKind::kBind) {
      if (mount.directory) {
        MakeDirectory(target);
      } else {
        WriteNewFile(target, mount, "");
      }
      Attach(*binds++, target);
    }
  }
}

}  // namespace farm::helper
