// Statuses as they cross the wire: code and message as gRPC has them, position and trail as a
// farm.v1.ErrorDetail among the status' details.
#ifndef FARM_RPC_STATUS_H_
#define FARM_RPC_STATUS_H_

#include "absl/status/status.h"
#include "proto/farm/v1/error.pb.h"

namespace grpc {
class Status;
}  // namespace grpc

namespace farm {

// Message, trail and source line are cut where they would not fit into gRPC's trailing metadata.
grpc::Status ToGrpcStatus(const absl::Status& status);

// PositionOf(), Trail() and WasRetried() of the result are those of the sender, if it was one of
// us. A call that none of us cancelled but gRPC did, because the server was shutting down, is
// UNAVAILABLE; so is one that the caller cancelled.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The same as a field of a message (a lease's error, a build event).
v1::ErrorDetail ToErrorDetail(const absl::Status& status);
absl::Status FromErrorDetail(const v1::ErrorDetail& detail);

}  // namespace farm

#endif  // FARM_RPC_STATUS_H_
