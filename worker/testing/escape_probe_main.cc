// Tries, from inside a sandbox, what a sandbox must refuse, harmlessly should it not, and prints
// "NAME ERRNO" for each ("NAME ok" if it worked). Static, so that it runs in any root.
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <unistd.h>

#include <initializer_list>

namespace {

void Report(const char* name, long result) {
  const int error = errno;
  printf("%s %s\n", name, result >= 0 ? "ok" : strerrorname_np(error));
  fflush(stdout);
}

void OpenForWriting(const char* path) { Report(path, open(path, O_WRONLY)); }

void Device(const char* name, mode_t type, unsigned major, unsigned minor) {
  char path[64], label[96];
  for (const char* dir : {"/", "/dev/", "/dev/shm/"}) {
    snprintf(path, sizeof(path), "%s%s", dir, name);
    snprintf(label, sizeof(label), "mknod:%s", path);
    Report(label, mknod(path, type | 0666, makedev(major, minor)));
    snprintf(label, sizeof(label), "open:%s", path);
    Report(label, open(path, O_RDONLY));
    unlink(path);
  }
}

void KernelFiles() {
  for (const char* path : {"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
                           "/proc/sys/kernel/modprobe", "/proc/sys/vm/drop_caches",
                           "/sys/kernel/mm/ksm/run", "/sys/kernel/uevent_helper", "/proc/1/exe"}) {
    OpenForWriting(path);
  }
  // Masked: there, and empty.
  for (const char* path : {"/proc/kcore", "/proc/keys", "/proc/timer_list"}) {
    char byte;
    const int fd = open(path, O_RDONLY);
    const ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
    printf("read:%s %s\n", path, fd < 0 ? strerrorname_np(errno) : n == 0 ? "empty" : "DATA");
  }
}

void Mounts() {
  mkdir("/mnt", 0755);
  Report("mount:proc", mount("proc", "/mnt", "proc", 0, nullptr));
  Report("mount:tmpfs", mount("tmpfs", "/mnt", "tmpfs", 0, nullptr));
  Report("mount:remount", mount(nullptr, "/proc/sys", nullptr, MS_REMOUNT | MS_BIND, nullptr));
  Report("mount:bind", mount("/proc", "/mnt", nullptr, MS_BIND, nullptr));
  Report("umount", umount2("/proc/sys", MNT_DETACH));
  for (const char* controller :
       {"cpu", "memory", "devices", "freezer", "pids", "blkio", "cpuset"}) {
    char label[64];
    snprintf(label, sizeof(label), "mount:cgroup:%s", controller);
    Report(label, mount("cgroup", "/mnt", "cgroup", 0, controller));
  }
  Report("mount:cgroup2", mount("cgroup2", "/mnt", "cgroup2", 0, nullptr));
  Report("release_agent", open("/sys/fs/cgroup/memory/release_agent", O_WRONLY));
  Report("fsopen", fsopen("tmpfs", 0));
  Report("open_tree", open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE));
  Report("pivot_root", syscall(SYS_pivot_root, "/mnt", "/mnt"));
}

void SystemCalls() {
  Report("unshare:user", unshare(CLONE_NEWUSER));
  Report("unshare:mount", unshare(CLONE_NEWNS));
  Report("setns", setns(open("/proc/self/ns/net", O_RDONLY), 0));
  Report("clone:user", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
  Report("clone3", syscall(SYS_clone3, nullptr, 0));
  Report("keyctl", syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 0));
  Report("add_key", syscall(SYS_add_key, "user", "x", "x", 1, KEY_SPEC_PROCESS_KEYRING));
  bpf_attr attributes{};
  Report("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes)));
  perf_event_attr event{};
  Report("perf_event_open", syscall(SYS_perf_event_open, &event, 0, -1, -1, 0));
  Report("init_module", syscall(SYS_init_module, nullptr, 0, ""));
  Report("finit_module", syscall(SYS_finit_module, -1, "", 0));
  Report("kexec_load", syscall(SYS_kexec_load, 0, 0, nullptr, 0));
  io_uring_params ring{};
  Report("io_uring_setup", syscall(SYS_io_uring_setup, 1, &ring));
  Report("userfaultfd", syscall(SYS_userfaultfd, 0));
  Report("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, nullptr, 0));
  Report("syslog", syscall(SYS_syslog, 3, nullptr, 0));
  Report("settimeofday", syscall(SYS_settimeofday, nullptr, nullptr));
  Report("reboot", syscall(SYS_reboot, 0, 0, 0, nullptr));
  Report("swapon", syscall(SYS_swapon, "/none", 0));
  Report("acct", syscall(SYS_acct, "/none"));
  Report("iopl", syscall(SYS_iopl, 3));
  Report("quotactl", syscall(SYS_quotactl, 0, nullptr, 0, nullptr));
  Report("socket:vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  Report("newer", syscall(1023));
  Report("ptrace:1", ptrace(PTRACE_ATTACH, 1, nullptr, nullptr));
}

void Descriptors() {
  int open_count = 0;
  for (int fd = 3; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) ++open_count;
  }
  printf("descriptors %d\n", open_count);
}

// A daemon that nothing ties to its parents.
void Survive(const char* mark) {
  if (fork() != 0) return;
  setsid();
  prctl(PR_SET_PDEATHSIG, 0);
  signal(SIGHUP, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  if (fork() != 0) _exit(0);
  prctl(PR_SET_PDEATHSIG, 0);
  execl("/bin/sleep", "sleep", mark, nullptr);
  _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2) {
    Survive(argv[1]);
    return 0;
  }
  Descriptors();
  Device("zero-node", S_IFCHR, 1, 5);
  Device("loop-node", S_IFBLK, 7, 0);
  KernelFiles();
  Mounts();
  SystemCalls();
  return 0;
}
