// Images of OCI layouts that clients have: --build-context NAME=oci-layout://...
#ifndef FARM_COORDINATOR_LAYOUT_IMAGE_H_
#define FARM_COORDINATOR_LAYOUT_IMAGE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "coordinator/base_resolver.h"
#include "coordinator/farm_context.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/platform.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// In place of what a registry says: no tag and no registry is asked, and nothing is stored. Each
// document is parsed once. For one thread.
class ClientLayouts {
 public:
  explicit ClientLayouts(const v1::StartBuildRequest& request);  // which must outlive this

  // Whether a layout gives the image that plans name so.
  bool Has(const std::string& name) const { return layouts_.contains(name); }

  // Its image for a platform. Blocks: call it on the pool.
  //   FAILED_PRECONDITION  the client has yet to send it, or blobs of its layers
  //   NOT_FOUND            the layout has none for this platform; the message lists which it has
  //   INVALID_ARGUMENT     documents that make no sense, or don't belong together
  absl::StatusOr<ResolvedBase> Resolve(FarmContext& farm, const std::string& domain,
                                       const std::string& name, const Platform& platform);

 private:
  struct Image {
    const v1::OciLayout::Image* documents = nullptr;
    Digest digest;  // of the manifest
    Manifest manifest;
    ImageConfig config;
  };
  struct Layout {
    const v1::OciLayout* given = nullptr;
    std::string digest;         // of its reference: a manifest, or an index
    std::vector<Image> images;  // once one is asked for
  };

  static absl::Status Parse(Layout& layout);
  static absl::StatusOr<const Image*> Select(const Layout& layout, const Platform& platform);

  std::map<std::string, Layout> layouts_;  // by name
};

}  // namespace farm

#endif  // FARM_COORDINATOR_LAYOUT_IMAGE_H_
