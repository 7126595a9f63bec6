// Early returns for absl::Status and absl::StatusOr, with context.
//
//   RETURN_IF_ERROR(dir.Sync()) << "blob store " << path;
//   ASSIGN_OR_RETURN(Manifest manifest, registry.Fetch(ref), _ << "base image of stage " << name);
//
// Context is put before the message ("context: message"); code and payloads stay. Each return also
// appends its C++ file:line to the status' trail (a payload that logs print and users don't see).
#ifndef FARM_BASE_STATUS_MACROS_H_
#define FARM_BASE_STATUS_MACROS_H_

#include <sstream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace farm {

// Payload URL of the trail: "file:line" entries, innermost first, separated by spaces.
inline constexpr char kTrailPayload[] = "farm/trail";

// Carries an error to the caller; streams into it become a prefix of the message.
class StatusBuilder {
 public:
  StatusBuilder(absl::Status status, const char* file, int line);

  template <typename T>
  StatusBuilder& operator<<(const T& value) {
    context_ << value;
    return *this;
  }

  operator absl::Status() const;  // NOLINT: the macros rely on the conversion.
  template <typename T>
  operator absl::StatusOr<T>() const {  // NOLINT
    return static_cast<absl::Status>(*this);
  }

 private:
  absl::Status status_;
  std::ostringstream context_;
};

// The trail of `status`, "" if it has none.
std::string Trail(const absl::Status& status);

// `status` with "context: " before its message; code and payloads stay.
absl::Status Annotate(const absl::Status& status, absl::string_view context);

// `status` with `more` after its message; code and payloads stay.
absl::Status Extend(const absl::Status& status, absl::string_view more);

}  // namespace farm

#define RETURN_IF_ERROR(expr)                                \
  if (absl::Status farm_status = (expr); farm_status.ok()) { \
  } else /* NOLINT */                                        \
    return ::farm::StatusBuilder(std::move(farm_status), __FILE__, __LINE__)

#define FARM_MACRO_CONCAT_INNER(x, y) x##y
#define FARM_MACRO_CONCAT(x, y) FARM_MACRO_CONCAT_INNER(x, y)

#define ASSIGN_OR_RETURN(...)                                                                 \
  FARM_ASSIGN_OR_RETURN_PICK((__VA_ARGS__, FARM_ASSIGN_OR_RETURN_3, FARM_ASSIGN_OR_RETURN_2)) \
  (__VA_ARGS__)
#define FARM_ASSIGN_OR_RETURN_PICK(args) FARM_ASSIGN_OR_RETURN_PICK_INNER args
#define FARM_ASSIGN_OR_RETURN_PICK_INNER(_1, _2, _3, NAME, ...) NAME
#define FARM_ASSIGN_OR_RETURN_2(lhs, rexpr) \
  FARM_ASSIGN_OR_RETURN_IMPL(FARM_MACRO_CONCAT(farm_status_or_, __LINE__), lhs, rexpr, _)
#define FARM_ASSIGN_OR_RETURN_3(lhs, rexpr, error_expr) \
  FARM_ASSIGN_OR_RETURN_IMPL(FARM_MACRO_CONCAT(farm_status_or_, __LINE__), lhs, rexpr, error_expr)
#define FARM_ASSIGN_OR_RETURN_IMPL(statusor, lhs, rexpr, error_expr)           \
  auto statusor = (rexpr);                                                     \
  if (!statusor.ok()) {                                                        \
    ::farm::StatusBuilder _(std::move(statusor).status(), __FILE__, __LINE__); \
    return (error_expr);                                                       \
  }                                                                            \
  lhs = std::move(statusor).value()

#endif  // FARM_BASE_STATUS_MACROS_H_
