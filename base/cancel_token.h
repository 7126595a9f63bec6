#ifndef FARM_BASE_CANCEL_TOKEN_H_
#define FARM_BASE_CANCEL_TOKEN_H_

#include <condition_variable>
#include <functional>
#include <map>

#include "absl/time/time.h"
#include "base/mutex.h"

namespace farm {

// The wish to stop something, asked for once from any thread. Safe for concurrent calls.
class CancelToken {
 public:
  CancelToken() = default;
  CancelToken(const CancelToken&) = delete;
  CancelToken& operator=(const CancelToken&) = delete;

  void Cancel();
  bool cancelled() const;
  // True if cancelled before `timeout` passed.
  bool WaitFor(absl::Duration timeout) const;

  // Runs a callback at Cancel() (at once if that has been), on the cancelling thread and under no
  // lock of the token. Destroying it takes the callback back, and waits while it is running.
  class Callback {
   public:
    Callback(CancelToken& token, std::function<void()> fn);
    ~Callback();
    Callback(const Callback&) = delete;
    Callback& operator=(const Callback&) = delete;

   private:
    CancelToken& token_;
    int id_ = 0;
  };

 private:
  mutable Mutex mu_;
  mutable std::condition_variable changed_;
  bool cancelled_ FARM_GUARDED_BY(mu_) = false;
  int running_id_ FARM_GUARDED_BY(mu_) = 0;  // Callback under way, 0 if none.
  int next_id_ FARM_GUARDED_BY(mu_) = 1;
  std::map<int, std::function<void()>> callbacks_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_BASE_CANCEL_TOKEN_H_
