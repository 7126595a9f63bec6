// What a build asks for all its RUNs, beside what their lines say: --add-host, --ulimit,
// --shm-size, BUILDKIT_SANDBOX_HOSTNAME.
#ifndef FARM_PLAN_RUN_SETTINGS_H_
#define FARM_PLAN_RUN_SETTINGS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

inline constexpr int kExtraHostsMax = 1000;
inline constexpr int kUlimitsMax = 64;
inline constexpr size_t kHostnameBytesMax = 64;  // The kernel's.

// Where a mount of type ssh without a target is, with its number among them behind it.
inline constexpr absl::string_view kSshAgentPath = "/run/buildkit/ssh_agent.";

// INVALID_ARGUMENT for what can't stand in a line of /etc/hosts: another name than of visible
// letters, an address that is none of IPv4 or IPv6.
absl::Status CheckExtraHost(const v1::HostAlias& host);

// INVALID_ARGUMENT for an unknown name, values below -1, a soft limit over the hard one, and core
// dumps: a step writes none, as they could hold secrets.
absl::Status CheckUlimit(const v1::Ulimit& ulimit);

// INVALID_ARGUMENT for a name over kHostnameBytesMax, or of other than visible letters.
absl::Status CheckHostname(const std::string& hostname);

// INVALID_ARGUMENT if it is negative.
absl::Status CheckShmBytes(int64_t shm_bytes);

}  // namespace farm

#endif  // FARM_PLAN_RUN_SETTINGS_H_
