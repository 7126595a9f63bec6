#include "plan/ports.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace farm {
namespace {

struct PortRange {
  uint32_t first = 0;
  uint32_t last = 0;
  uint32_t size() const { return last - first + 1; }
};

std::optional<uint32_t> Port(absl::string_view text) {
  const bool is_number =
      !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit);
  uint32_t port = 0;
  if (!is_number || !absl::SimpleAtoi(text, &port) || port > 65535) return std::nullopt;
  return port;
}

std::optional<PortRange> Range(absl::string_view text) {
  const size_t dash = text.find('-');
  const std::optional<uint32_t> first = Port(text.substr(0, dash));
  const std::optional<uint32_t> last = dash == text.npos ? first : Port(text.substr(dash + 1));
  if (!first.has_value() || !last.has_value() || *last < *first) return std::nullopt;
  return PortRange{*first, *last};
}

bool IsAddress(absl::string_view text) {
  std::string address(text);
  if (address.size() > 2 && address.front() == '[' && address.back() == ']') {
    address = address.substr(1, address.size() - 2);
  }
  unsigned char buffer[sizeof(in6_addr)];
  return inet_pton(AF_INET, address.c_str(), buffer) == 1 ||
         inet_pton(AF_INET6, address.c_str(), buffer) == 1;
}

// "[IP:]HOST:" before the container's port.
absl::Status CheckHostSide(absl::string_view host_side, absl::string_view container,
                           const PortRange& ports) {
  const size_t colon = host_side.rfind(':');
  const absl::string_view host = host_side.substr(colon == host_side.npos ? 0 : colon + 1);
  if (colon != host_side.npos && colon > 0 && !IsAddress(host_side.substr(0, colon))) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid IP address: ", host_side.substr(0, colon)));
  }
  if (host.empty()) return absl::OkStatus();
  const std::optional<PortRange> host_ports = Range(host);
  if (!host_ports.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid hostPort: ", host));
  }
  if (host_ports->size() != ports.size() && ports.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "invalid ranges specified for container and host Ports: ", container, " and ", host));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ParsePorts(absl::string_view word) {
  const size_t colon = word.rfind(':');
  const absl::string_view container_side = word.substr(colon == word.npos ? 0 : colon + 1);
  const size_t slash = container_side.find('/');
  const absl::string_view container = container_side.substr(0, slash);
  std::string protocol =
      slash == word.npos ? "" : absl::AsciiStrToLower(container_side.substr(slash + 1));
  if (container.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no port specified: ", word, "<empty>"));
  }
  if (protocol.empty()) protocol = "tcp";
  if (protocol != "tcp" && protocol != "udp" && protocol != "sctp") {
    return absl::InvalidArgumentError(absl::StrCat("invalid proto: ", protocol));
  }
  const std::optional<PortRange> range = Range(container);
  if (!range.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("invalid containerPort: ", container));
  }
  if (colon != word.npos) {
    RETURN_IF_ERROR(CheckHostSide(word.substr(0, colon), container, *range));
  }
  std::vector<std::string> ports;
  for (uint32_t port = range->first; port <= range->last; ++port) {
    ports.push_back(absl::StrCat(port, "/", protocol));
  }
  return ports;
}

}  // namespace farm
