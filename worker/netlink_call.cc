#include "worker/netlink_call.h"

#include <errno.h>
#include <libmnl/libmnl.h>

#include <vector>

#include "base/errno_status.h"

namespace farm {
namespace {

// Dumps come in messages of up to 32 KiB if there is room for them.
constexpr size_t kReceiveBytes = 64 << 10;

using Receive = std::function<void(const nlmsghdr*)>;

int OnMessage(const nlmsghdr* message, void* data) {
  const auto& receive = *static_cast<const Receive*>(data);
  if (receive) receive(message);
  return MNL_CB_OK;
}

}  // namespace

absl::Status NetlinkCall(mnl_socket& socket, nlmsghdr* request, absl::string_view what,
                         const Receive& receive) {
  const bool is_dump = (request->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
  request->nlmsg_flags |= NLM_F_REQUEST | (is_dump ? 0 : NLM_F_ACK);
  static thread_local unsigned sequence = 0;
  request->nlmsg_seq = ++sequence;
  if (mnl_socket_sendto(&socket, request, request->nlmsg_len) < 0) return ErrnoStatus(errno, what);
  std::vector<char> buffer(kReceiveBytes);
  for (;;) {
    const ssize_t size = mnl_socket_recvfrom(&socket, buffer.data(), buffer.size());
    if (size < 0) return ErrnoStatus(errno, what);
    const int result =
        mnl_cb_run(buffer.data(), static_cast<size_t>(size), request->nlmsg_seq,
                   mnl_socket_get_portid(&socket), OnMessage, const_cast<Receive*>(&receive));
    if (result == MNL_CB_STOP) return absl::OkStatus();
    if (result < 0) return ErrnoStatus(errno, what);
  }
}

}  // namespace farm
