#include "base/thread_pool.h"

#include <utility>

namespace farm {

ThreadPool::ThreadPool(Options options) : options_(options) {
  threads_.reserve(static_cast<size_t>(options_.threads));
  for (int i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Run(); });
}

ThreadPool::~ThreadPool() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool ThreadPool::Post(std::function<void()> work) {
  MutexLock lock(mu_);
  if (stopping_ || queue_.size() >= options_.queue_depth_max) return false;
  queue_.push_back(std::move(work));
  ++accepted_;
  changed_.notify_one();
  return true;
}

void ThreadPool::Run() {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopping_) lock.Wait(changed_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
      ++running_;
    }
    work();
    work = nullptr;  // What it holds may give work, too.
    MutexLock lock(mu_);
    if (--running_ == 0 && queue_.empty()) idle_.notify_all();
  }
}

void ThreadPool::WaitUntilIdle() {
  MutexLock lock(mu_);
  while (running_ > 0 || !queue_.empty()) lock.Wait(idle_);
}

int64_t ThreadPool::accepted() {
  MutexLock lock(mu_);
  return accepted_;
}

void ThreadPool::Drain(std::initializer_list<ThreadPool*> pools) {
  const auto accepted = [&pools] {
    int64_t sum = 0;
    for (ThreadPool* pool : pools) sum += pool->accepted();
    return sum;
  };
  // Each was seen without work, and nothing came to any from before the first look until after the
  // last: then there is nobody left who could give them some.
  int64_t before, after = accepted();
  do {
    before = after;
    for (ThreadPool* pool : pools) pool->WaitUntilIdle();
    after = accepted();
  } while (after != before);
}

}  // namespace farm
