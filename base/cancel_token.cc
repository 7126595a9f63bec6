#include "base/cancel_token.h"

#include <utility>

#include "absl/time/clock.h"

namespace farm {

void CancelToken::Cancel() {
  while (true) {
    std::function<void()> fn;
    {
      MutexLock lock(mu_);
      cancelled_ = true;
      changed_.notify_all();
      if (running_id_ != 0 || callbacks_.empty()) return;
      auto first = callbacks_.begin();
      running_id_ = first->first;
      fn = std::move(first->second);
      callbacks_.erase(first);
    }
    fn();
    MutexLock lock(mu_);
    running_id_ = 0;
    changed_.notify_all();
  }
}

bool CancelToken::cancelled() const {
  MutexLock lock(mu_);
  return cancelled_;
}

bool CancelToken::WaitFor(absl::Duration timeout) const {
  const absl::Time deadline = absl::Now() + timeout;
  MutexLock lock(mu_);
  while (!cancelled_) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    lock.WaitFor(changed_, left);
  }
  return true;
}

CancelToken::Callback::Callback(CancelToken& token, std::function<void()> fn) : token_(token) {
  {
    MutexLock lock(token_.mu_);
    if (!token_.cancelled_) {
      id_ = token_.next_id_++;
      token_.callbacks_.emplace(id_, std::move(fn));
      return;
    }
  }
  fn();
}

CancelToken::Callback::~Callback() {
  MutexLock lock(token_.mu_);
  if (id_ == 0) return;
  token_.callbacks_.erase(id_);
  while (token_.running_id_ == id_) lock.Wait(token_.changed_);
}

}  // namespace farm
