#include "worker/lease_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "base/status_macros.h"
#include "proto/farm/v1/lease.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status.h"

namespace farm {
namespace {

class GrpcLeaseClient final : public LeaseClient {
 public:
  explicit GrpcLeaseClient(std::shared_ptr<grpc::ChannelInterface> channel)
      : channel_(channel), stub_(v1::Leases::NewStub(channel)) {}

  absl::StatusOr<v1::SynchronizeResponse> Synchronize(const v1::SynchronizeRequest& request,
                                                      absl::Duration timeout,
                                                      CancelToken& cancel) override {
    AwaitReconnection(*channel_);
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    const CancelToken::Callback on_cancel(cancel, [&context] { context.TryCancel(); });
    v1::SynchronizeResponse response;
    RETURN_IF_ERROR(FromGrpcStatus(stub_->Synchronize(&context, request, &response)));
    return response;
  }

  absl::StatusOr<v1::AppendLogResponse> AppendLog(const v1::AppendLogRequest& request,
                                                  absl::Duration timeout) override {
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    v1::AppendLogResponse response;
    RETURN_IF_ERROR(FromGrpcStatus(stub_->AppendLog(&context, request, &response)));
    return response;
  }

  absl::StatusOr<v1::AskSshAgentResponse> AskSshAgent(const v1::AskSshAgentRequest& request,
                                                      absl::Duration timeout,
                                                      CancelToken& cancel) override {
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    const CancelToken::Callback on_cancel(cancel, [&context] { context.TryCancel(); });
    v1::AskSshAgentResponse response;
    RETURN_IF_ERROR(FromGrpcStatus(stub_->AskSshAgent(&context, request, &response)));
    return response;
  }

 private:
  static void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(timeout));
  }

  const std::shared_ptr<grpc::ChannelInterface> channel_;
  const std::unique_ptr<v1::Leases::Stub> stub_;
};

}  // namespace

std::unique_ptr<LeaseClient> NewGrpcLeaseClient(std::shared_ptr<grpc::ChannelInterface> channel) {
  return std::make_unique<GrpcLeaseClient>(std::move(channel));
}

}  // namespace farm
