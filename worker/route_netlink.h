#ifndef FARM_WORKER_ROUTE_NETLINK_H_
#define FARM_WORKER_ROUTE_NETLINK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/ipv4_network.h"

struct mnl_socket;
struct nlmsghdr;

namespace farm {

// The group of interfaces that are about to be deleted, of all workers of a host.
inline constexpr uint32_t kEndedLinkGroup = 0x6661726d;  // "farm"

// Links, addresses and routes of one network namespace, by rtnetlink(7). Not safe for concurrent
// calls. Every call may fail as the kernel does, under the code of ErrnoStatus().
class RouteNetlink {
 public:
  // Of the network namespace that the calling thread is in now; it stays that one.
  static absl::StatusOr<RouteNetlink> Open();

  // Two connected interfaces, both down: `name` here and `peer` in the network namespace of the
  // descriptor.
  struct VethPair {
    std::string name;
    std::string peer;
    int peer_namespace_fd = -1;
    uint32_t mtu_bytes = 0;
  };
  absl::Status AddVethPair(const VethPair& pair);
  absl::Status SetUp(const std::string& link);
  // Whether what is sent by it gets anywhere: of two ends the one that was set up first drops all
  // for a moment after the other was.
  absl::StatusOr<bool> IsOperational(const std::string& link);
  // Its other end goes, too. NOT_FOUND if there is none (any more).
  absl::Status DeleteLink(const std::string& link);
  // The group that an interface is in; 0 until then.
  absl::Status SetGroup(const std::string& link, uint32_t group);
  // All of a group and their other ends, in the time that one takes. NOT_FOUND if it is empty.
  absl::Status DeleteGroup(uint32_t group);

  absl::Status AddAddress(const std::string& link, uint32_t address, int prefix_bits);
  absl::Status AddDefaultRoute(uint32_t gateway);

  // All IPv4 routes, of every table; `link` is the index of the interface, 0 if it has none.
  struct Route {
    Ipv4Network destination;
    uint32_t link = 0;
  };
  absl::StatusOr<std::vector<Route>> Routes();

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit RouteNetlink(mnl_socket* socket) : socket_(socket) {}

  struct Link {
    uint32_t index = 0;
    bool operational = false;
  };
  // NOT_FOUND if there is no such interface in this socket's namespace.
  absl::StatusOr<Link> Find(const std::string& link);

  std::unique_ptr<mnl_socket, Close> socket_;
};

}  // namespace farm

#endif  // FARM_WORKER_ROUTE_NETLINK_H_
