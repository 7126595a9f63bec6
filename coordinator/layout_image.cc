#include "coordinator/layout_image.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/reference.h"

namespace farm {
namespace {

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

ClientLayouts::ClientLayouts(const v1::StartBuildRequest& request) {
  for (const v1::NamedContext& context : request.named_contexts()) {
    if (!context.has_layout()) continue;
    const absl::StatusOr<Reference> reference = Reference::Parse(context.layout().reference());
    if (!reference.ok()) continue;  // No plan names it.
    Layout& layout = layouts_[reference->WithDefaultTag().canonical()];
    layout.given = &context.layout();
    layout.digest = reference->digest();
  }
}

absl::Status ClientLayouts::Parse(Layout& layout) {
  std::vector<Image> images;
  for (const v1::OciLayout::Image& documents : layout.given->images()) {
    Image image{.documents = &documents,
                .digest = DigestOf(documents.manifest_json()),
                .manifest = {},
                .config = {}};
    ASSIGN_OR_RETURN(image.manifest, ParseManifest(documents.manifest_json()));
    ASSIGN_OR_RETURN(image.config, ParseImageConfig(documents.config_json()));
    if (image.manifest.config.digest != DigestOf(documents.config_json())) {
      return absl::InvalidArgumentError("the manifest names another config");
    }
    images.push_back(std::move(image));
  }
  layout.images = std::move(images);
  return absl::OkStatus();
}

absl::StatusOr<const ClientLayouts::Image*> ClientLayouts::Select(const Layout& layout,
                                                                  const Platform& platform) {
  ImageIndex index;
  for (const Image& image : layout.images) {
    // Not of several: it is taken whatever its platform, as one in a registry is.
    if (image.digest.oci() == layout.digest) return &image;
    index.manifests.push_back({.media_type = kOciManifestType,
                               .digest = image.digest,
                               .platform = image.config.platform.Normalized()});
  }
  const absl::StatusOr<Descriptor> selected = SelectPlatform(index, platform);
  if (absl::IsNotFound(selected.status()) && !layout.given->complete()) {
    return absl::FailedPreconditionError(absl::StrCat("the image for ", platform.ToString(),
                                                      " of this OCI layout is not in the farm"));
  }
  RETURN_IF_ERROR(selected.status());
  for (const Image& image : layout.images) {
    if (image.digest == selected->digest) return &image;
  }
  return absl::InternalError("an entry was selected that is not in the index");
}

absl::StatusOr<ResolvedBase> ClientLayouts::Resolve(FarmContext& farm, const std::string& domain,
                                                    const std::string& name,
                                                    const Platform& platform) {
  Layout& layout = layouts_.at(name);
  if (layout.images.empty()) {
    RETURN_IF_ERROR(Parse(layout));
  }
  ASSIGN_OR_RETURN(const Image* const image, Select(layout, platform));
  ResolvedBase base;
  ASSIGN_OR_RETURN(base.layers, Session::FindLayers(farm, domain, image->config.diff_ids,
                                                    image->manifest.layers, ""));
  RETURN_IF_ERROR(CheckLayersAreHere(farm, base.layers));
  base.image = {.reference = name, .manifest = image->digest, .config = image->config};
  base.manifest_bytes = image->documents->manifest_json();
  base.config_bytes = image->documents->config_json();
  return base;
}

}  // namespace farm
