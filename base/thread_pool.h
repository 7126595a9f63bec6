#ifndef FARM_BASE_THREAD_POOL_H_
#define FARM_BASE_THREAD_POOL_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <thread>
#include <vector>

#include "base/executor.h"
#include "base/mutex.h"

namespace farm {

// A fixed number of threads that take work first come, first served.
class ThreadPool final : public Executor {
 public:
  struct Options {
    int threads = 4;
    size_t queue_depth_max = 100'000;
  };
  explicit ThreadPool(Options options);
  // Finishes what was accepted, then joins.
  ~ThreadPool() override;

  [[nodiscard]] bool Post(std::function<void()> work) override;

  // Waits until pools that give each other work have none left. Whoever else gives them work has
  // stopped.
  static void Drain(std::initializer_list<ThreadPool*> pools);

 private:
  void Run();
  void WaitUntilIdle();
  int64_t accepted();

  const Options options_;
  Mutex mu_;
  std::condition_variable changed_;
  std::condition_variable idle_;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  int running_ FARM_GUARDED_BY(mu_) = 0;
  int64_t accepted_ FARM_GUARDED_BY(mu_) = 0;
  std::deque<std::function<void()>> queue_ FARM_GUARDED_BY(mu_);
  std::vector<std::thread> threads_;
};

}  // namespace farm

#endif  // FARM_BASE_THREAD_POOL_H_
