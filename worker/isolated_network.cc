#include "worker/isolated_network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "worker/conntrack.h"

namespace farm {
namespace {

// What default subnets are cut from: private, and seldom used (not Docker's, Kubernetes', libvirt's
// or a cloud's own choice).
constexpr const char* kDefaultBlocks[] = {"10.87.0.0/16", "10.213.0.0/16", "192.168.192.0/18"};
constexpr int kDefaultPrefixBits = 20;
constexpr char kSandboxLink[] = "eth0";
constexpr int kLinkPrefixBits = 31;  // RFC 3021: the host's end and the sandbox's.
constexpr uint32_t kDefaultMtuBytes = 1500;
// The kernel looks after changed links once a second, if not at once.
constexpr absl::Duration kLinkTimeout = absl::Seconds(5);
constexpr absl::Duration kLinkInterval = absl::Milliseconds(1);
constexpr absl::Duration kProbeTimeout = absl::Seconds(1);
constexpr absl::Duration kProbeInterval = absl::Milliseconds(5);
constexpr absl::Duration kResolveAgainAfter = absl::Minutes(1);

// "farm" and seven digits of the owner's name: with a number of four, all that fits into a name.
std::string LinkPrefix(absl::string_view owner) {
  constexpr size_t kDigits = 7;
  return absl::StrCat("farm", owner.substr(owner.size() - std::min(owner.size(), kDigits)));
}

// On a thread of its own, whose namespaces are its own.
absl::Status OnThread(const std::function<absl::Status()>& run) {
  absl::Status status;
  std::thread([&] { status = run(); }).join();
  return status;
}

absl::Status WriteSetting(const std::string& path, absl::string_view value) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid() || write(fd.get(), value.data(), value.size()) < 0) {
    return ErrnoStatus(errno, path);
  }
  return absl::OkStatus();
}

// OK where the kernel has no IPv6 at all.
absl::Status DisableIpv6(absl::string_view which) {
  const absl::Status written =
      WriteSetting(absl::StrCat("/proc/sys/net/ipv6/conf/", which, "/disable_ipv6"), "1");
  return absl::IsNotFound(written) ? absl::OkStatus() : written;
}

uint32_t MtuOf(uint32_t link) {
  ifreq request{};
  const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (link == 0 || if_indextoname(link, request.ifr_name) == nullptr || !fd.valid() ||
      ioctl(fd.get(), SIOCGIFMTU, &request) != 0) {
    return kDefaultMtuBytes;
  }
  return static_cast<uint32_t>(request.ifr_mtu);
}

std::vector<Ipv4Network> DefaultSubnets() {
  std::vector<Ipv4Network> subnets;
  for (const char* text : kDefaultBlocks) {
    const Ipv4Network block = *ParseIpv4Network(text);
    for (uint32_t i = 0; i < 1u << (kDefaultPrefixBits - block.prefix_bits); ++i) {
      subnets.push_back({.address = block.address + (i << (32 - kDefaultPrefixBits)),
                         .prefix_bits = kDefaultPrefixBits});
    }
  }
  return subnets;
}

// A name that one process at a time can have in this network namespace, however it ends: an
// abstract unix socket's.
std::optional<UniqueFd> ClaimSubnet(const Ipv4Network& subnet) {
  const std::string name = absl::StrCat("farm-subnet-", subnet.ToString());
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path + 1, name.data(), name.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (!fd.valid() || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return std::nullopt;
  }
  return fd;
}

// Why the host can't have its sandboxes in `subnet`; "" if it can.
std::string Conflict(const Ipv4Network& subnet, const std::vector<RouteNetlink::Route>& routes,
                     const std::vector<uint32_t>& resolvers) {
  for (const RouteNetlink::Route& route : routes) {
    if (route.destination.prefix_bits > 0 && route.destination.Overlaps(subnet)) {
      return absl::StrCat(subnet.ToString(), " overlaps the host's route to ",
                          route.destination.ToString());
    }
  }
  for (const uint32_t resolver : resolvers) {
    if (Ipv4Network{.address = resolver, .prefix_bits = 32}.Overlaps(subnet)) {
      return absl::StrCat(subnet.ToString(), " has the resolver ", Ipv4AddressText(resolver));
    }
  }
  return "";
}

// Sets `subnet` if it is unset, and claims it for `networks_max` networks.
absl::StatusOr<UniqueFd> ChooseSubnet(const std::vector<RouteNetlink::Route>& routes,
                                      const std::vector<uint32_t>& resolvers, int networks_max,
                                      Ipv4Network& subnet) {
  std::vector<Ipv4Network> candidates = {subnet};
  if (subnet.prefix_bits == 0) {
    candidates = DefaultSubnets();
  }
  std::string conflict;
  for (const Ipv4Network& candidate : candidates) {
    conflict = Conflict(candidate, routes, resolvers);
    const int64_t room = int64_t{1} << (kLinkPrefixBits - candidate.prefix_bits);
    if (room < networks_max) {
      conflict =
          absl::StrCat(candidate.ToString(), " has room for ", room, " networks of ", networks_max);
    }
    if (!conflict.empty()) continue;
    if (std::optional<UniqueFd> claim = ClaimSubnet(candidate)) {
      subnet = candidate;
      return std::move(*claim);
    }
    conflict = absl::StrCat(candidate.ToString(), " is another worker's on this host");
  }
  return absl::FailedPreconditionError(
      absl::StrCat(conflict, ": set isolated_network.subnet to a private one that is unused"));
}

absl::Status CheckForwarding() {
  const std::string forward = ReadFile("/proc/sys/net/ipv4/ip_forward", 16).value_or("");
  if (!absl::StartsWith(forward, "0")) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the host forwards no packets: sysctl -w net.ipv4.ip_forward=1");
}

// The kernel removes the interfaces of a worker that was killed, but takes its time.
absl::Status RemoveLeftovers(const std::string& link_prefix, RouteNetlink& netlink) {
  struct if_nameindex* const links = if_nameindex();
  if (links == nullptr) return ErrnoStatus(errno, "interfaces");
  absl::Status status;
  for (const struct if_nameindex* link = links; link->if_name != nullptr; ++link) {
    if (!absl::StartsWith(link->if_name, link_prefix)) continue;
    const absl::Status deleted = netlink.DeleteLink(link->if_name);
    if (!absl::IsNotFound(deleted)) status.Update(deleted);
  }
  if_freenameindex(links);
  return status;
}

// The same status as FAILED_PRECONDITION.
absl::Status AsPrecondition(const absl::Status& status) {
  if (status.ok()) return status;
  return absl::FailedPreconditionError(status.message());
}

}  // namespace

absl::StatusOr<std::unique_ptr<IsolatedNetwork>> IsolatedNetwork::Create(Options options) {
  RETURN_IF_ERROR(CheckForwarding());
  absl::StatusOr<RouteNetlink> netlink = RouteNetlink::Open();
  if (!netlink.ok()) return AsPrecondition(netlink.status());
  RETURN_IF_ERROR(AsPrecondition(RemoveLeftovers(LinkPrefix(options.owner), *netlink)));
  absl::StatusOr<RouteNetlink> netlink_of_remover = RouteNetlink::Open();
  if (!netlink_of_remover.ok()) return AsPrecondition(netlink_of_remover.status());
  const auto routes = netlink->Routes();
  if (!routes.ok()) return AsPrecondition(routes.status());
  const SandboxResolvConf resolv_conf = ReadSandboxResolvConf(options.resolvers);
  ASSIGN_OR_RETURN(UniqueFd claim, ChooseSubnet(*routes, resolv_conf.resolvers,
                                                options.networks_max, options.subnet));
  ASSIGN_OR_RETURN(NetworkFilter filter,
                   NetworkFilter::Load({.table = options.owner,
                                        .interface_prefix = LinkPrefix(options.owner),
                                        .subnet = options.subnet,
                                        .deny_private_networks = options.deny_private_networks,
                                        .allowed_networks = options.allowed_networks}));
  auto network = std::unique_ptr<IsolatedNetwork>(
      new IsolatedNetwork(std::move(options), std::move(claim), *std::move(netlink),
                          *std::move(netlink_of_remover), std::move(filter)));
  for (const RouteNetlink::Route& route : *routes) {
    if (route.destination.prefix_bits > 0 || route.link == 0) continue;
    network->has_default_route_ = true;
    network->mtu_bytes_ = MtuOf(route.link);
  }
  RETURN_IF_ERROR(AsPrecondition(network->CheckPacketsGetOut()));
  if (resolv_conf.resolvers.empty()) {
    LogWarning("no DNS resolver that sandboxes could reach: set isolated_network.dns",
               {{"file", "/etc/resolv.conf"}});
  }
  return network;
}

IsolatedNetwork::IsolatedNetwork(Options options, UniqueFd subnet_claim, RouteNetlink host,
                                 RouteNetlink host_of_remover, NetworkFilter filter)
    : options_(std::move(options)),
      link_prefix_(LinkPrefix(options_.owner)),
      subnet_claim_(std::move(subnet_claim)),
      mtu_bytes_(kDefaultMtuBytes),
      host_(std::move(host)),
      filter_(std::move(filter)),
      remover_(std::move(host_of_remover),
               [this](int number, const absl::Status& status) { OnRemoved(number, status); }) {
  for (int number = 0; number < options_.networks_max; ++number) free_.push_back(number);
}

IsolatedNetwork::~IsolatedNetwork() = default;

std::string IsolatedNetwork::LinkName(int number) const {
  return absl::StrFormat("%s%04x", link_prefix_, number);
}

absl::Status IsolatedNetwork::CheckPacketsGetOut() {
  ASSIGN_OR_RETURN(const std::unique_ptr<SandboxNetwork> network, Make());
  RETURN_IF_ERROR(ForgetConnectionsOf({network->address()}));  // What each step's end needs.
  if (!has_default_route_) return absl::OkStatus();            // Nothing to try it with.
  RETURN_IF_ERROR(OnThread([&]() -> absl::Status {
    if (setns(network->namespace_fd(), CLONE_NEWNET) != 0) return ErrnoStatus(errno, "setns");
    const UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(NetworkFilter::kProbePort);
    address.sin_addr.s_addr = htonl(NetworkFilter::kProbeAddress);
    if (sendto(fd.get(), "", 0, 0, reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0) {
      return ErrnoStatus(errno, "sending a packet");
    }
    return absl::OkStatus();
  }));
  MutexLock lock(peers_mu_);
  for (const absl::Time give_up = absl::Now() + kProbeTimeout; absl::Now() < give_up;) {
    ASSIGN_OR_RETURN(const int64_t seen, filter_.ProbesSeen());
    if (seen > 0) return absl::OkStatus();
    absl::SleepFor(kProbeInterval);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the host's firewall drops what sandboxes send (Docker's engine makes it so): "
                   "let it forward for the interfaces ",
                   link_prefix_, "*, see docs/sandbox.md"));
}

absl::StatusOr<std::unique_ptr<SandboxNetwork>> IsolatedNetwork::Make() {
  int number = 0;
  {
    MutexLock lock(mu_);
    while (free_.empty() && ended_ > 0) lock.Wait(changed_);
    if (free_.empty()) {
      return absl::ResourceExhaustedError(
          absl::StrCat(options_.networks_max, " networks for sandboxes are in use"));
    }
    number = free_.front();
    free_.pop_front();
  }
  return MakeNumber(number);
}

absl::StatusOr<std::unique_ptr<SandboxNetwork>> IsolatedNetwork::MakeNumber(int number) {
  const uint32_t host_address = options_.subnet.address + 2 * static_cast<uint32_t>(number);
  const uint32_t address = host_address + 1;
  UniqueFd namespace_fd;
  std::optional<RouteNetlink> inside;
  const absl::Status made = OnThread([&]() -> absl::Status {
    if (unshare(CLONE_NEWNET) != 0) return ErrnoStatus(errno, "new network namespace");
    namespace_fd.Reset(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    if (!namespace_fd.valid()) return ErrnoStatus(errno, "network namespace");
    // Of what comes later; loopback keeps its ::1.
    RETURN_IF_ERROR(DisableIpv6("default"));
    ASSIGN_OR_RETURN(inside, RouteNetlink::Open());
    return absl::OkStatus();
  });
  auto network = std::unique_ptr<SandboxNetwork>(
      new SandboxNetwork(*this, number, address, std::move(namespace_fd)));
  RETURN_IF_ERROR(made);

  const std::string link = LinkName(number);
  {
    MutexLock lock(mu_);
    RETURN_IF_ERROR(host_.AddVethPair({.name = link,
                                       .peer = kSandboxLink,
                                       .peer_namespace_fd = network->namespace_fd(),
                                       .mtu_bytes = mtu_bytes_}));
    RETURN_IF_ERROR(DisableIpv6(link));
    RETURN_IF_ERROR(
        WriteSetting(absl::StrCat("/proc/sys/net/ipv4/conf/", link, "/forwarding"), "1"));
    RETURN_IF_ERROR(host_.AddAddress(link, host_address, kLinkPrefixBits));
    RETURN_IF_ERROR(host_.SetUp(link));
  }
  RETURN_IF_ERROR(inside->SetUp("lo"));
  RETURN_IF_ERROR(inside->AddAddress(kSandboxLink, address, kLinkPrefixBits));
  RETURN_IF_ERROR(inside->SetUp(kSandboxLink));
  RETURN_IF_ERROR(inside->AddDefaultRoute(host_address));
  RETURN_IF_ERROR(WaitUntilOperational(link));
  return network;
}

absl::Status IsolatedNetwork::WaitUntilOperational(const std::string& link) {
  for (const absl::Time give_up = absl::Now() + kLinkTimeout; absl::Now() < give_up;) {
    {
      MutexLock lock(mu_);
      ASSIGN_OR_RETURN(const bool operational, host_.IsOperational(link));
      if (operational) return absl::OkStatus();
    }
    absl::SleepFor(kLinkInterval);
  }
  return absl::UnavailableError(absl::StrCat(link, " does not become operational"));
}

SandboxNetwork::~SandboxNetwork() {
  {
    MutexLock lock(owner_.mu_);
    ++owner_.ended_;
  }
  owner_.remover_.Add({.number = number_,
                       .link = owner_.LinkName(number_),
                       .address = address_,
                       .namespace_fd = std::move(namespace_fd_)});
}

void IsolatedNetwork::OnRemoved(int number, const absl::Status& status) {
  {
    MutexLock lock(mu_);
    --ended_;
    // Else it is not used again: somebody else would get what is meant for it.
    if (status.ok()) free_.push_back(number);
  }
  changed_.notify_all();
  if (!status.ok()) LogError("network of a sandbox not removed", {{"error", LogText(status)}});
}

absl::StatusOr<std::string> IsolatedNetwork::ResolvConf() {
  SandboxResolvConf conf = ReadSandboxResolvConf(options_.resolvers);
  MutexLock lock(peers_mu_);
  RETURN_IF_ERROR(ResolveCoordinator());
  if (conf.resolvers != loaded_resolvers_ || endpoints_ != loaded_endpoints_) {
    RETURN_IF_ERROR(filter_.SetPeers(conf.resolvers, endpoints_));
    loaded_resolvers_ = conf.resolvers;
    loaded_endpoints_ = endpoints_;
  }
  return std::move(conf.text);
}

absl::Status IsolatedNetwork::ResolveCoordinator() {
  if (options_.coordinator.empty()) return absl::OkStatus();
  if (absl::Now() - resolved_at_ < kResolveAgainAfter) return absl::OkStatus();
  const size_t colon = options_.coordinator.rfind(':');
  const std::string port = options_.coordinator.substr(colon + 1);
  absl::string_view host = absl::string_view(options_.coordinator).substr(0, colon);
  if (absl::ConsumePrefix(&host, "[")) absl::ConsumeSuffix(&host, "]");
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(std::string(host).c_str(), port.c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> keeper(found, freeaddrinfo);
  if (error != 0) {
    if (resolved_at_ != absl::InfinitePast()) {
      resolved_at_ = absl::Now();  // As last known; asked again later, not by each step.
      return absl::OkStatus();
    }
    return absl::UnavailableError(absl::StrCat(host, ": ", gai_strerror(error)));
  }
  endpoints_.clear();
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family != AF_INET) continue;  // Sandboxes have no IPv6.
    const auto& address = *reinterpret_cast<const sockaddr_in*>(one->ai_addr);
    endpoints_.emplace_back(ntohl(address.sin_addr.s_addr), ntohs(address.sin_port));
  }
  std::sort(endpoints_.begin(), endpoints_.end());
  resolved_at_ = absl::Now();
  return absl::OkStatus();
}

}  // namespace farm
