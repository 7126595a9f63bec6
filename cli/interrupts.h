#ifndef FARM_CLI_INTERRUPTS_H_
#define FARM_CLI_INTERRUPTS_H_

#include <functional>
#include <thread>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace farm {

// While it lives, Ctrl-C (or SIGTERM) ends the program with status 130, the terminal restored and
// temporaries removed (cli/temporaries.h): at once, or, while something can be cancelled, at the
// second time. One at a time.
//
//   Interrupts interrupts;
//   ...                                     // Ctrl-C ends the program
//   Interrupts::Cancellable here(interrupts, [&] { handle.Cancel(client); });
//   ...                                     // the first Ctrl-C cancels, the second ends it
class Interrupts {
 public:
  Interrupts();
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

  // While it lives, the first Ctrl-C calls `cancel`, once, on a thread of its own, and the program
  // goes on. Its destructor waits for that call. One at a time.
  class Cancellable {
   public:
    Cancellable(Interrupts& interrupts, std::function<void()> cancel);
    ~Cancellable();
    Cancellable(const Cancellable&) = delete;
    Cancellable& operator=(const Cancellable&) = delete;

   private:
    Interrupts& interrupts_;
  };

 private:
  void Watch(int fd);

  UniqueFd read_end_, write_end_;
  std::thread watcher_;
  Mutex mu_;
  std::function<void()> cancel_ FARM_GUARDED_BY(mu_);  // Null: nothing can be cancelled.
  std::thread canceller_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_CLI_INTERRUPTS_H_
