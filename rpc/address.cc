#include "rpc/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace farm {
namespace {

absl::Status Invalid(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("address \"", text, "\": ", what,
                   "; expected \"unix:/path/of.sock\", \"host:port\" or \"[ipv6]:port\""));
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

}  // namespace

absl::StatusOr<Address> ParseAddress(absl::string_view text) {
  absl::string_view rest = text;
  if (absl::ConsumePrefix(&rest, "unix:")) {
    absl::ConsumePrefix(&rest, "//");
    if (!absl::StartsWith(rest, "/")) return Invalid(text, "the socket's path is not absolute");
    if (rest.size() >= sizeof(sockaddr_un::sun_path)) {
      return Invalid(text, absl::StrCat("the socket's path is longer than ",
                                        sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return Address{Address::Reach::kUnixSocket, absl::StrCat("unix:", rest)};
  }
  if (absl::StrContains(text, "://")) return Invalid(text, "unknown scheme");
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Invalid(text, "no port");
  int port = 0;
  if (!absl::SimpleAtoi(text.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return Invalid(text, "the port is not a number up to 65535");
  }
  std::string host(text.substr(0, colon));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (absl::StrContains(host, ":")) {
    return Invalid(text, "an IPv6 address needs brackets");
  }
  if (host.empty()) return Invalid(text, "no host");
  return Address{IsLoopback(host) ? Address::Reach::kLoopback : Address::Reach::kNetwork,
                 std::string(text)};
}

}  // namespace farm
