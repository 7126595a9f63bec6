#ifndef FARM_BASE_RETRIED_ERROR_H_
#define FARM_BASE_RETRIED_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace farm {

// Payload of an error that came after all attempts that are to be made.
inline constexpr char kRetriedPayload[] = "farm/retried";

// Says so of `status`: whoever gets it passes it on, and does not try again at once. It crosses the
// wire (rpc/status.h). OK stays OK.
inline absl::Status AsRetried(absl::Status status) {
  status.SetPayload(kRetriedPayload, absl::Cord());
  return status;
}

inline bool WasRetried(const absl::Status& status) {
  return status.GetPayload(kRetriedPayload).has_value();
}

}  // namespace farm

#endif  // FARM_BASE_RETRIED_ERROR_H_
