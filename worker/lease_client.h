#ifndef FARM_WORKER_LEASE_CLIENT_H_
#define FARM_WORKER_LEASE_CLIENT_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"

namespace grpc {
class ChannelInterface;
}  // namespace grpc

namespace farm::v1 {
class AppendLogRequest;
class AppendLogResponse;
class AskSshAgentRequest;
class AskSshAgentResponse;
class SynchronizeRequest;
class SynchronizeResponse;
}  // namespace farm::v1

namespace farm {

// The coordinator's Leases service as a worker calls it (proto/farm/v1/lease.proto says what the
// calls mean and what their errors ask for). Safe for concurrent calls.
class LeaseClient {
 public:
  virtual ~LeaseClient() = default;

  // A long poll. Returns early with CANCELLED once `cancel` is used.
  virtual absl::StatusOr<v1::SynchronizeResponse> Synchronize(const v1::SynchronizeRequest& request,
                                                              absl::Duration timeout,
                                                              CancelToken& cancel) = 0;

  virtual absl::StatusOr<v1::AppendLogResponse> AppendLog(const v1::AppendLogRequest& request,
                                                          absl::Duration timeout) = 0;

  // Waits for the answer; returns early with CANCELLED once `cancel` is used.
  virtual absl::StatusOr<v1::AskSshAgentResponse> AskSshAgent(const v1::AskSshAgentRequest& request,
                                                              absl::Duration timeout,
                                                              CancelToken& cancel) = 0;
};

std::unique_ptr<LeaseClient> NewGrpcLeaseClient(std::shared_ptr<grpc::ChannelInterface> channel);

}  // namespace farm

#endif  // FARM_WORKER_LEASE_CLIENT_H_
