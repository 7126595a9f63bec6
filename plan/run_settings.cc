#include "plan/run_settings.h"

#include <arpa/inet.h>
#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/suggestion.h"
#include "base/ulimit.h"

namespace farm {
namespace {

constexpr size_t kHostNameBytesMax = 255;

bool IsAddress(const std::string& text) {
  in6_addr address;
  return inet_pton(AF_INET, text.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, text.c_str(), &address) == 1;
}

bool IsHostName(const std::string& text) {
  return !text.empty() && text.size() <= kHostNameBytesMax &&
         std::all_of(text.begin(), text.end(),
                     [](char c) { return absl::ascii_isgraph(c) && c != '#'; });
}

absl::Status UnknownUlimit(const std::string& name) {
  const std::vector<std::string> names = UlimitNames();
  const std::string meant = ClosestMatch(name, names);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown ulimit \"", name, "\", expected one of ", absl::StrJoin(names, ", "),
                   meant.empty() ? "" : absl::StrCat("; did you mean ", meant, "?")));
}

}  // namespace

absl::Status CheckExtraHost(const v1::HostAlias& host) {
  if (!IsHostName(host.name())) {
    return absl::InvalidArgumentError(absl::StrCat("\"", host.name(), "\" is no host name"));
  }
  if (!IsAddress(host.address())) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", host.address(), "\" is no IPv4 or IPv6 address"));
  }
  return absl::OkStatus();
}

absl::Status CheckUlimit(const v1::Ulimit& ulimit) {
  const std::optional<int> resource = UlimitResource(ulimit.name());
  if (!resource.has_value()) return UnknownUlimit(ulimit.name());
  if (ulimit.soft() < -1 || ulimit.hard() < -1) {
    return absl::InvalidArgumentError("a ulimit is negative; unlimited is -1");
  }
  const bool is_over = ulimit.hard() >= 0 && (ulimit.soft() == -1 || ulimit.soft() > ulimit.hard());
  if (is_over) return absl::InvalidArgumentError("the soft limit is over the hard one");
  if (*resource == RLIMIT_CORE && (ulimit.soft() != 0 || ulimit.hard() != 0)) {
    return absl::InvalidArgumentError("a step writes no core dumps, so core can be 0 only");
  }
  return absl::OkStatus();
}

absl::Status CheckHostname(const std::string& hostname) {
  if (IsHostName(hostname) && hostname.size() <= kHostnameBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", hostname, "\" is no host name of at most ",
                                                 kHostnameBytesMax, " visible letters"));
}

absl::Status CheckShmBytes(int64_t shm_bytes) {
  if (shm_bytes >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError("a size of /dev/shm is negative");
}

}  // namespace farm
