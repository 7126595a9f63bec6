#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "worker/helper_internal.h"
#include "worker/step_restrictions.h"

namespace farm::helper {
namespace {

constexpr char kDefaultPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kNotFound = 127, kNotExecutable = 126;

[[noreturn]] void StepFailed(Shared* shared, const char* what) {
  shared->setup_error = errno;
  snprintf(shared->message, sizeof(shared->message), "%s", what);
  _exit(1);
}

// Before the capabilities go: with CAP_SYS_ADMIN it needs no "no new privileges", which would break
// sudo and su in steps.
void LoadSeccomp(Shared* shared, int seccomp_fd) {
  struct stat info;
  if (fstat(seccomp_fd, &info) != 0) StepFailed(shared, "seccomp program");
  void* program =
      mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, seccomp_fd, 0);
  if (program == MAP_FAILED) StepFailed(shared, "seccomp program");
  sock_fprog filter{
      static_cast<unsigned short>(static_cast<size_t>(info.st_size) / sizeof(sock_filter)),
      static_cast<sock_filter*>(program)};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) {
    StepFailed(shared, "seccomp filter");
  }
}

void DropCapabilities(Shared* shared) {
  uint64_t wanted = 0;
  for (const StepCapability& capability : kStepCapabilities) {
    wanted |= uint64_t{1} << capability.number;
  }
  for (int capability = 0; capability < 64; ++capability) {
    if ((wanted >> capability & 1) != 0) continue;
    // EINVAL: beyond the kernel's last one.
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL) {
      StepFailed(shared, "capability bounding set");
    }
  }
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  for (int i = 0; i < 2; ++i) {
    sets[i].effective = sets[i].permitted = static_cast<uint32_t>(wanted >> (32 * i));
  }
  if (syscall(SYS_capset, &header, sets) != 0) StepFailed(shared, "capset");
}

// Has a user other than root keep all that the worker may do, over execve(2), too.
void KeepCapabilities(Shared* shared) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2]{};
  if (syscall(SYS_capget, &header, sets) != 0) StepFailed(shared, "capget");
  for (__user_cap_data_struct& set : sets) set.effective = set.inheritable = set.permitted;
  if (syscall(SYS_capset, &header, sets) != 0) StepFailed(shared, "capset");
  for (int capability = 0; capability < 64; ++capability) {
    if ((sets[capability / 32].permitted >> (capability % 32) & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) != 0) {
      StepFailed(shared, "ambient capabilities");
    }
  }
}

void WaitForGo(Shared* shared) {
  while (__atomic_load_n(&shared->go, __ATOMIC_ACQUIRE) == 0) {
    syscall(SYS_futex, &shared->go, FUTEX_WAIT, 0, nullptr, nullptr, 0);
  }
}

// The run as the step's process needs it: pointers into the shared memory.
struct Command {
  const gid_t* groups;
  const char* rlimits;
  const char* cwd;
  char** args;
  char** env;
};

char** Strings(wire::Reader& reader, uint32_t count) {
  auto** strings = static_cast<char**>(calloc(count + 1, sizeof(char*)));
  if (strings == nullptr) _exit(1);
  for (uint32_t i = 0; i < count; ++i) strings[i] = const_cast<char*>(reader.String());
  return strings;
}

Command ReadCommand(Shared* shared) {
  const wire::RunHeader& header = shared->header;
  wire::Reader reader(shared->body, header.body_bytes);
  Command command{};
  command.groups = reinterpret_cast<const gid_t*>(reader.Bytes(header.groups * sizeof(gid_t)));
  command.rlimits = reader.Bytes(header.rlimits * sizeof(wire::Rlimit));
  reader.String();  // Host name.
  command.cwd = reader.String();
  reader.String();  // For OCI runtimes, like the next.
  reader.String();
  for (uint32_t i = 0; i < header.mounts; ++i) {
    const auto mount = reader.Value<wire::Mount>();
    reader.String();
    reader.Bytes(mount.content_bytes);
  }
  command.args = Strings(reader, header.args);
  command.env = Strings(reader, header.env);
  if (!reader.ok() || header.args == 0 || command.args[0] == nullptr) {
    errno = EPROTO;
    StepFailed(shared, "run message");
  }
  return command;
}

void SetRlimits(Shared* shared, const char* rlimits) {
  wire::Reader reader(rlimits, shared->header.rlimits * sizeof(wire::Rlimit));
  for (uint32_t i = 0; i < shared->header.rlimits; ++i) {
    const auto limit = reader.Value<wire::Rlimit>();
    const rlimit value{limit.soft, limit.hard};
    if (setrlimit(static_cast<__rlimit_resource_t>(limit.resource), &value) != 0) {
      StepFailed(shared, "setrlimit");
    }
  }
}

// Not by path from the outside: "/proc/self/fd/N" must not lead anywhere.
void EnterDirectory(Shared* shared, const char* path) {
  open_how how{};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const int fd = static_cast<int>(syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
  if (fd < 0 || fchdir(fd) != 0) StepFailed(shared, "working directory");
}

void SwitchUser(Shared* shared, const gid_t* groups) {
  const wire::RunHeader& header = shared->header;
  // So that "echo >/dev/stdout" works for the user too.
  if (fchown(STDOUT_FILENO, header.uid, header.gid) != 0 ||
      fchown(STDERR_FILENO, header.uid, header.gid) != 0) {
    StepFailed(shared, "output pipes");
  }
  if (setgroups(header.groups, groups) != 0 || setresgid(header.gid, header.gid, header.gid) != 0 ||
      setresuid(header.uid, header.uid, header.uid) != 0) {
    StepFailed(shared, "setresuid");
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // A change of user clears it.
}

void CleanProcess() {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  umask(022);
  close_range(STDERR_FILENO + 1, ~0U, 0);
}

const char* PathOf(char** env) {
  for (; *env != nullptr; ++env) {
    if (strncmp(*env, "PATH=", 5) == 0) return *env + 5;
  }
  return kDefaultPath;
}

// execve with a search as execvp(3) does it, but that remembers why it failed.
[[noreturn]] void Execute(Shared* shared, const Command& command) {
  const char* file = command.args[0];
  int error = ENOENT;
  snprintf(shared->message, sizeof(shared->message), "%s", file);
  if (strchr(file, '/') != nullptr) {
    execve(file, command.args, command.env);
    error = errno;
  } else {
    for (const char* dir = PathOf(command.env); dir != nullptr && *file != '\0';) {
      const char* end = strchrnul(dir, ':');
      char path[PATH_MAX];
      const int length = snprintf(path, sizeof(path), "%.*s%s%s", static_cast<int>(end - dir), dir,
                                  end == dir ? "" : "/", file);
      if (length > 0 && static_cast<size_t>(length) < sizeof(path)) {
        struct stat info;
        execve(path, command.args, command.env);
        if (errno != ENOENT && errno != ENOTDIR) {
          error = errno;
        } else if (stat(path, &info) == 0) {
          // It is there, but its interpreter is not.
          snprintf(shared->message, sizeof(shared->message), "%.390s", path);
          break;
        }
        if (error != ENOENT && error != EACCES) break;
      }
      dir = *end == '\0' ? nullptr : end + 1;
    }
  }
  shared->exec_error = error;
  _exit(error == ENOENT || error == ENOTDIR ? kNotFound : kNotExecutable);
}

// What is left to do once the run is known, before the user is another one.
Command BecomeCommand(Shared* shared) {
  WaitForGo(shared);
  const Command command = ReadCommand(shared);
  SetRlimits(shared, command.rlimits);
  // The sandbox's own node, not the host's: through a descriptor a step can change the inode.
  const int null_fd = open("/dev/null", O_RDONLY);
  if (null_fd < 0 || dup2(null_fd, STDIN_FILENO) < 0) StepFailed(shared, "/dev/null");
  EnterDirectory(shared, command.cwd);  // As root: the user may not be allowed to search there.
  return command;
}

}  // namespace

void RunStep(Shared* shared, int seccomp_fd) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  LoadSeccomp(shared, seccomp_fd);
  DropCapabilities(shared);
  const Command command = BecomeCommand(shared);
  SwitchUser(shared, command.groups);
  CleanProcess();
  Execute(shared, command);
}

void RunInsecureStep(Shared* shared) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  const Command command = BecomeCommand(shared);
  prctl(PR_SET_KEEPCAPS, 1);
  SwitchUser(shared, command.groups);
  KeepCapabilities(shared);
  CleanProcess();
  Execute(shared, command);
}

void RunRuntime(Shared* shared) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setsid();
  const Command command = ReadCommand(shared);
  if (chdir(command.cwd) != 0) StepFailed(shared, "bundle");
  CleanProcess();
  Execute(shared, command);
}

}  // namespace farm::helper
