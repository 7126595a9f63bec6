// Time as an argument, so that tests can turn it by hand.
#ifndef FARM_BASE_CLOCK_H_
#define FARM_BASE_CLOCK_H_

#include "absl/time/time.h"

namespace farm {

// Safe for concurrent calls.
class Clock {
 public:
  virtual ~Clock() = default;

  // Wall time; within one process it never goes back.
  virtual absl::Time Now() = 0;
};

// The system's clock, held back where the system steps backwards.
class SystemClock final : public Clock {
 public:
  absl::Time Now() override;
};

}  // namespace farm

#endif  // FARM_BASE_CLOCK_H_
