// Sessions that change or move images without a Dockerfile.
#ifndef FARM_COORDINATOR_IMAGE_SESSIONS_H_
#define FARM_COORDINATOR_IMAGE_SESSIONS_H_

#include <memory>
#include <string>
#include <vector>

#include "coordinator/base_resolver.h"
#include "coordinator/export_session.h"
#include "proto/farm/v1/image.pb.h"

namespace farm {

// Makes a one-layer image of a tar in the CAS: docker import.
class ImportSession final : public ExportSession {
 public:
  ImportSession(FarmContext& farm, Options options, v1::ImportImageRequest request)
      : ExportSession(farm, std::move(options)), request_(std::move(request)) {}
  void Start() override;
  void AddLiveBlobs(LiveBlobs& live) const override;

 private:
  void Store(const v1::StepResult& result);

  const v1::ImportImageRequest request_;
};

// Stores an image whose documents and layer blobs the client has put into the CAS: docker load.
class LoadSession final : public ExportSession {
 public:
  LoadSession(FarmContext& farm, Options options, v1::LoadImageRequest request)
      : ExportSession(farm, std::move(options)), request_(std::move(request)) {}
  void Start() override;
  void AddLiveBlobs(LiveBlobs& live) const override;

 private:
  const v1::LoadImageRequest request_;
};

// Brings an image with all its layers from its registry and tags it.
class PullSession final : public ExportSession {
 public:
  PullSession(FarmContext& farm, Options options, v1::PullImageRequest request)
      : ExportSession(farm, std::move(options)), request_(std::move(request)) {}
  void Start() override;

 private:
  void OnResolved(ResolvedBase base);

  const v1::PullImageRequest request_;
};

// Sends a stored image to its registry, or makes all of its layers blobs of the CAS.
class StoredImageSession final : public ExportSession {
 public:
  StoredImageSession(FarmContext& farm, Options options, std::string name, bool push,
                     std::string compression)
      : ExportSession(farm, std::move(options)),
        name_(std::move(name)),
        push_(push),
        compression_(std::move(compression)) {}
  void Start() override;

 private:
  struct Found {
    ImageStore::Stored stored;
    std::vector<FoundLayer> layers;
  };
  void OnFound(Found found);

  const std::string name_;
  const bool push_;
  const std::string compression_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_IMAGE_SESSIONS_H_
