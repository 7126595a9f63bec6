#ifndef FARM_RPC_ADDRESS_H_
#define FARM_RPC_ADDRESS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Where a program of the farm listens.
struct Address {
  enum class Reach {
    kUnixSocket,  // who may open the socket's file
    kLoopback,    // everyone on this host
    kNetwork,     // everyone who can reach this host
  };
  Reach reach = Reach::kNetwork;
  std::string target;  // as gRPC takes it: "unix:/run/farm.sock", "127.0.0.1:7070"
};

// From "unix:/run/farm/farm.sock", "host:port" or "[::1]:port". A name other than "localhost"
// counts as network: what it stands for can change. INVALID_ARGUMENT says what is expected.
absl::StatusOr<Address> ParseAddress(absl::string_view text);

}  // namespace farm

#endif  // FARM_RPC_ADDRESS_H_
