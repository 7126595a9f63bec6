// GoogleMock matchers for absl::Status and absl::StatusOr.
//
//   EXPECT_OK(store.Put(digest, source));
//   ASSERT_OK_AND_ASSIGN(Digest digest, Digest::FromHex(hex, 3));
//   EXPECT_THAT(store.Get(digest), StatusIs(absl::StatusCode::kNotFound, HasSubstr("abc")));
//   EXPECT_THAT(Parse("3"), IsOkAndHolds(3));
#ifndef FARM_BASE_TESTING_STATUS_MATCHERS_H_
#define FARM_BASE_TESTING_STATUS_MATCHERS_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace farm {
namespace status_matchers_internal {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

}  // namespace status_matchers_internal

MATCHER(IsOk, "is OK") {
  *result_listener << status_matchers_internal::GetStatus(arg).ToString();
  return status_matchers_internal::GetStatus(arg).ok();
}

MATCHER_P(StatusIs, code, "has code " + absl::StatusCodeToString(code)) {
  const absl::Status& status = status_matchers_internal::GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code;
}

MATCHER_P2(StatusIs, code, message, "has code " + absl::StatusCodeToString(code)) {
  const absl::Status& status = status_matchers_internal::GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         ::testing::ExplainMatchResult(message, std::string(status.message()), result_listener);
}

MATCHER_P(IsOkAndHolds, inner, "is OK and holds the value") {
  if (!arg.ok()) {
    *result_listener << arg.status().ToString();
    return false;
  }
  return ::testing::ExplainMatchResult(inner, *arg, result_listener);
}

}  // namespace farm

#define EXPECT_OK(expr) EXPECT_THAT(expr, ::farm::IsOk())
#define ASSERT_OK(expr) ASSERT_THAT(expr, ::farm::IsOk())
#define FARM_TEST_CONCAT_INNER(x, y) x##y
#define FARM_TEST_CONCAT(x, y) FARM_TEST_CONCAT_INNER(x, y)
#define ASSERT_OK_AND_ASSIGN(lhs, rexpr) \
  FARM_ASSERT_OK_AND_ASSIGN_IMPL(FARM_TEST_CONCAT(farm_test_status_, __LINE__), lhs, rexpr)
#define FARM_ASSERT_OK_AND_ASSIGN_IMPL(statusor, lhs, rexpr) \
  auto statusor = (rexpr);                                   \
  ASSERT_TRUE(statusor.ok()) << statusor.status();           \
  lhs = std::move(statusor).value()

#endif  // FARM_BASE_TESTING_STATUS_MATCHERS_H_
