#ifndef FARM_OCI_TESTING_FAKE_REGISTRY_H_
#define FARM_OCI_TESTING_FAKE_REGISTRY_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/registry.h"

namespace farm {

// All registries of the world, in memory. Obeys registry.h; hosts need no credentials unless told.
class FakeRegistry final : public Registry {
 public:
  // Stores an image: config and layers (any bytes, kOciLayerType) under "repo:tag". Its diff_ids
  // are those of the layers. Returns the manifest's descriptor.
  Descriptor AddImage(absl::string_view reference, ImageConfig config,
                      const std::vector<std::string>& layers);
  Descriptor AddBlob(absl::string_view repository, absl::string_view media_type,
                     absl::string_view bytes);
  // From now on calls on `host` need this user and password, else UNAUTHENTICATED.
  void RequireLogin(absl::string_view host, RegistryCredential credential);
  // The next call tells its caller this, as if something had been tried again.
  void RemarkNext(std::string remark);
  // Each of the next `times` calls returns `status`.
  void FailNext(absl::Status status, int times = 1);

  // "Resolve docker.io/library/alpine:latest", "FetchBlob REPO sha256:…", in order.
  std::vector<std::string> calls() const;
  bool HasManifest(absl::string_view reference) const;

  absl::StatusOr<ResolvedImage> Resolve(const Reference& reference, const Platform& platform,
                                        const RegistryCall& call) override;
  absl::StatusOr<RawManifest> FetchManifest(const Reference& reference,
                                            const RegistryCall& call) override;
  absl::Status FetchBlob(const Reference& repository, const Descriptor& blob, int64_t offset,
                         ByteSink& sink, const RegistryCall& call) override;
  absl::StatusOr<bool> HasBlob(const Reference& repository, const Descriptor& blob,
                               const RegistryCall& call) override;
  absl::Status PushBlob(const Reference& repository, const Descriptor& blob, const BlobOpener& open,
                        const RegistryCall& call) override;
  absl::StatusOr<bool> MountBlob(const Reference& repository, const Descriptor& blob,
                                 const Reference& from, const RegistryCall& call) override;
  absl::StatusOr<Digest> PushManifest(const Reference& reference, absl::string_view media_type,
                                      absl::string_view bytes, const RegistryCall& call) override;

 private:
  struct Repository {
    std::map<Digest, std::string> blobs;
    std::map<std::string, RawManifest> manifests;  // By tag and by "sha256:HEX".
  };

  absl::Status Enter(absl::string_view what, const Reference& reference, const RegistryCall& call)
      FARM_REQUIRES(mu_);
  absl::StatusOr<RawManifest> FindManifest(const Reference& reference) const FARM_REQUIRES(mu_);
  const std::string* FindBlob(const Reference& repository, const Digest& digest) const
      FARM_REQUIRES(mu_);

  mutable Mutex mu_;
  std::map<std::string, Repository> repositories_ FARM_GUARDED_BY(mu_);  // By HOST/PATH.
  std::map<std::string, RegistryCredential> logins_ FARM_GUARDED_BY(mu_);
  std::vector<std::string> calls_ FARM_GUARDED_BY(mu_);
  std::string remark_ FARM_GUARDED_BY(mu_);
  absl::Status failure_ FARM_GUARDED_BY(mu_);
  int failures_left_ FARM_GUARDED_BY(mu_) = 0;
};

}  // namespace farm

#endif  // FARM_OCI_TESTING_FAKE_REGISTRY_H_
