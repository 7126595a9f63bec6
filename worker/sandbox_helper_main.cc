// farm-sandbox: one sandbox, one run. Started by the worker as pid 1 of a new pid namespace, with
// the step's output on 1 and 2 and a socket on 3 (sandbox_wire.h). When it ends, for whatever
// reason, the kernel kills all that runs in the namespace; it ends when the worker does.
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/keyctl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "worker/helper_internal.h"
#include "worker/sandbox_wire.h"

namespace farm::helper {
namespace {

struct Descriptors {
  int fds[wire::kDescriptorsMax];
  uint32_t count = 0;
};

void ReceiveBytes(void* data, size_t size) {
  auto* bytes = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = recv(wire::kControlFd, bytes, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(1);  // The worker is gone.
    bytes += n;
    size -= static_cast<size_t>(n);
  }
}

// Receives `size` bytes, and the descriptors that come with the first of them.
Descriptors Receive(void* data, size_t size) {
  Descriptors descriptors;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(descriptors.fds))];
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t n;
  do {
    n = recvmsg(wire::kControlFd, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n <= 0) _exit(1);
  for (cmsghdr* part_of = CMSG_FIRSTHDR(&message); part_of != nullptr;
       part_of = CMSG_NXTHDR(&message, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    const size_t bytes = part_of->cmsg_len - CMSG_LEN(0);
    memcpy(descriptors.fds, CMSG_DATA(part_of), bytes);
    descriptors.count = static_cast<uint32_t>(bytes / sizeof(int));
  }
  ReceiveBytes(static_cast<char*>(data) + n, size - static_cast<size_t>(n));
  return descriptors;
}

void SendReady() {
  const int mounts = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
  if (mounts < 0) Broken("mount namespace");
  wire::Reply reply{};
  reply.kind = wire::ReplyKind::kReady;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  iovec part{&reply, sizeof(reply)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(rights), &mounts, sizeof(int));
  if (sendmsg(wire::kControlFd, &message, MSG_NOSIGNAL) < 0) _exit(1);
  close(mounts);
}

[[noreturn]] void SendAndExit(const wire::Reply& reply) {
  send(wire::kControlFd, &reply, sizeof(reply), MSG_NOSIGNAL);
  _exit(0);
}

void LoopbackUp() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  snprintf(request.ifr_name, sizeof(request.ifr_name), "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0) Broken("loopback");
  close(fd);
}

void IgnoreSignal(int) {}

// As pid 1 we only get signals that we have a handler for; this one wakes ppoll.
void BlockChildSignal() {
  struct sigaction action {};
  action.sa_handler = IgnoreSignal;
  sigaction(SIGCHLD, &action, nullptr);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child, nullptr);
}

Shared* NewShared() {
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) Broken("mmap");
  return static_cast<Shared*>(memory);
}

void ReleaseStandardStreams() {
  // Only the step's processes are to hold the pipes.
  const int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (null_fd < 0 || dup2(null_fd, fd) < 0) Broken("/dev/null");
  }
  close(null_fd);
}

pid_t Fork() {
  const pid_t pid = fork();
  if (pid < 0) Broken("fork");
  return pid;
}

Descriptors ReceiveRun(Shared* shared) {
  const Descriptors descriptors = Receive(&shared->header, sizeof(shared->header));
  if (shared->header.body_bytes > sizeof(shared->body) || descriptors.count == 0) {
    errno = EPROTO;
    Broken("run message");
  }
  ReceiveBytes(shared->body, shared->header.body_bytes);
  return descriptors;
}

void Go(Shared* shared) {
  __atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
  syscall(SYS_futex, &shared->go, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

// Reaps all that dies in here until the step's own process does.
int WaitFor(pid_t step) {
  sigset_t none;
  sigemptyset(&none);
  for (;;) {
    int status = 0;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
      if (pid == step) return status;
    }
    // The worker says nothing more; if the socket wakes us, it is gone.
    pollfd control{wire::kControlFd, POLLIN, 0};
    if (ppoll(&control, 1, nullptr, &none) > 0) _exit(1);
  }
}

[[noreturn]] void ReportEnd(const Shared& shared, int wait_status) {
  wire::Reply reply{};
  reply.kind = shared.exec_error != 0    ? wire::ReplyKind::kNotStarted
               : shared.setup_error != 0 ? wire::ReplyKind::kBroken
                                         : wire::ReplyKind::kExited;
  reply.wait_status = wait_status;
  reply.error = shared.exec_error != 0 ? shared.exec_error : shared.setup_error;
  if (reply.kind != wire::ReplyKind::kExited) {
    snprintf(reply.message, sizeof(reply.message), "%s", shared.message);
  }
  SendAndExit(reply);
}

// First of all: a sysfs shows the network that it was mounted in.
void EnterNetwork(const wire::Prepare& prepare, const Descriptors& prepared) {
  const uint32_t filters = prepare.role == wire::Role::kStep ? 1 : 0;
  const bool given = prepare.network == wire::Network::kGiven;
  if (prepared.count != filters + (given ? 1 : 0)) Broken("prepare message");
  if (given) {
    if (setns(prepared.fds[filters], CLONE_NEWNET) != 0) Broken("network namespace");
    close(prepared.fds[filters]);
  }
  if (prepare.network == wire::Network::kNew) {
    if (unshare(CLONE_NEWNET) != 0) Broken("new network namespace");
    LoopbackUp();
  }
}

[[noreturn]] void BeSandbox(const wire::Prepare& prepare, const Descriptors& prepared) {
  if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP) != 0) {
    Broken("unshare");
  }
  syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr);  // Not the worker's keys.
  const bool insecure = prepare.insecure != 0;
  PrepareMounts(insecure);
  Shared* shared = NewShared();
  const pid_t step = Fork();
  if (step == 0 && insecure) RunInsecureStep(shared);
  if (step == 0) RunStep(shared, prepared.fds[0]);
  close(prepared.fds[0]);
  SendReady();

  const Descriptors run = ReceiveRun(shared);
  EnterRoot(run.fds[0], run.fds + 1, *shared);
  for (uint32_t i = 0; i < run.count; ++i) close(run.fds[i]);
  ReleaseStandardStreams();
  Go(shared);
  ReportEnd(*shared, WaitFor(step));
}

[[noreturn]] void BeRuntime(const wire::Prepare& prepare) {
  if (unshare(CLONE_NEWNS) != 0) Broken("unshare");
  PrepareHostView(prepare.hide_unified != 0);
  Shared* shared = NewShared();
  SendReady();
  const Descriptors run = ReceiveRun(shared);
  AttachForRuntime(run.fds[0], run.fds + 1, *shared);
  for (uint32_t i = 0; i < run.count; ++i) close(run.fds[i]);
  const pid_t runtime = Fork();
  if (runtime == 0) RunRuntime(shared);
  ReleaseStandardStreams();
  ReportEnd(*shared, WaitFor(runtime));
}

}  // namespace

void Fail(wire::ReplyKind kind, const char* what, const char* detail) {
  wire::Reply reply{};
  reply.kind = kind;
  reply.error = errno;
  snprintf(reply.message, sizeof(reply.message), "%s%s%s", what, detail ? " " : "",
           detail ? detail : "");
  SendAndExit(reply);
}

}  // namespace farm::helper

int main() {
  using namespace farm;          // NOLINT
  using namespace farm::helper;  // NOLINT
  if (getpid() != 1) {
    fprintf(stderr, "farm-sandbox is started by farm-worker\n");
    return 2;
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  prctl(PR_SET_DUMPABLE, 0);  // Nobody inside reads our memory or descriptors.
  signal(SIGPIPE, SIG_DFL);
  umask(0);  // Device nodes and directories get the modes that are asked for.
  BlockChildSignal();
  wire::Prepare prepare{};
  const Descriptors prepared = Receive(&prepare, sizeof(prepare));
  EnterNetwork(prepare, prepared);
  if (prepare.role == wire::Role::kRuntime) BeRuntime(prepare);
  BeSandbox(prepare, prepared);
}
