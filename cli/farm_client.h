#ifndef FARM_CLI_FARM_CLIENT_H_
#define FARM_CLI_FARM_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/cancel_token.h"
#include "cas/blob_store.h"
#include "proto/farm/v1/admin.pb.h"
#include "proto/farm/v1/build.pb.h"
#include "proto/farm/v1/config.pb.h"
#include "proto/farm/v1/image.pb.h"

namespace farm {

// The farm's APIs as the commands use them: blocking calls whose errors are those that the .proto
// files list. UNAVAILABLE names the address. Safe for concurrent calls.
class FarmClient {
 public:
  // Receives the events of a stream in order, each before the next is read.
  using EventHandler = std::function<void(const v1::BuildEvent&)>;

  virtual ~FarmClient() = default;

  // Each returns when the stream has ended: OK does not say that the build went well, its
  // `finished` event does.
  virtual absl::Status StartBuild(const v1::StartBuildRequest& request,
                                  const EventHandler& handler) = 0;
  virtual absl::Status AttachBuild(const v1::AttachRequest& request,
                                   const EventHandler& handler) = 0;
  virtual absl::Status Cancel(const v1::CancelRequest& request) = 0;
  // A long poll. Returns early with CANCELLED once `cancel` is used.
  virtual absl::StatusOr<v1::AnswerSshAgentResponse> AnswerSshAgent(
      const v1::AnswerSshAgentRequest& request, CancelToken& cancel) = 0;

  virtual absl::StatusOr<v1::ListImagesResponse> ListImages(
      const v1::ListImagesRequest& request) = 0;
  virtual absl::StatusOr<v1::Image> InspectImage(const v1::InspectImageRequest& request) = 0;
  virtual absl::Status TagImage(const v1::TagImageRequest& request) = 0;
  virtual absl::StatusOr<v1::RemoveImageResponse> RemoveImage(
      const v1::RemoveImageRequest& request) = 0;
  virtual absl::StatusOr<v1::ResolveImageResponse> ResolveImage(
      const v1::ResolveImageRequest& request) = 0;
  // Streams as StartBuild().
  virtual absl::Status ImportImage(const v1::ImportImageRequest& request,
                                   const EventHandler& handler) = 0;
  virtual absl::Status LoadImage(const v1::LoadImageRequest& request,
                                 const EventHandler& handler) = 0;
  virtual absl::Status PullImage(const v1::PullImageRequest& request,
                                 const EventHandler& handler) = 0;
  virtual absl::Status PushImage(const v1::PushImageRequest& request,
                                 const EventHandler& handler) = 0;
  virtual absl::Status ExportImage(const v1::ExportImageRequest& request,
                                   const EventHandler& handler) = 0;

  // OK once the coordinator serves (grpc.health.v1).
  virtual absl::Status CheckHealth(absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::InfoResponse> Info(absl::Duration timeout) = 0;
  virtual absl::StatusOr<v1::DiskUsageResponse> DiskUsage() = 0;
  virtual absl::StatusOr<v1::PruneResponse> Prune(const v1::PruneRequest& request) = 0;
  virtual absl::Status Shutdown() = 0;

  // The farm's CAS.
  virtual BlobStore& blobs() = 0;
  // Stores many small blobs in few calls. Errors as of BlobStore::Put(), of the first that failed.
  virtual absl::Status PutBlobs(absl::Span<const std::pair<Digest, std::string>> blobs) = 0;
};

// Makes a client; the connection is made by its first call. See rpc/channel.h for addresses, TLS
// and tokens.
absl::StatusOr<std::unique_ptr<FarmClient>> ConnectFarm(const std::string& address,
                                                        const v1::TlsClientConfig& tls,
                                                        const std::string& token_file);

}  // namespace farm

#endif  // FARM_CLI_FARM_CLIENT_H_
