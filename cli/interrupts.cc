#include "cli/interrupts.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <utility>

#include "cli/exit_code.h"
#include "cli/temporaries.h"
#include "cli/tty_progress.h"

namespace farm {
namespace {

// Cleaning up that hangs (a dead network file system) is given up at this one.
constexpr int kSignalsMax = 3;

std::atomic<int> g_signal_count{0};
std::atomic<int> g_write_end{-1};
struct sigaction g_old_interrupt, g_old_terminate;

// Async-signal-safe: what takes more than a write is the watcher's.
void OnSignal(int) {
  const int saved_errno = errno;
  if (++g_signal_count >= kSignalsMax) {
    RestoreTerminal();
    _exit(kExitInterrupted);
  }
  const ssize_t ignored = write(g_write_end, "!", 1);
  (void)ignored;
  errno = saved_errno;
}

[[noreturn]] void Leave() {
  RemoveTemporaries();
  RestoreTerminal();  // Last: the picture may have been drawn anew meanwhile.
  _exit(kExitInterrupted);
}

}  // namespace

Interrupts::Interrupts() {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return;  // Without: Ctrl-C ends the program, as usual.
  read_end_.Reset(ends[0]);
  write_end_.Reset(ends[1]);
  g_signal_count = 0;
  g_write_end = ends[1];
  watcher_ = std::thread([this, fd = ends[0]] { Watch(fd); });
  struct sigaction action {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, &g_old_interrupt);
  sigaction(SIGTERM, &action, &g_old_terminate);
}

Interrupts::~Interrupts() {
  if (!watcher_.joinable()) return;
  sigaction(SIGINT, &g_old_interrupt, nullptr);
  sigaction(SIGTERM, &g_old_terminate, nullptr);
  write_end_.Reset();  // The watcher reads the end of the pipe.
  watcher_.join();
}

void Interrupts::Watch(int fd) {
  for (bool first = true;; first = false) {
    char byte = 0;
    ssize_t n;
    do {
      n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1) return;
    MutexLock lock(mu_);
    if (!first || cancel_ == nullptr) Leave();
    canceller_ = std::thread(std::exchange(cancel_, nullptr));
  }
}

Interrupts::Cancellable::Cancellable(Interrupts& interrupts, std::function<void()> cancel)
    : interrupts_(interrupts) {
  MutexLock lock(interrupts_.mu_);
  interrupts_.cancel_ = std::move(cancel);
}

Interrupts::Cancellable::~Cancellable() {
  std::thread canceller;
  {
    MutexLock lock(interrupts_.mu_);
    interrupts_.cancel_ = nullptr;
    canceller = std::move(interrupts_.canceller_);
  }
  if (canceller.joinable()) canceller.join();
}

}  // namespace farm
