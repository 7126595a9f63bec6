// Assertions for programmer errors: they stop the program with file, line and values. Never used on
// bytes from disk, network or a person; those get an absl::Status.
#ifndef FARM_BASE_CHECK_H_
#define FARM_BASE_CHECK_H_

#include <sstream>

namespace farm::check_internal {

// Prints the message and aborts in its destructor.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();

  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace farm::check_internal

#define FARM_CHECK(condition)                                 \
  if (__builtin_expect(static_cast<bool>(condition), true)) { \
  } else /* NOLINT */                                         \
    ::farm::check_internal::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define FARM_CHECK_OP(a, op, b) FARM_CHECK((a)op(b)) << " (" << (a) << " vs " << (b) << ") "
#define FARM_CHECK_EQ(a, b) FARM_CHECK_OP(a, ==, b)
#define FARM_CHECK_NE(a, b) FARM_CHECK_OP(a, !=, b)
#define FARM_CHECK_LE(a, b) FARM_CHECK_OP(a, <=, b)
#define FARM_CHECK_LT(a, b) FARM_CHECK_OP(a, <, b)
#define FARM_CHECK_GE(a, b) FARM_CHECK_OP(a, >=, b)
#define FARM_CHECK_OK(expr)                                              \
  if (absl::Status farm_check_status = (expr); farm_check_status.ok()) { \
  } else /* NOLINT */                                                    \
    ::farm::check_internal::CheckFailure(__FILE__, __LINE__, #expr).stream() << farm_check_status

#endif  // FARM_BASE_CHECK_H_
