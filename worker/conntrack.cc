#include "worker/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <sys/socket.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "worker/netlink_call.h"

namespace farm {
namespace {

constexpr size_t kRequestBytesMax = 1024;
constexpr uint16_t kMessageType = NFNL_SUBSYS_CTNETLINK << 8;
// "Compare the source address" in CTA_FILTER_ORIG_FLAGS; no public header has it. Kernels
// before 5.8 know no filter and tell of all connections.
constexpr uint32_t kFilterBySource = 1 << 0;

// What a request to delete a connection names it by: attributes as the kernel told them.
struct Connection {
  std::string original;  // CTA_TUPLE_ORIG
  uint32_t id = 0;
};

const nlattr* Find(const nlattr* begin, size_t size, uint16_t type) {
  const auto* at = begin;
  auto left = static_cast<int>(size);
  while (mnl_attr_ok(at, left)) {
    if (mnl_attr_get_type(at) == type) return at;
    left -= MNL_ALIGN(at->nla_len);
    at = mnl_attr_next(at);
  }
  return nullptr;
}

const nlattr* FindIn(const nlattr* nest, uint16_t type) {
  if (nest == nullptr) return nullptr;
  return Find(static_cast<const nlattr*>(mnl_attr_get_payload(nest)),
              mnl_attr_get_payload_len(nest), type);
}

// Adds the connection to `found` if it began at one of `sources`.
void Collect(const nlmsghdr* message, absl::Span<const uint32_t> sources,
             std::vector<Connection>& found) {
  const auto* first =
      static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, sizeof(nfgenmsg)));
  const size_t size = mnl_nlmsg_get_payload_len(message) - MNL_ALIGN(sizeof(nfgenmsg));
  const nlattr* original = Find(first, size, CTA_TUPLE_ORIG);
  const nlattr* address = FindIn(FindIn(original, CTA_TUPLE_IP), CTA_IP_V4_SRC);
  const nlattr* id = Find(first, size, CTA_ID);
  if (address == nullptr || id == nullptr ||
      !absl::c_linear_search(sources, ntohl(mnl_attr_get_u32(address)))) {
    return;
  }
  found.push_back({.original = {static_cast<const char*>(mnl_attr_get_payload(original)),
                                mnl_attr_get_payload_len(original)},
                   .id = mnl_attr_get_u32(id)});
}

nlmsghdr* PutHeader(char* buffer, uint16_t type, uint16_t flags) {
  nlmsghdr* header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = kMessageType | type;
  header->nlmsg_flags = flags;
  auto* fixed = static_cast<nfgenmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(nfgenmsg)));
  fixed->nfgen_family = AF_INET;
  fixed->version = NFNETLINK_V0;
  return header;
}

absl::StatusOr<std::vector<Connection>> ConnectionsOf(mnl_socket& socket,
                                                      absl::Span<const uint32_t> sources) {
  alignas(nlmsghdr) char buffer[kRequestBytesMax];
  nlmsghdr* request = PutHeader(buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
  if (sources.size() == 1) {  // The kernel's filter takes no more.
    nlattr* tuple = mnl_attr_nest_start(request, CTA_TUPLE_ORIG);
    nlattr* addresses = mnl_attr_nest_start(request, CTA_TUPLE_IP);
    mnl_attr_put_u32(request, CTA_IP_V4_SRC, htonl(sources[0]));
    mnl_attr_nest_end(request, addresses);
    mnl_attr_nest_end(request, tuple);
    nlattr* filter = mnl_attr_nest_start(request, CTA_FILTER);
    mnl_attr_put_u32(request, CTA_FILTER_ORIG_FLAGS, kFilterBySource);
    mnl_attr_nest_end(request, filter);
  }
  std::vector<Connection> found;
  RETURN_IF_ERROR(NetlinkCall(
      socket, request, "connections",
      [sources, &found](const nlmsghdr* message) { Collect(message, sources, found); }));
  return found;
}

absl::Status Delete(mnl_socket& socket, const Connection& connection) {
  alignas(nlmsghdr) char buffer[kRequestBytesMax];
  nlmsghdr* request = PutHeader(buffer, IPCTNL_MSG_CT_DELETE, 0);
  mnl_attr_put(request, CTA_TUPLE_ORIG | NLA_F_NESTED, connection.original.size(),
               connection.original.data());
  mnl_attr_put_u32(request, CTA_ID, connection.id);
  const absl::Status deleted = NetlinkCall(socket, request, "deleting a connection");
  return absl::IsNotFound(deleted) ? absl::OkStatus() : deleted;  // It ended by itself.
}

}  // namespace

absl::Status ForgetConnectionsOf(absl::Span<const uint32_t> sources) {
  const std::unique_ptr<mnl_socket, int (*)(mnl_socket*)> socket(
      mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC), mnl_socket_close);
  if (socket == nullptr || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0) {
    return ErrnoStatus(errno, "connection tracking");
  }
  ASSIGN_OR_RETURN(const std::vector<Connection> connections, ConnectionsOf(*socket, sources));
  for (const Connection& connection : connections) RETURN_IF_ERROR(Delete(*socket, connection));
  return absl::OkStatus();
}

}  // namespace farm
