#include "coordinator/layout_image.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/manifest.h"
#include "oci/reference.h"

namespace farm {
namespace {

struct LayoutImage {
  const v1::OciLayout::Image* documents = nullptr;
  Manifest manifest;
  ImageConfig config;
};

absl::StatusOr<LayoutImage> ReadImage(const v1::OciLayout::Image& documents) {
  LayoutImage image{.documents = &documents};
  ASSIGN_OR_RETURN(image.manifest, ParseManifest(documents.manifest_json()));
  ASSIGN_OR_RETURN(image.config, ParseImageConfig(documents.config_json()));
  if (image.manifest.config.digest != DigestOf(documents.config_json())) {
    return absl::InvalidArgumentError("the manifest names another config");
  }
  return image;
}

// The one that suits `platform` best.
absl::StatusOr<LayoutImage> SelectImage(const v1::OciLayout& layout, const Platform& platform) {
  std::vector<LayoutImage> images;
  ImageIndex index;
  for (const v1::OciLayout::Image& documents : layout.images()) {
    ASSIGN_OR_RETURN(images.emplace_back(), ReadImage(documents));
    index.manifests.push_back({.media_type = kOciManifestType,
                               .digest = DigestOf(documents.manifest_json()),
                               .platform = images.back().config.platform.Normalized()});
  }
  const absl::StatusOr<Descriptor> selected = SelectPlatform(index, platform);
  if (absl::IsNotFound(selected.status()) && !layout.complete()) {
    return absl::FailedPreconditionError(absl::StrCat("the image for ", platform.ToString(),
                                                      " of this OCI layout is not in the farm"));
  }
  RETURN_IF_ERROR(selected.status());
  for (size_t i = 0; i < images.size(); ++i) {
    if (index.manifests[i] == *selected) return std::move(images[i]);
  }
  return absl::InternalError("an entry was selected that is not in the index");
}

absl::Status CheckLayersAreHere(FarmContext& farm, const std::vector<Session::FoundLayer>& layers) {
  std::vector<Digest> blobs;
  for (const Session::FoundLayer& layer : layers) {
    if (!layer.here) blobs.push_back(layer.blob.digest);
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, farm.blobs.FindMissing(blobs));
  if (missing.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("layer ", missing.front().oci(), " of this OCI layout is not in the farm"));
}

}  // namespace

const v1::OciLayout* FindLayout(const v1::StartBuildRequest& request, const std::string& name) {
  for (const v1::NamedContext& context : request.named_contexts()) {
    if (!context.has_layout()) continue;
    const absl::StatusOr<Reference> reference = Reference::Parse(context.layout().reference());
    if (reference.ok() && reference->WithDefaultTag().canonical() == name) {
      return &context.layout();
    }
  }
  return nullptr;
}

absl::StatusOr<ResolvedBase> ResolveLayout(FarmContext& farm, const std::string& domain,
                                           const v1::OciLayout& layout, const Platform& platform) {
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(layout.reference()));
  ASSIGN_OR_RETURN(LayoutImage image, SelectImage(layout, platform));
  ResolvedBase base;
  ASSIGN_OR_RETURN(base.layers, Session::FindLayers(farm, domain, image.config.diff_ids,
                                                    image.manifest.layers, ""));
  RETURN_IF_ERROR(CheckLayersAreHere(farm, base.layers));
  base.image = {.reference = reference.canonical(),
                .manifest = DigestOf(image.documents->manifest_json()),
                .config = std::move(image.config)};
  base.manifest_bytes = image.documents->manifest_json();
  base.config_bytes = image.documents->config_json();
  return base;
}

void AddLayerBlobs(const v1::OciLayout& layout, std::vector<Digest>& blobs) {
  for (const v1::OciLayout::Image& image : layout.images()) {
    const absl::StatusOr<Manifest> manifest = ParseManifest(image.manifest_json());
    if (!manifest.ok()) continue;
    for (const Descriptor& layer : manifest->layers) blobs.push_back(layer.digest);
  }
}

}  // namespace farm
