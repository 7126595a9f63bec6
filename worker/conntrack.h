#ifndef FARM_WORKER_CONNTRACK_H_
#define FARM_WORKER_CONNTRACK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace farm {

// Makes the kernel forget the connections that began at `sources`, IPv4 addresses in the host's
// byte order: what their other ends still send reaches nobody. In the network namespace of the
// calling thread. Looks at all connections of the host once. Fails if the kernel has no connection
// tracking, or does not let it be changed.
absl::Status ForgetConnectionsOf(absl::Span<const uint32_t> sources);

}  // namespace farm

#endif  // FARM_WORKER_CONNTRACK_H_
