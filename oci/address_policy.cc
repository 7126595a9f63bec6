#include "oci/address_policy.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace farm {
namespace {

struct Range4 {
  uint32_t network;  // Host order.
  int bits;
  const char* what;
};

// RFC 6890 and the documentation of the clouds.
constexpr Range4 kRefused4[] = {
    {0x00000000, 8, "unspecified"},          // 0.0.0.0/8: reaches this host, too.
    {0x646464C8, 32, "a cloud's metadata"},  // 100.100.100.200: Alibaba
    {0xA83F8110, 32, "a cloud's metadata"},  // 168.63.129.16: Azure
    {0xA9FE0000, 16, "link-local"},          // 169.254.0.0/16: most clouds' metadata
    {0xC00000C0, 32, "a cloud's metadata"},  // 192.0.0.192: Oracle
    {0xE0000000, 3, "multicast or reserved"},
};

using Bytes16 = std::array<uint8_t, 16>;

struct Range6 {
  Bytes16 network;
  int bits;
  const char* what;
};

constexpr Range6 kRefused6[] = {
    {{}, 128, "unspecified"},
    {{0xFE, 0x80}, 10, "link-local"},
    {{0xFE, 0xC0}, 10, "site-local"},
    {{0xFF}, 8, "multicast"},
    {{0xFD, 0x00, 0x0E, 0xC2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54},
     128,
     "a cloud's metadata"},  // fd00:ec2::254: AWS
    {{0xFD, 0x20, 0x00, 0xCE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54},
     128,
     "a cloud's metadata"},  // fd20:ce::254: Google
};

absl::Status Refused(absl::string_view what) {
  return absl::PermissionDeniedError(absl::StrCat("the address is ", what, ": refused"));
}

absl::Status CheckOwn(const AddressPolicy& policy) {
  if (policy.loopback_allowed) return absl::OkStatus();
  return absl::PermissionDeniedError(
      "the address is of the worker itself: refused unless its configuration says "
      "sources.loopback_allowed");
}

// Whether an interface of this host has an address of `family` that `is_it`. If they can't be had,
// each might be.
template <typename Sockaddr>
bool HasInterface(int family, const std::function<bool(const Sockaddr&)>& is_it) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return true;
  const absl::Cleanup drop = [all] { freeifaddrs(all); };
  for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != family) continue;
    Sockaddr address{};
    std::memcpy(&address, entry->ifa_addr, sizeof(address));
    if (is_it(address)) return true;
  }
  return false;
}

absl::Status Check4(uint32_t address, const AddressPolicy& policy) {
  if (address >> 24 == 127) return CheckOwn(policy);
  for (const Range4& range : kRefused4) {
    if (((address ^ range.network) >> (32 - range.bits)) == 0) return Refused(range.what);
  }
  const bool is_own = HasInterface<sockaddr_in>(
      AF_INET, [address](const sockaddr_in& own) { return ntohl(own.sin_addr.s_addr) == address; });
  return is_own ? CheckOwn(policy) : absl::OkStatus();
}

bool IsIn(const Bytes16& address, const Bytes16& network, int bits) {
  for (int bit = 0; bit < bits; ++bit) {
    const auto at = [bit](const Bytes16& bytes) {
      return bytes[static_cast<size_t>(bit / 8)] >> (7 - bit % 8) & 1;
    };
    if (at(address) != at(network)) return false;
  }
  return true;
}

// The IPv4 address that an IPv6 one stands for.
std::optional<uint32_t> Embedded4(const Bytes16& address) {
  struct Form {
    Bytes16 prefix;
    int bits;
    size_t at;  // Of the four bytes.
  };
  constexpr Form kForms[] = {
      {{}, 96, 12},                                                // ::a.b.c.d
      {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF}, 96, 12},        // ::ffff:a.b.c.d
      {{0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0}, 96, 12},        // ::ffff:0:a.b.c.d
      {{0x00, 0x64, 0xFF, 0x9B, 0, 0, 0, 0, 0, 0, 0, 0}, 96, 12},  // NAT64
      {{0x20, 0x02}, 16, 2},                                       // 6to4
  };
  for (const Form& form : kForms) {
    if (!IsIn(address, form.prefix, form.bits)) continue;
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i) value = value << 8 | address[form.at + i];
    return value;
  }
  return std::nullopt;
}

absl::Status Check6(const Bytes16& address, const AddressPolicy& policy) {
  constexpr Bytes16 kLoopback = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  if (address == kLoopback) return CheckOwn(policy);
  for (const Range6& range : kRefused6) {
    if (IsIn(address, range.network, range.bits)) return Refused(range.what);
  }
  const bool is_own = HasInterface<sockaddr_in6>(AF_INET6, [&address](const sockaddr_in6& own) {
    return std::memcmp(&own.sin6_addr, address.data(), address.size()) == 0;
  });
  if (is_own) return CheckOwn(policy);
  const std::optional<uint32_t> embedded = Embedded4(address);
  return embedded.has_value() ? Check4(*embedded, policy) : absl::OkStatus();
}

}  // namespace

absl::Status CheckAddress(const sockaddr* address, const AddressPolicy& policy) {
  if (address->sa_family == AF_INET) {
    sockaddr_in in{};
    std::memcpy(&in, address, sizeof(in));
    return Check4(ntohl(in.sin_addr.s_addr), policy);
  }
  if (address->sa_family == AF_INET6) {
    sockaddr_in6 in6{};
    std::memcpy(&in6, address, sizeof(in6));
    Bytes16 bytes;
    std::memcpy(bytes.data(), &in6.sin6_addr, bytes.size());
    return Check6(bytes, policy);
  }
  return Refused("of a family that is not known");
}

absl::Status CheckHost(absl::string_view host, const AddressPolicy& policy) {
  absl::ConsumePrefix(&host, "[");
  absl::ConsumeSuffix(&host, "]");
  const std::string name = absl::AsciiStrToLower(host.substr(0, host.find('%')));  // No zone.
  sockaddr_in in{};
  if (inet_pton(AF_INET, name.c_str(), &in.sin_addr) == 1) {
    in.sin_family = AF_INET;
    return CheckAddress(reinterpret_cast<const sockaddr*>(&in), policy);
  }
  sockaddr_in6 in6{};
  if (inet_pton(AF_INET6, name.c_str(), &in6.sin6_addr) == 1) {
    in6.sin6_family = AF_INET6;
    return CheckAddress(reinterpret_cast<const sockaddr*>(&in6), policy);
  }
  const absl::string_view undotted = absl::StripSuffix(name, ".");
  if (undotted == "localhost" || absl::EndsWith(undotted, ".localhost")) {
    return CheckOwn(policy);
  }
  return absl::OkStatus();
}

}  // namespace farm
