#ifndef FARM_WORKER_RESOLV_CONF_H_
#define FARM_WORKER_RESOLV_CONF_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

// resolv.conf(5) of a sandbox with a network of its own, and the resolvers that it names.
struct SandboxResolvConf {
  std::string text;
  std::vector<uint32_t> resolvers;  // IPv4 addresses in the host's byte order.

  bool operator==(const SandboxResolvConf&) const = default;
};

// `host` is the text of the host's resolv.conf. Its search domains and options stay; its resolvers
// do, if a sandbox can reach them: those on the host's loopback, and by IPv6, it cannot. If none is
// left, they are those of `upstream`, systemd-resolved's own list of what it asks. `configured`
// ones go before all of them.
SandboxResolvConf MakeSandboxResolvConf(absl::string_view host, absl::string_view upstream,
                                        const std::vector<uint32_t>& configured);

// The same from this host's files.
SandboxResolvConf ReadSandboxResolvConf(const std::vector<uint32_t>& configured);

}  // namespace farm

#endif  // FARM_WORKER_RESOLV_CONF_H_
