#include "worker/ipv4_network.h"

#include <arpa/inet.h>

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr int kAddressBits = 32;

uint32_t Mask(int prefix_bits) {
  return prefix_bits == 0 ? 0 : ~uint32_t{0} << (kAddressBits - prefix_bits);
}

}  // namespace

bool Ipv4Network::Overlaps(const Ipv4Network& other) const {
  const uint32_t mask = Mask(std::min(prefix_bits, other.prefix_bits));
  return (address & mask) == (other.address & mask);
}

std::string Ipv4Network::ToString() const {
  return absl::StrCat(Ipv4AddressText(address), "/", prefix_bits);
}

absl::StatusOr<Ipv4Network> ParseIpv4Network(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, absl::MaxSplits('/', 1));
  Ipv4Network network{.address = 0, .prefix_bits = kAddressBits};
  ASSIGN_OR_RETURN(network.address, ParseIpv4Address(parts[0]));
  if (parts.size() == 2 && (!absl::SimpleAtoi(parts[1], &network.prefix_bits) ||
                            network.prefix_bits < 0 || network.prefix_bits > kAddressBits)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no IPv4 network, expected e.g. 10.0.0.0/8"));
  }
  const Ipv4Network whole{.address = network.address & Mask(network.prefix_bits),
                          .prefix_bits = network.prefix_bits};
  if (network != whole) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" has bits beyond its prefix (did you mean ", whole.ToString(), "?)"));
  }
  return network;
}

absl::StatusOr<uint32_t> ParseIpv4Address(absl::string_view text) {
  in_addr address{};
  if (inet_pton(AF_INET, std::string(text).c_str(), &address) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", text, "\" is no IPv4 address, expected e.g. 10.0.0.1"));
  }
  return ntohl(address.s_addr);
}

std::string Ipv4AddressText(uint32_t address) {
  const in_addr value{htonl(address)};
  char text[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, &value, text, sizeof(text));
  return text;
}

bool IsIpv4Loopback(uint32_t address) { return address >> 24 == 127 || address == 0; }

}  // namespace farm
