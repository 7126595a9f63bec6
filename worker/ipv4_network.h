#ifndef FARM_WORKER_IPV4_NETWORK_H_
#define FARM_WORKER_IPV4_NETWORK_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// The addresses that share the first `prefix_bits` bits of `address`.
struct Ipv4Network {
  uint32_t address = 0;  // In the host's byte order; its other bits are 0.
  int prefix_bits = 0;

  // Whether some address is in both.
  bool Overlaps(const Ipv4Network& other) const;
  // "10.87.0.0/20".
  std::string ToString() const;

  bool operator==(const Ipv4Network&) const = default;
};

// From "10.87.0.0/20"; a lone address is a network of its own. INVALID_ARGUMENT says what is
// expected, also for bits beyond the prefix.
absl::StatusOr<Ipv4Network> ParseIpv4Network(absl::string_view text);

// From "10.87.0.1", in the host's byte order. INVALID_ARGUMENT if it is none.
absl::StatusOr<uint32_t> ParseIpv4Address(absl::string_view text);
std::string Ipv4AddressText(uint32_t address);

// 127.0.0.0/8 and 0.0.0.0, which stands for it.
bool IsIpv4Loopback(uint32_t address);

}  // namespace farm

#endif  // FARM_WORKER_IPV4_NETWORK_H_
