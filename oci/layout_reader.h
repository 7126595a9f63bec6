#ifndef FARM_OCI_LAYOUT_READER_H_
#define FARM_OCI_LAYOUT_READER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "oci/descriptor.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/platform.h"

namespace farm {

// Reads an OCI image layout in a directory, as `--output type=oci,tar=false`, skopeo and others
// write it: index.json, and blobs/sha256/HEX. What is read is checked against its digest, but for
// layers: who unpacks one, or stores it under its digest, does that. Errors begin with the path.
class LayoutReader {
 public:
  // An image for one platform, with all of its blobs there.
  struct Image {
    std::string manifest_bytes;
    std::string config_bytes;
    Manifest manifest;
    ImageConfig config;
  };

  explicit LayoutReader(std::string directory) : directory_(std::move(directory)) {}

  // "sha256:HEX" of what index.json calls `tag`, by the annotation
  // org.opencontainers.image.ref.name: a manifest, or the index of an image for several platforms.
  //   NOT_FOUND         no index.json; no such tag, and which there are
  //   INVALID_ARGUMENT  an index.json that makes no sense
  absl::StatusOr<std::string> DigestOfTag(absl::string_view tag) const;

  // NOT_FOUND if there is no blob "sha256:HEX"; INVALID_ARGUMENT for another form of digest.
  absl::Status CheckBlob(absl::string_view digest) const;

  // The image whose manifest is `digest` ("sha256:HEX"), whatever its platform; of an index that
  // for `platform`.
  //   NOT_FOUND         a blob is missing, or the index has no such platform; says which it has
  //   DATA_LOSS         a blob has another digest or size
  //   INVALID_ARGUMENT  documents that make no sense, or no image
  absl::StatusOr<Image> ImageFor(absl::string_view digest, const Platform& platform) const;
  // The same for all platforms of which the layout has the manifest.
  absl::StatusOr<std::vector<Image>> ImagesOf(absl::string_view digest) const;

  // The bytes of a layer. NOT_FOUND.
  absl::StatusOr<std::unique_ptr<ByteSource>> OpenLayer(const Descriptor& layer) const;

 private:
  std::string BlobPath(const Digest& digest) const;
  absl::StatusOr<std::string> ReadBlob(const Digest& digest) const;
  // Of a blob of which the digest alone is known.
  absl::StatusOr<std::string> ReadRoot(absl::string_view digest) const;
  absl::StatusOr<Image> ReadImage(std::string manifest_bytes, absl::string_view media_type) const;
  absl::Status CheckSize(const Descriptor& blob, absl::string_view what) const;

  const std::string directory_;
};

}  // namespace farm

#endif  // FARM_OCI_LAYOUT_READER_H_
