#ifndef FARM_RPC_CHANNEL_H_
#define FARM_RPC_CHANNEL_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace grpc {
class Channel;
class ChannelInterface;
}  // namespace grpc

namespace farm::v1 {
class TlsClientConfig;
}  // namespace farm::v1

namespace farm {

// Of one message, both ways. Blobs travel in far smaller chunks; the largest message is a build's
// plan or a worker's first Synchronize with all its layers.
inline constexpr int kMessageBytesMax = 32 << 20;
// Of a call's metadata: holds a status with its details (rpc/status.h).
inline constexpr int kMetadataBytesMax = 64 << 10;

// A channel to a program of the farm; see rpc/address.h for addresses. Connects on first use, and
// again whenever the connection is lost (backoff 0.1–5 s); a peer that is silent for 30 s is lost.
//
// TLS is used if `tls` names any file or the address is neither a unix socket nor loopback: then
// the peer's certificate must be valid for the address' host. `token_file`, if not "", holds the
// token sent with each call.
//   INVALID_ARGUMENT  the address, or a certificate and key of which only one is named
//   NOT_FOUND, ...    a file can't be read
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const v1::TlsClientConfig& tls,
                                                           const std::string& token_file);

// The token in the file `path`, without white space around it.
//   INVALID_ARGUMENT  it is empty, or more than a line of printable ASCII
//   NOT_FOUND, ...    it can't be read
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

// Call it before a call that is made again and again until the peer is back. A channel that has
// lost its peer fails calls at once, and as long as none is under way, no thread sees to the making
// of the next connection: with TLS it might never be done. This waits about a second for it, and
// returns at once where the channel is not in trouble.
void AwaitReconnection(grpc::ChannelInterface& channel);

}  // namespace farm

#endif  // FARM_RPC_CHANNEL_H_
