// Images of OCI layouts that clients have: --build-context NAME=oci-layout://...
#ifndef FARM_COORDINATOR_LAYOUT_IMAGE_H_
#define FARM_COORDINATOR_LAYOUT_IMAGE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "coordinator/base_resolver.h"
#include "coordinator/farm_context.h"
#include "oci/platform.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// The layout of one of the request's contexts that gives the image `name`, as plans name it; null
// if none does.
const v1::OciLayout* FindLayout(const v1::StartBuildRequest& request, const std::string& name);

// Its image for a platform, in place of what a registry says. No tag and no registry is asked, and
// nothing is stored. Blocks: call it on the pool.
//   FAILED_PRECONDITION  the client has yet to send it, or blobs of its layers
//   NOT_FOUND            the layout has none for this platform; the message lists which it has
//   INVALID_ARGUMENT     documents that make no sense, or don't belong together
absl::StatusOr<ResolvedBase> ResolveLayout(FarmContext& farm, const std::string& domain,
                                           const v1::OciLayout& layout, const Platform& platform);

// Adds the blobs of its images' layers: they are of no tag that would keep them.
void AddLayerBlobs(const v1::OciLayout& layout, std::vector<Digest>& blobs);

}  // namespace farm

#endif  // FARM_COORDINATOR_LAYOUT_IMAGE_H_
