#include "worker/helper_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/child_process.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr int64_t kProgramBytesMax = 64 << 20;
constexpr size_t kLogChunkBytes = 64 << 10;
constexpr size_t kChildStackBytes = 64 << 10;
constexpr int kFirstSpareFd = 10;

absl::Status WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "sandbox helper");
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

// Sends `bytes` with descriptors attached to the first of them.
absl::Status SendWithDescriptors(int fd, absl::string_view bytes, const std::vector<int>& fds) {
  FARM_CHECK_LE(fds.size(), size_t{wire::kDescriptorsMax});
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * wire::kDescriptorsMax)] = {};
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    const size_t size = sizeof(int) * fds.size();
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(rights), fds.data(), size);
  }
  ssize_t n;
  do {
    n = sendmsg(fd, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus(errno, "sandbox helper");
  return WriteAll(fd, bytes.substr(static_cast<size_t>(n)));
}

template <typename T>
absl::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}

// What the child needs between clone and exec, where it shares our memory and we stand still.
struct ChildStart {
  int program, null, out, err, control;
};

int ChildMain(void* argument) {
  // System calls only: other threads may hold any lock.
  const ChildStart& start = *static_cast<ChildStart*>(argument);
  const int program = fcntl(start.program, F_DUPFD_CLOEXEC, kFirstSpareFd);
  const int wanted[] = {start.null, start.out, start.err, start.control};
  int spare[4];
  // First out of the way of 0..3, then in.
  for (int i = 0; i < 4; ++i) spare[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, kFirstSpareFd);
  for (int i = 0; i < 4; ++i) {
    if (dup2(spare[i], i) < 0) _exit(1);
  }
  close_range(wire::kControlFd + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  char name[] = "farm-sandbox";
  char* const args[] = {name, nullptr};
  char* const env[] = {nullptr};
  syscall(SYS_execveat, program, "", args, env, AT_EMPTY_PATH);
  _exit(1);
}

// clone as vfork does it: the worker is too big to be copied, and full of threads. A copy all the
// same for ThreadSanitizer, whose clone() would have it ignore the calling thread from then on.
#if defined(__SANITIZE_THREAD__)
constexpr int kCloneFlags = CLONE_VFORK | CLONE_PIDFD | CLONE_NEWPID | SIGCHLD;
#else
constexpr int kCloneFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_NEWPID | SIGCHLD;
#endif
struct Child {
  pid_t pid;
  UniqueFd pidfd;
};
absl::StatusOr<Child> StartChild(ChildStart start) {
  const std::unique_ptr<char[]> stack(new char[kChildStackBytes]);
  int pidfd = -1;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // No handler may run in the child.
  const int pid = clone(ChildMain, stack.get() + kChildStackBytes, kCloneFlags, &start, &pidfd);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    return ErrnoStatus(
        error, error == EPERM ? "new pid namespace (the worker must run as root)" : "clone");
  }
  return Child{pid, UniqueFd(pidfd)};
}

// Reads what is there; closes `fd` at its end.
void Drain(UniqueFd& fd, LogStream stream, LogSink& log) {
  char buffer[kLogChunkBytes];
  const ssize_t n = read(fd.get(), buffer, sizeof(buffer));
  if (n > 0) log.Append(stream, {buffer, static_cast<size_t>(n)});
  if (n == 0) fd.Reset();
}

// Drains until nothing more is there.
void DrainAll(UniqueFd& fd, LogStream stream, LogSink& log) {
  for (;;) {
    pollfd readable{.fd = fd.get(), .events = POLLIN, .revents = 0};
    if (!fd.valid() || poll(&readable, 1, 0) <= 0) return;
    Drain(fd, stream, log);
  }
}

int PollTimeoutMs(absl::Time deadline) {
  if (deadline == absl::InfiniteFuture()) return -1;
  const int64_t ms =
      absl::ToInt64Milliseconds(absl::Ceil(deadline - absl::Now(), absl::Milliseconds(1)));
  return static_cast<int>(std::clamp<int64_t>(ms, 0, 1'000'000'000));
}

}  // namespace

absl::StatusOr<UniqueFd> SealHelperProgram(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string program, ReadFile(path, kProgramBytesMax),
                   _ << "sandbox helper program");
  constexpr unsigned kMfdExec = 0x10;  // MFD_EXEC, Linux 6.3: says so where the default is noexec.
  UniqueFd fd(memfd_create("farm-sandbox", MFD_CLOEXEC | MFD_ALLOW_SEALING | kMfdExec));
  if (!fd.valid()) fd.Reset(memfd_create("farm-sandbox", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus(errno, "memfd_create");
  RETURN_IF_ERROR(FdSink(fd.get()).Write(program)) << "sandbox helper program";
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "sealing the sandbox helper program");
  }
  return fd;
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HelperProcess::Launch(Start start) {
  const wire::Prepare prepare = start.prepare;
  const int program_fd = start.program_fd;
  std::vector<int> descriptors;
  if (start.seccomp_fd >= 0) descriptors.push_back(start.seccomp_fd);
  if (start.network != nullptr) descriptors.push_back(start.network->namespace_fd());
  auto helper = std::unique_ptr<HelperProcess>(new HelperProcess(std::move(start)));
  int control[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, control) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  helper->control_.Reset(control[0]);
  UniqueFd child_control(control[1]);
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  helper->stdout_ = std::move(out.read);
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  helper->stderr_ = std::move(err.read);
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null.valid()) return ErrnoStatus(errno, "/dev/null");

  ASSIGN_OR_RETURN(Child child, StartChild({.program = program_fd,
                                            .null = null.get(),
                                            .out = out.write.get(),
                                            .err = err.write.get(),
                                            .control = child_control.get()}));
  helper->pidfd_ = std::move(child.pidfd);
  // It waits for our message, so it is in its cgroup before it makes any process or namespace.
  RETURN_IF_ERROR(helper->cgroup_->Add(child.pid));
  RETURN_IF_ERROR(SendWithDescriptors(helper->control_.get(), BytesOf(prepare), descriptors));
  return helper;
}

HelperProcess::~HelperProcess() {
  if (pidfd_.valid()) {
    Kill();
    rusage unused;
    Reap(unused);
  }
  on_end_(
      {.mounts = std::move(mounts_), .cgroup = std::move(cgroup_), .network = std::move(network_)});
}

bool HelperProcess::alive() const {
  pollfd ended{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
  return poll(&ended, 1, 0) == 0;
}

absl::Status HelperProcess::Send(const wire::RunHeader& header, absl::string_view body,
                                 const std::vector<int>& descriptors) {
  if (!ReceiveReady()) return absl::OkStatus();
  absl::Status sent = SendWithDescriptors(control_.get(), BytesOf(header), descriptors);
  if (sent.ok()) sent = WriteAll(control_.get(), body);
  return sent.ok() || !alive() ? absl::OkStatus() : sent;
}

bool HelperProcess::ReceiveReady() {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec part{&early_reply_, sizeof(early_reply_)};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t n;
  do {
    n = recvmsg(control_.get(), &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof(early_reply_))) return false;
  const cmsghdr* rights = CMSG_FIRSTHDR(&message);
  if (early_reply_.kind == wire::ReplyKind::kReady && rights != nullptr &&
      rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    mounts_.Reset(fd);
    return true;
  }
  replied_early_ = true;
  return false;
}

HelperEnd HelperProcess::Wait(LogSink& log, CancelToken& cancel, absl::Time deadline) {
  HelperEnd end;
  const UniqueFd cancelled(eventfd(0, EFD_CLOEXEC));
  const CancelToken::Callback on_cancel(cancel, [fd = cancelled.get()] { eventfd_write(fd, 1); });
  bool killed = false;
  for (;;) {
    pollfd fds[] = {{.fd = pidfd_.get(), .events = POLLIN, .revents = 0},
                    {.fd = killed ? -1 : cancelled.get(), .events = POLLIN, .revents = 0},
                    {.fd = stdout_.get(), .events = POLLIN, .revents = 0},
                    {.fd = stderr_.get(), .events = POLLIN, .revents = 0}};
    if (poll(fds, 4, PollTimeoutMs(deadline)) < 0 && errno != EINTR) break;
    if (fds[2].revents != 0) Drain(stdout_, LogStream::kStdout, log);
    if (fds[3].revents != 0) Drain(stderr_, LogStream::kStderr, log);
    if (fds[0].revents != 0) break;
    const bool was_cancelled = fds[1].revents != 0;
    if (was_cancelled || absl::Now() >= deadline) {
      Kill();
      end.cause = was_cancelled ? HelperEnd::Cause::kCancelled : HelperEnd::Cause::kTimedOut;
      killed = true;
      deadline = absl::InfiniteFuture();
    }
  }
  DrainAll(stdout_, LogStream::kStdout, log);
  DrainAll(stderr_, LogStream::kStderr, log);
  end.reply = early_reply_;
  end.replied = replied_early_ || recv(control_.get(), &end.reply, sizeof(end.reply),
                                       MSG_DONTWAIT) == static_cast<ssize_t>(sizeof(end.reply));
  Reap(end.resources);
  return end;
}

void HelperProcess::Kill() { syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0); }

void HelperProcess::Reap(rusage& resources) {
  siginfo_t info{};
  long result;
  do {
    // The library's waitid has no place for the resources.
    result = syscall(SYS_waitid, P_PIDFD, pidfd_.get(), &info, WEXITED, &resources);
  } while (result != 0 && errno == EINTR);
  if (result != 0) LogError("sandbox helper not reaped", {{"error", strerror(errno)}});
  pidfd_.Reset();
}

}  // namespace farm
