#include "worker/route_netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <sys/socket.h>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "worker/netlink_call.h"

namespace farm {
namespace {

// A request under construction: header, the fixed part of its kind, attributes.
class Request {
 public:
  Request(uint16_t type, uint16_t flags) : header_(mnl_nlmsg_put_header(buffer_)) {
    header_->nlmsg_type = type;
    header_->nlmsg_flags = flags;
  }

  template <typename T>
  T& Fixed() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
  }
  void Text(uint16_t type, const std::string& text) {
    mnl_attr_put_strz(header_, type, text.c_str());
  }
  void Number(uint16_t type, uint32_t value) { mnl_attr_put_u32(header_, type, value); }
  nlattr* Begin(uint16_t type) { return mnl_attr_nest_start(header_, type); }
  void End(nlattr* nest) { mnl_attr_nest_end(header_, nest); }

  nlmsghdr* get() { return header_; }

 private:
  static constexpr size_t kBytesMax = 1024;  // Names of 15 bytes, and numbers.
  alignas(nlmsghdr) char buffer_[kBytesMax] = {};
  nlmsghdr* const header_;
};

int StoreAttribute(const nlattr* attribute, void* data) {
  const uint16_t type = mnl_attr_get_type(attribute);
  if (type <= RTA_MAX && mnl_attr_get_payload_len(attribute) >= sizeof(uint32_t)) {
    static_cast<const nlattr**>(data)[type] = attribute;
  }
  return MNL_CB_OK;
}

int ReadOperational(const nlattr* attribute, void* data) {
  if (mnl_attr_get_type(attribute) != IFLA_OPERSTATE) return MNL_CB_OK;
  *static_cast<bool*>(data) = mnl_attr_get_u8(attribute) == IF_OPER_UP;
  return MNL_CB_STOP;
}

RouteNetlink::Route ReadRoute(const nlmsghdr* message) {
  const auto& fixed = *static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
  const nlattr* attributes[RTA_MAX + 1] = {};
  mnl_attr_parse(message, sizeof(fixed), StoreAttribute, attributes);
  RouteNetlink::Route route;
  route.destination.prefix_bits = fixed.rtm_dst_len;
  if (attributes[RTA_DST] != nullptr) {
    route.destination.address = ntohl(mnl_attr_get_u32(attributes[RTA_DST]));
  }
  if (attributes[RTA_OIF] != nullptr) route.link = mnl_attr_get_u32(attributes[RTA_OIF]);
  return route;
}

}  // namespace

void RouteNetlink::Close::operator()(mnl_socket* socket) const { mnl_socket_close(socket); }

absl::StatusOr<RouteNetlink> RouteNetlink::Open() {
  mnl_socket* const socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
  if (socket == nullptr) return ErrnoStatus(errno, "rtnetlink");
  RouteNetlink netlink(socket);
  if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) return ErrnoStatus(errno, "rtnetlink");
  return netlink;
}

absl::Status RouteNetlink::AddVethPair(const VethPair& pair) {
  Request request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Text(IFLA_IFNAME, pair.name);
  request.Number(IFLA_MTU, pair.mtu_bytes);
  nlattr* const info = request.Begin(IFLA_LINKINFO);
  request.Text(IFLA_INFO_KIND, "veth");
  nlattr* const data = request.Begin(IFLA_INFO_DATA);
  nlattr* const peer = request.Begin(VETH_INFO_PEER);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Text(IFLA_IFNAME, pair.peer);
  request.Number(IFLA_MTU, pair.mtu_bytes);
  request.Number(IFLA_NET_NS_FD, static_cast<uint32_t>(pair.peer_namespace_fd));
  request.End(peer);
  request.End(data);
  request.End(info);
  return NetlinkCall(*socket_, request.get(), absl::StrCat("veth pair ", pair.name));
}

absl::StatusOr<RouteNetlink::Link> RouteNetlink::Find(const std::string& link) {
  Request request(RTM_GETLINK, 0);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Text(IFLA_IFNAME, link);
  Link found;
  RETURN_IF_ERROR(NetlinkCall(*socket_, request.get(), link, [&found](const nlmsghdr* message) {
    found.index = static_cast<uint32_t>(
        static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message))->ifi_index);
    mnl_attr_parse(message, sizeof(ifinfomsg), ReadOperational, &found.operational);
  }));
  return found;
}

absl::StatusOr<bool> RouteNetlink::IsOperational(const std::string& link) {
  ASSIGN_OR_RETURN(const Link found, Find(link));
  return found.operational;
}

absl::Status RouteNetlink::SetUp(const std::string& link) {
  Request request(RTM_NEWLINK, 0);
  auto& fixed = request.Fixed<ifinfomsg>();
  fixed.ifi_family = AF_UNSPEC;
  fixed.ifi_flags = IFF_UP;
  fixed.ifi_change = IFF_UP;
  request.Text(IFLA_IFNAME, link);
  return NetlinkCall(*socket_, request.get(), absl::StrCat(link, " up"));
}

absl::Status RouteNetlink::DeleteLink(const std::string& link) {
  Request request(RTM_DELLINK, 0);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Text(IFLA_IFNAME, link);
  return NetlinkCall(*socket_, request.get(), absl::StrCat("deleting ", link));
}

absl::Status RouteNetlink::SetGroup(const std::string& link, uint32_t group) {
  Request request(RTM_NEWLINK, 0);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Text(IFLA_IFNAME, link);
  request.Number(IFLA_GROUP, group);
  return NetlinkCall(*socket_, request.get(), absl::StrCat("group of ", link));
}

absl::Status RouteNetlink::DeleteGroup(uint32_t group) {
  FARM_CHECK(group != 0) << "every interface is in group 0 at first";
  Request request(RTM_DELLINK, 0);
  request.Fixed<ifinfomsg>().ifi_family = AF_UNSPEC;
  request.Number(IFLA_GROUP, group);
  return NetlinkCall(*socket_, request.get(), absl::StrCat("deleting group ", group));
}

absl::Status RouteNetlink::AddAddress(const std::string& link, uint32_t address, int prefix_bits) {
  ASSIGN_OR_RETURN(const Link found, Find(link));
  Request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
  auto& fixed = request.Fixed<ifaddrmsg>();
  fixed.ifa_family = AF_INET;
  fixed.ifa_prefixlen = static_cast<uint8_t>(prefix_bits);
  fixed.ifa_index = found.index;
  request.Number(IFA_LOCAL, htonl(address));
  request.Number(IFA_ADDRESS, htonl(address));
  return NetlinkCall(*socket_, request.get(), absl::StrCat(Ipv4AddressText(address), " on ", link));
}

absl::Status RouteNetlink::AddDefaultRoute(uint32_t gateway) {
  Request request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
  auto& fixed = request.Fixed<rtmsg>();
  fixed.rtm_family = AF_INET;
  fixed.rtm_table = RT_TABLE_MAIN;
  fixed.rtm_protocol = RTPROT_STATIC;
  fixed.rtm_scope = RT_SCOPE_UNIVERSE;
  fixed.rtm_type = RTN_UNICAST;
  request.Number(RTA_GATEWAY, htonl(gateway));
  return NetlinkCall(*socket_, request.get(),
                     absl::StrCat("default route by ", Ipv4AddressText(gateway)));
}

absl::StatusOr<std::vector<RouteNetlink::Route>> RouteNetlink::Routes() {
  Request request(RTM_GETROUTE, NLM_F_DUMP);
  request.Fixed<rtmsg>().rtm_family = AF_INET;
  std::vector<Route> routes;
  RETURN_IF_ERROR(
      NetlinkCall(*socket_, request.get(), "routes",
                  [&routes](const nlmsghdr* message) { routes.push_back(ReadRoute(message)); }));
  return routes;
}

}  // namespace farm
