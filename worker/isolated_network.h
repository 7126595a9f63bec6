#ifndef FARM_WORKER_ISOLATED_NETWORK_H_
#define FARM_WORKER_ISOLATED_NETWORK_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "worker/ipv4_network.h"
#include "worker/network_filter.h"
#include "worker/network_remover.h"
#include "worker/resolv_conf.h"
#include "worker/route_netlink.h"

namespace farm {

class SandboxNetwork;

// Networks for sandboxes that reach the outside, and neither the host, nor each other, nor the farm
// (NetworkFilter has the rules). Each is a network namespace with an interface "eth0", whose other
// end is on the host, and a route by that. IPv4 only: there the host's address stands for all.
//
// Nothing of it outlives the process: the kernel takes the namespaces and the rules when their last
// descriptor is closed, and interfaces go with their namespace. Safe for concurrent calls, from
// threads that are in the network namespace that Create() was called in.
class IsolatedNetwork {
 public:
  struct Options {
    // Names the nftables table and, by its end, the interfaces; one worker's alone on this host:
    // "farm-worker-1a2b3c4d".
    std::string owner;
    // Two addresses of it are used for each network. Unset (prefix_bits 0): the first /20 of a few
    // private blocks that no route of the host names and no other worker has.
    Ipv4Network subnet{};
    int networks_max = 0;               // at once; the subnet must have room for them
    std::vector<uint32_t> resolvers{};  // for DNS; none: the host's
    bool deny_private_networks = false;
    std::vector<Ipv4Network> allowed_networks{};
    // "HOST:PORT" of the coordinator, which sandboxes shall not reach; "" if it has none.
    std::string coordinator;
  };

  // Loads the rules, makes one network and sees that its packets get out.
  //   FAILED_PRECONDITION  this host can't, or does not let us: the message says what is missing
  static absl::StatusOr<std::unique_ptr<IsolatedNetwork>> Create(Options options);
  ~IsolatedNetwork();

  // A new network, which must go before this object does. Waits for one that has just ended if
  // those that are there take all numbers.
  //   RESOURCE_EXHAUSTED  `networks_max` are in use
  absl::StatusOr<std::unique_ptr<SandboxNetwork>> Make();

  // resolv.conf for a step that starts now. Also brings the rules up to date with the host's
  // resolvers and with what the coordinator's name stands for.
  //   UNAVAILABLE  the coordinator's name has not been resolved yet
  absl::StatusOr<std::string> ResolvConf();

  const Ipv4Network& subnet() const { return options_.subnet; }

 private:
  friend class SandboxNetwork;

  IsolatedNetwork(Options options, UniqueFd subnet_claim, RouteNetlink host,
                  RouteNetlink host_of_remover, NetworkFilter filter);

  std::string LinkName(int number) const;
  absl::Status CheckPacketsGetOut();
  absl::StatusOr<std::unique_ptr<SandboxNetwork>> MakeNumber(int number);
  absl::Status WaitUntilOperational(const std::string& link);
  void OnRemoved(int number, const absl::Status& status);
  absl::Status ResolveCoordinator() FARM_REQUIRES(peers_mu_);

  const Options options_;
  const std::string link_prefix_;
  const UniqueFd subnet_claim_;
  uint32_t mtu_bytes_ = 0;
  bool has_default_route_ = false;

  Mutex mu_;
  std::condition_variable changed_;
  RouteNetlink host_ FARM_GUARDED_BY(mu_);
  std::deque<int> free_ FARM_GUARDED_BY(mu_);  // Least recently used first.
  int ended_ FARM_GUARDED_BY(mu_) = 0;         // Those that the remover has.

  Mutex peers_mu_;
  NetworkFilter filter_ FARM_GUARDED_BY(peers_mu_);
  std::vector<uint32_t> loaded_resolvers_ FARM_GUARDED_BY(peers_mu_);
  std::vector<NetworkFilter::Endpoint> loaded_endpoints_ FARM_GUARDED_BY(peers_mu_);
  std::vector<NetworkFilter::Endpoint> endpoints_ FARM_GUARDED_BY(peers_mu_);
  absl::Time resolved_at_ FARM_GUARDED_BY(peers_mu_) = absl::InfinitePast();

  NetworkRemover remover_;  // Last: it ends first.
};

// One of them. When it goes nothing may run in it any more; soon after its interfaces go, and
// whatever connections it had are forgotten.
class SandboxNetwork {
 public:
  ~SandboxNetwork();
  SandboxNetwork(const SandboxNetwork&) = delete;
  SandboxNetwork& operator=(const SandboxNetwork&) = delete;

  int namespace_fd() const { return namespace_fd_.get(); }
  uint32_t address() const { return address_; }

 private:
  friend class IsolatedNetwork;
  SandboxNetwork(IsolatedNetwork& owner, int number, uint32_t address, UniqueFd namespace_fd)
      : owner_(owner), number_(number), address_(address), namespace_fd_(std::move(namespace_fd)) {}

  IsolatedNetwork& owner_;
  const int number_;
  const uint32_t address_;
  UniqueFd namespace_fd_;
};

}  // namespace farm

#endif  // FARM_WORKER_ISOLATED_NETWORK_H_
