// Where a request that a stranger wrote may go: a Dockerfile's ADD must not reach what only this
// host can (server-side request forgery).
#ifndef FARM_OCI_ADDRESS_POLICY_H_
#define FARM_OCI_ADDRESS_POLICY_H_

#include <sys/socket.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace farm {

struct AddressPolicy {
  bool loopback_allowed = false;  // and this host's other addresses
};

// PERMISSION_DENIED for an address that nobody may be led to: link-local ones (169.254.0.0/16,
// fe80::/10: a cloud's metadata is there), the metadata addresses that clouds have elsewhere,
// unspecified, multicast and reserved ones; and, unless it is allowed, loopback and what else an
// interface of this host has as its address: what listens there is as near. IPv6 forms that carry
// an IPv4 address count as that. Private networks are allowed: package mirrors live there.
absl::Status CheckAddress(const sockaddr* address, const AddressPolicy& policy);

// The same for a host as it stands in a URL, if it is an address or "localhost"; OK for other
// names, whose addresses must be checked as they are connected to.
absl::Status CheckHost(absl::string_view host, const AddressPolicy& policy);

}  // namespace farm

#endif  // FARM_OCI_ADDRESS_POLICY_H_
