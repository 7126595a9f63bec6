#ifndef FARM_OCI_TESTING_IMAGE_DOCUMENTS_H_
#define FARM_OCI_TESTING_IMAGE_DOCUMENTS_H_

#include <string>
#include <vector>

#include "oci/image_config.h"
#include "oci/manifest.h"

namespace farm {

// A whole image but for its layers' bytes. Each document hashes to its descriptor.
struct ImageDocuments {
  std::string config_bytes;
  Descriptor config;
  std::string manifest_bytes;
  Descriptor manifest;  // with the platform
};

// Of an OCI image with these layers, base first. Its diffIDs are their digests, whatever their
// compression.
ImageDocuments MakeImageDocuments(ImageConfig config, std::vector<Descriptor> layers);

}  // namespace farm

#endif  // FARM_OCI_TESTING_IMAGE_DOCUMENTS_H_
