#ifndef FARM_BASE_TESTING_FAKE_CLOCK_H_
#define FARM_BASE_TESTING_FAKE_CLOCK_H_

#include "base/clock.h"
#include "base/mutex.h"

namespace farm {

// Stands still until Advance() is called.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(absl::Time now = absl::FromUnixSeconds(1'700'000'000)) : now_(now) {}

  absl::Time Now() override {
    MutexLock lock(mu_);
    return now_;
  }
  void Advance(absl::Duration by) {
    MutexLock lock(mu_);
    now_ += by;
  }

 private:
  Mutex mu_;
  absl::Time now_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_BASE_TESTING_FAKE_CLOCK_H_
