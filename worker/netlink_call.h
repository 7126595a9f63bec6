#ifndef FARM_WORKER_NETLINK_CALL_H_
#define FARM_WORKER_NETLINK_CALL_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

struct mnl_socket;
struct nlmsghdr;

namespace farm {

// One request to the kernel, and what it answers: nothing but an acknowledgement, or the messages
// that `receive` is called with. An error of the kernel's is an ErrnoStatus() for `what`.
absl::Status NetlinkCall(mnl_socket& socket, nlmsghdr* request, absl::string_view what,
                         const std::function<void(const nlmsghdr*)>& receive = nullptr);

}  // namespace farm

#endif  // FARM_WORKER_NETLINK_CALL_H_
