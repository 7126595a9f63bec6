#include "cli/interrupts.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <utility>

#include "cli/exit_code.h"
#include "cli/tty_progress.h"

namespace farm {
namespace {

std::atomic<int> g_signal_count{0};
std::atomic<int> g_write_end{-1};
struct sigaction g_old_interrupt, g_old_terminate;

// Async-signal-safe.
void OnSignal(int) {
  const int saved_errno = errno;
  if (++g_signal_count > 1) {
    RestoreTerminal();
    _exit(kExitInterrupted);
  }
  const ssize_t ignored = write(g_write_end, "!", 1);
  (void)ignored;
  errno = saved_errno;
}

}  // namespace

Interrupts::Interrupts(std::function<void()> on_first) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return;  // Without: Ctrl-C ends the program, as usual.
  read_end_.Reset(ends[0]);
  write_end_.Reset(ends[1]);
  g_signal_count = 0;
  g_write_end = ends[1];
  watcher_ = std::thread([fd = ends[0], on_first = std::move(on_first)] {
    char byte = 0;
    ssize_t n;
    do {
      n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1 && byte == '!') on_first();
  });
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

}  // namespace farm
