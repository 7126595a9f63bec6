#ifndef FARM_BASE_TESTING_SANITIZERS_H_
#define FARM_BASE_TESTING_SANITIZERS_H_

namespace farm {

// A process that was forked while it had threads can start none under ThreadSanitizer.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kIsThreadSanitized = true;
#else
inline constexpr bool kIsThreadSanitized = false;
#endif
inline constexpr char kForkedHasNoThreads[] = "ThreadSanitizer allows no threads after a fork";

}  // namespace farm

#endif  // FARM_BASE_TESTING_SANITIZERS_H_
