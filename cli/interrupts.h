#ifndef FARM_CLI_INTERRUPTS_H_
#define FARM_CLI_INTERRUPTS_H_

#include <functional>
#include <thread>

#include "base/unique_fd.h"

namespace farm {

// While it lives, the first Ctrl-C (or SIGTERM) calls `on_first` on a thread of its own; the second
// ends the program at once with status 130, the terminal restored. One at a time.
class Interrupts {
 public:
  explicit Interrupts(std::function<void()> on_first);
  ~Interrupts();
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  UniqueFd read_end_, write_end_;
  std::thread watcher_;
};

}  // namespace farm

#endif  // FARM_CLI_INTERRUPTS_H_
