#ifndef FARM_BASE_EXECUTOR_H_
#define FARM_BASE_EXECUTOR_H_

#include <functional>

namespace farm {

// Runs work later, on some other thread or turn. Safe for concurrent calls.
class Executor {
 public:
  virtual ~Executor() = default;

  // Runs `work` later, never inside this call. False if the executor is full or stopping: then
  // `work` is dropped and the caller answers with RESOURCE_EXHAUSTED.
  [[nodiscard]] virtual bool Post(std::function<void()> work) = 0;
};

}  // namespace farm

#endif  // FARM_BASE_EXECUTOR_H_
