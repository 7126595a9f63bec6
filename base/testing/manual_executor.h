#ifndef FARM_BASE_TESTING_MANUAL_EXECUTOR_H_
#define FARM_BASE_TESTING_MANUAL_EXECUTOR_H_

#include <deque>
#include <functional>
#include <utility>

#include "base/executor.h"

namespace farm {

// Runs posted work when the test says so, on the test's thread.
class ManualExecutor final : public Executor {
 public:
  [[nodiscard]] bool Post(std::function<void()> work) override {
    queue_.push_back(std::move(work));
    return true;
  }
  bool empty() const { return queue_.empty(); }
  // Runs until nothing is left, work posted meanwhile included.
  void RunAll() {
    while (!queue_.empty()) {
      std::function<void()> work = std::move(queue_.front());
      queue_.pop_front();
      work();
    }
  }
  // Runs what was posted last, before all else. False if there is nothing.
  bool RunLast() {
    if (queue_.empty()) return false;
    std::function<void()> work = std::move(queue_.back());
    queue_.pop_back();
    work();
    return true;
  }

 private:
  std::deque<std::function<void()>> queue_;
};

}  // namespace farm

#endif  // FARM_BASE_TESTING_MANUAL_EXECUTOR_H_
