#include "base/clock.h"

#include <atomic>

#include "absl/time/clock.h"

namespace farm {

absl::Time SystemClock::Now() {
  static std::atomic<int64_t> latest_ns{0};
  const int64_t now_ns = absl::ToUnixNanos(absl::Now());
  int64_t latest = latest_ns.load(std::memory_order_relaxed);
  while (now_ns > latest && !latest_ns.compare_exchange_weak(latest, now_ns)) {
  }
  return absl::FromUnixNanos(now_ns > latest ? now_ns : latest);
}

}  // namespace farm
