#ifndef FARM_WORKER_CONNTRACK_H_
#define FARM_WORKER_CONNTRACK_H_

#include <cstdint>

#include "absl/status/status.h"

namespace farm {

// Makes the kernel forget the connections that began at `source`, an IPv4 address in the host's
// byte order: what their other ends still send reaches nobody. In the network namespace of the
// calling thread. Fails if the kernel has no connection tracking, or does not let it be changed.
absl::Status ForgetConnectionsOf(uint32_t source);

}  // namespace farm

#endif  // FARM_WORKER_CONNTRACK_H_
