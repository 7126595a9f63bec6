#include <utility>

#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "coordinator/base_resolver.h"
#include "coordinator/image_sessions.h"
#include "coordinator/service_support.h"
#include "proto/farm/v1/image.grpc.pb.h"

namespace farm {
namespace {

using EventReactor = grpc::ServerWriteReactor<v1::BuildEvent>;

class ImageService final : public v1::Images::CallbackService {
 public:
  explicit ImageService(ServiceContext& context) : context_(context), farm_(context.farm) {}

  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* call,
                                 const v1::ListImagesRequest* request,
                                 v1::ListImagesResponse* response) override {
    return Answer(
        context_, call, response,
        [this, request](const Caller& caller, v1::ListImagesResponse& out) -> absl::Status {
          ASSIGN_OR_RETURN(std::vector<v1::Image> images,
                           farm_.images.List(caller.domain, request->repository()));
          for (v1::Image& image : images) *out.add_images() = std::move(image);
          return absl::OkStatus();
        });
  }

  grpc::ServerUnaryReactor* Inspect(grpc::CallbackServerContext* call,
                                    const v1::InspectImageRequest* request,
                                    v1::Image* response) override {
    return Answer(context_, call, response,
                  [this, request](const Caller& caller, v1::Image& out) -> absl::Status {
                    ASSIGN_OR_RETURN(out, farm_.images.Inspect(caller.domain, request->name()));
                    return absl::OkStatus();
                  });
  }

  grpc::ServerUnaryReactor* Tag(grpc::CallbackServerContext* call,
                                const v1::TagImageRequest* request,
                                v1::TagImageResponse* response) override {
    return Answer(context_, call, response,
                  [this, request](const Caller& caller, v1::TagImageResponse&) -> absl::Status {
                    ASSIGN_OR_RETURN(const ImageStore::Stored stored,
                                     farm_.images.Find(caller.domain, request->source()));
                    return farm_.images.Tag(caller.domain, request->tag(), stored.manifest_digest);
                  });
  }

  grpc::ServerUnaryReactor* Remove(grpc::CallbackServerContext* call,
                                   const v1::RemoveImageRequest* request,
                                   v1::RemoveImageResponse* response) override {
    return Answer(
        context_, call, response,
        [this, request](const Caller& caller, v1::RemoveImageResponse& out) -> absl::Status {
          ASSIGN_OR_RETURN(
              out,
              farm_.images.Remove(caller.domain, {request->names().begin(), request->names().end()},
                                  request->force()));
          return absl::OkStatus();
        });
  }

  grpc::ServerUnaryReactor* Resolve(grpc::CallbackServerContext* call,
                                    const v1::ResolveImageRequest* request,
                                    v1::ResolveImageResponse* response) override {
    return AnswerOn(
        farm_.slow_pool, context_, call, response,
        [this, request](const Caller& caller, v1::ResolveImageResponse& out) -> absl::Status {
          const RegistryAuth auth =
              AuthOf({request->credentials().begin(), request->credentials().end()});
          ASSIGN_OR_RETURN(
              const ResolvedBase base,
              ResolveBase(farm_, caller.domain, request->name(),
                          request->has_platform() ? request->platform() : farm_.platform,
                          request->pull(), {.auth = &auth}));
          *out.mutable_manifest() = DigestToProto(base.image.manifest);
          out.set_config_json(base.config_bytes);
          return absl::OkStatus();
        });
  }

  EventReactor* Import(grpc::CallbackServerContext* call,
                       const v1::ImportImageRequest* request) override {
    return StartSession(context_, call, {}, [this, request = *request](Session::Options options) {
      return std::make_shared<ImportSession>(farm_, std::move(options), request);
    });
  }

  EventReactor* Load(grpc::CallbackServerContext* call,
                     const v1::LoadImageRequest* request) override {
    return StartSession(context_, call, {}, [this, request = *request](Session::Options options) {
      return std::make_shared<LoadSession>(farm_, std::move(options), request);
    });
  }

  EventReactor* Pull(grpc::CallbackServerContext* call,
                     const v1::PullImageRequest* request) override {
    return StartSession(context_, call,
                        {request->credentials().begin(), request->credentials().end()},
                        [this, request = *request](Session::Options options) {
                          return std::make_shared<PullSession>(farm_, std::move(options), request);
                        });
  }

  EventReactor* Push(grpc::CallbackServerContext* call,
                     const v1::PushImageRequest* request) override {
    return StartSession(
        context_, call, {request->credentials().begin(), request->credentials().end()},
        [this, request = *request](Session::Options options) {
          return std::make_shared<StoredImageSession>(farm_, std::move(options), request.name(),
                                                      /*push=*/true, request.compression());
        });
  }

  EventReactor* Export(grpc::CallbackServerContext* call,
                       const v1::ExportImageRequest* request) override {
    return StartSession(context_, call, {}, [this, request = *request](Session::Options options) {
      return std::make_shared<StoredImageSession>(farm_, std::move(options), request.name(),
                                                  /*push=*/false, request.compression());
    });
  }

 private:
  ServiceContext& context_;
  FarmContext& farm_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeImageService(ServiceContext& context) {
  return std::make_unique<ImageService>(context);
}

}  // namespace farm
