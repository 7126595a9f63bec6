#ifndef FARM_RPC_SERVER_CREDENTIALS_H_
#define FARM_RPC_SERVER_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"

namespace grpc {
class ServerBuilder;
}  // namespace grpc

namespace farm::v1 {
class TlsServerConfig;
}  // namespace farm::v1

namespace farm {

class Authenticator;

// Sets what every server of the farm has alike: message sizes (rpc/channel.h) and keepalive.
void ConfigureServer(grpc::ServerBuilder& builder);

// Has `builder` listen on `address` (rpc/address.h). With `tls` set, TCP listeners speak TLS, and
// certificate and key are read again when their files change; unix sockets never do. `bound_port`
// gets the port after BuildAndStart(), which matters if the address asks for port 0; may be null.
//   INVALID_ARGUMENT     the address, or files of `tls` of which some are missing
//   FAILED_PRECONDITION  the address can be reached from elsewhere, but there is no TLS, or nobody
//                        is enrolled (`authenticator`): such a listener does not start
//   UNAVAILABLE          another program listens on the unix socket; a port in use shows only when
//                        BuildAndStart() gives none
absl::Status AddListener(grpc::ServerBuilder& builder, const std::string& address,
                         const v1::TlsServerConfig& tls, const Authenticator& authenticator,
                         int* bound_port);

}  // namespace farm

#endif  // FARM_RPC_SERVER_CREDENTIALS_H_
