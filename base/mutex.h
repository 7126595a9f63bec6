// std::mutex with clang's thread-safety annotations. Not absl::Mutex: the packaged Abseil is built
// without ThreadSanitizer, which then reports races on everything that absl::Mutex guards.
#ifndef FARM_BASE_MUTEX_H_
#define FARM_BASE_MUTEX_H_

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/time.h"

#if defined(__clang__)
#define FARM_THREAD_ANNOTATION(x) __attribute__((x))
#else
#define FARM_THREAD_ANNOTATION(x)
#endif
#define FARM_GUARDED_BY(x) FARM_THREAD_ANNOTATION(guarded_by(x))
#define FARM_REQUIRES(x) FARM_THREAD_ANNOTATION(requires_capability(x))

namespace farm {

class FARM_THREAD_ANNOTATION(capability("mutex")) Mutex {
 public:
  void Lock() FARM_THREAD_ANNOTATION(acquire_capability()) { mu_.lock(); }
  void Unlock() FARM_THREAD_ANNOTATION(release_capability()) { mu_.unlock(); }

 private:
  friend class MutexLock;
  std::mutex mu_;
};

// Holds a Mutex for a scope; waits on conditions of the state it guards.
class FARM_THREAD_ANNOTATION(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mu) FARM_THREAD_ANNOTATION(acquire_capability(mu)) : lock_(mu.mu_) {}
  ~MutexLock() FARM_THREAD_ANNOTATION(release_capability()) {}
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

  void Wait(std::condition_variable& changed) { changed.wait(lock_); }
  // False if `timeout` passed first. Wakes may be spurious: check the condition in a loop.
  bool WaitFor(std::condition_variable& changed, absl::Duration timeout) {
#if defined(__SANITIZE_THREAD__)
    // By the clock of the system: GCC 12's ThreadSanitizer sees no wait by the steady one, takes
    // the lock for held, and what it guards for unguarded.
    const auto most = absl::ToChronoNanoseconds(std::min(timeout, absl::Hours(24)));
    return changed.wait_until(lock_, std::chrono::system_clock::now() + most) ==
           std::cv_status::no_timeout;
#else
    return changed.wait_for(lock_, absl::ToChronoNanoseconds(timeout)) ==
           std::cv_status::no_timeout;
#endif
  }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace farm

#endif  // FARM_BASE_MUTEX_H_
