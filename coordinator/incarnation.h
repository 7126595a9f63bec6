#ifndef FARM_COORDINATOR_INCARNATION_H_
#define FARM_COORDINATOR_INCARNATION_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "cas/index.h"

namespace farm {

// The first half of the epoch of each lease: one more at each start of a coordinator on `index`,
// durably. A new index begins with the time, in milliseconds, so that the epochs of an index that
// was removed do not come again: workers may still hold leases under them. DATA_LOSS if the index
// has something else in its place.
absl::StatusOr<int64_t> NextIncarnation(Index& index, Clock& clock);

}  // namespace farm

#endif  // FARM_COORDINATOR_INCARNATION_H_
