#include "oci/testing/test_layout.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "oci/testing/image_documents.h"

namespace farm {
namespace {

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace

TestLayout::TestLayout(std::string directory) : directory_(std::move(directory)) {
  std::filesystem::create_directories(directory_ + "/blobs/sha256");
  Write(directory_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

std::string TestLayout::BlobPath(const Digest& digest) const {
  return absl::StrCat(directory_, "/blobs/sha256/", digest.hex());
}

Digest TestLayout::AddBlob(const std::string& bytes) const {
  const Digest digest = DigestOf(bytes);
  Write(BlobPath(digest), bytes);
  return digest;
}

Descriptor TestLayout::AddImage(const std::string& platform,
                                const std::vector<std::string>& layers) const {
  ImageConfig config;
  config.platform = *Platform::Parse(platform);
  std::vector<Descriptor> blobs;
  for (const std::string& bytes : layers) {
    blobs.push_back({.media_type = kOciLayerType, .digest = AddBlob(bytes)});
  }
  const ImageDocuments made = MakeImageDocuments(std::move(config), std::move(blobs));
  AddBlob(made.config_bytes);
  AddBlob(made.manifest_bytes);
  return made.manifest;
}

Descriptor TestLayout::AddIndex(const std::vector<Descriptor>& images) const {
  ImageIndex index;
  index.manifests = images;
  return {.media_type = kOciIndexType, .digest = AddBlob(SerializeImageIndex(index))};
}

void TestLayout::Tag(const std::string& tag, Descriptor entry) {
  if (!tag.empty()) entry.annotations["org.opencontainers.image.ref.name"] = tag;
  index_.manifests.push_back(std::move(entry));
  Write(directory_ + "/index.json", SerializeImageIndex(index_));
}

}  // namespace farm
