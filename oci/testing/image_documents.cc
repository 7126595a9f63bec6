#include "oci/testing/image_documents.h"

#include <utility>

#include "base/sha256.h"

namespace farm {

ImageDocuments MakeImageDocuments(ImageConfig config, std::vector<Descriptor> layers) {
  ImageDocuments made;
  config.diff_ids.clear();
  for (const Descriptor& layer : layers) config.diff_ids.push_back(layer.digest.oci());
  made.config_bytes = SerializeImageConfig(config);
  made.config.media_type = kOciConfigType;
  made.config.digest = DigestOf(made.config_bytes);
  Manifest manifest;
  manifest.config = made.config;
  manifest.layers = std::move(layers);
  made.manifest_bytes = SerializeManifest(manifest);
  made.manifest.media_type = kOciManifestType;
  made.manifest.digest = DigestOf(made.manifest_bytes);
  made.manifest.platform = config.platform.Normalized();
  return made;
}

}  // namespace farm
