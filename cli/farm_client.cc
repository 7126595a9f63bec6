#include "cli/farm_client.h"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <grpcpp/support/byte_buffer.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cas/remote_blob_store.h"
#include "cas/verifying_blob_store.h"
#include "proto/farm/v1/admin.grpc.pb.h"
#include "proto/farm/v1/build.grpc.pb.h"
#include "proto/farm/v1/image.grpc.pb.h"
#include "rpc/channel.h"
#include "rpc/status.h"

namespace farm {
namespace {

// Calls that a coordinator answers from its index.
constexpr absl::Duration kCallTimeout = absl::Seconds(60);
// A prune may delete many files.
constexpr absl::Duration kPruneTimeout = absl::Hours(1);

class GrpcFarmClient final : public FarmClient {
 public:
  GrpcFarmClient(std::string address, std::shared_ptr<grpc::Channel> channel)
      : address_(std::move(address)),
        channel_(std::move(channel)),
        builds_(v1::Builds::NewStub(channel_)),
        images_(v1::Images::NewStub(channel_)),
        admin_(v1::Admin::NewStub(channel_)),
        remote_(channel_),
        blobs_(remote_) {}

  absl::Status StartBuild(const v1::StartBuildRequest& request,
                          const EventHandler& handler) override {
    return Stream(builds_.get(), &v1::Builds::Stub::Start, request, handler);
  }
  absl::Status AttachBuild(const v1::AttachRequest& request, const EventHandler& handler) override {
    AwaitReconnection(*channel_);
    return Stream(builds_.get(), &v1::Builds::Stub::Attach, request, handler);
  }
  absl::Status Cancel(const v1::CancelRequest& request) override {
    return Call<v1::CancelResponse>(builds_.get(), &v1::Builds::Stub::Cancel, request).status();
  }

  absl::StatusOr<v1::AnswerSshAgentResponse> AnswerSshAgent(
      const v1::AnswerSshAgentRequest& request, CancelToken& cancel) override {
    grpc::ClientContext context;
    SetTimeout(context, kCallTimeout);
    const CancelToken::Callback on_cancel(cancel, [&context] { context.TryCancel(); });
    v1::AnswerSshAgentResponse response;
    RETURN_IF_ERROR(Named(builds_->AnswerSshAgent(&context, request, &response)));
    return response;
  }

  absl::StatusOr<v1::ListImagesResponse> ListImages(const v1::ListImagesRequest& request) override {
    return Call<v1::ListImagesResponse>(images_.get(), &v1::Images::Stub::List, request);
  }
  absl::StatusOr<v1::Image> InspectImage(const v1::InspectImageRequest& request) override {
    return Call<v1::Image>(images_.get(), &v1::Images::Stub::Inspect, request);
  }
  absl::Status TagImage(const v1::TagImageRequest& request) override {
    return Call<v1::TagImageResponse>(images_.get(), &v1::Images::Stub::Tag, request).status();
  }
  absl::StatusOr<v1::RemoveImageResponse> RemoveImage(
      const v1::RemoveImageRequest& request) override {
    return Call<v1::RemoveImageResponse>(images_.get(), &v1::Images::Stub::Remove, request);
  }
  absl::StatusOr<v1::ResolveImageResponse> ResolveImage(
      const v1::ResolveImageRequest& request) override {
    return Call<v1::ResolveImageResponse>(images_.get(), &v1::Images::Stub::Resolve, request);
  }
  absl::Status ImportImage(const v1::ImportImageRequest& request,
                           const EventHandler& handler) override {
    return Stream(images_.get(), &v1::Images::Stub::Import, request, handler);
  }
  absl::Status LoadImage(const v1::LoadImageRequest& request,
                         const EventHandler& handler) override {
    return Stream(images_.get(), &v1::Images::Stub::Load, request, handler);
  }
  absl::Status PullImage(const v1::PullImageRequest& request,
                         const EventHandler& handler) override {
    return Stream(images_.get(), &v1::Images::Stub::Pull, request, handler);
  }
  absl::Status PushImage(const v1::PushImageRequest& request,
                         const EventHandler& handler) override {
    return Stream(images_.get(), &v1::Images::Stub::Push, request, handler);
  }
  absl::Status ExportImage(const v1::ExportImageRequest& request,
                           const EventHandler& handler) override {
    return Stream(images_.get(), &v1::Images::Stub::Export, request, handler);
  }

  absl::Status CheckHealth(absl::Duration timeout) override {
    // grpc.health.v1.HealthCheckRequest and -Response by hand: no field set asks for the server as
    // a whole; field 1 of the answer is a status, of which 1 is SERVING.
    constexpr absl::string_view kServing = "\x08\x01";
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    const grpc::ByteBuffer request(nullptr, 0);
    grpc::ByteBuffer response;
    const grpc::internal::RpcMethod method("/grpc.health.v1.Health/Check",
                                           grpc::internal::RpcMethod::NORMAL_RPC, channel_);
    RETURN_IF_ERROR(Named(
        grpc::internal::BlockingUnaryCall(channel_.get(), method, &context, request, &response)));
    std::vector<grpc::Slice> slices;
    std::string bytes;
    if (response.Dump(&slices).ok()) {
      for (const grpc::Slice& slice : slices) {
        bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
    }
    if (bytes == kServing) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("farm at ", address_, ": not serving yet"));
  }
  absl::StatusOr<v1::InfoResponse> Info(absl::Duration timeout) override {
    return Call<v1::InfoResponse>(admin_.get(), &v1::Admin::Stub::Info, v1::InfoRequest(), timeout);
  }
  absl::StatusOr<v1::DiskUsageResponse> DiskUsage() override {
    return Call<v1::DiskUsageResponse>(admin_.get(), &v1::Admin::Stub::DiskUsage,
                                       v1::DiskUsageRequest());
  }
  absl::StatusOr<v1::PruneResponse> Prune(const v1::PruneRequest& request) override {
    return Call<v1::PruneResponse>(admin_.get(), &v1::Admin::Stub::Prune, request, kPruneTimeout);
  }
  absl::Status Shutdown() override {
    return Call<v1::ShutdownResponse>(admin_.get(), &v1::Admin::Stub::Shutdown,
                                      v1::ShutdownRequest())
        .status();
  }

  BlobStore& blobs() override { return blobs_; }
  absl::Status PutBlobs(absl::Span<const std::pair<Digest, std::string>> blobs) override {
    std::vector<RemoteBlobStore::Blob> batch;
    for (const auto& [digest, bytes] : blobs) batch.push_back({digest, bytes});
    return remote_.PutBatch(batch);
  }

 private:
  template <typename Response, typename Stub, typename Method, typename Request>
  absl::StatusOr<Response> Call(Stub* stub, Method method, const Request& request,
                                absl::Duration timeout = kCallTimeout) {
    grpc::ClientContext context;
    SetTimeout(context, timeout);
    Response response;
    RETURN_IF_ERROR(Named((stub->*method)(&context, request, &response)));
    return response;
  }

  static void SetTimeout(grpc::ClientContext& context, absl::Duration timeout) {
    context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(timeout));
  }

  // Without a deadline: builds take as long as they take, and keepalive finds a dead peer.
  template <typename Stub, typename Method, typename Request>
  absl::Status Stream(Stub* stub, Method method, const Request& request,
                      const EventHandler& handler) {
    grpc::ClientContext context;
    auto reader = (stub->*method)(&context, request);
    v1::BuildEvent event;
    while (reader->Read(&event)) handler(event);
    return Named(reader->Finish());
  }

  absl::Status Named(const grpc::Status& grpc_status) const {
    const absl::Status status = FromGrpcStatus(grpc_status);
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
    return Annotate(status, absl::StrCat("farm at ", address_));
  }

  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Builds::Stub> builds_;
  const std::unique_ptr<v1::Images::Stub> images_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
  RemoteBlobStore remote_;
  VerifyingBlobStore blobs_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<FarmClient>> ConnectFarm(const std::string& address,
                                                        const v1::TlsClientConfig& tls,
                                                        const std::string& token_file) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, MakeChannel(address, tls, token_file));
  return std::make_unique<GrpcFarmClient>(address, std::move(channel));
}

}  // namespace farm
