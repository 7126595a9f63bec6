#ifndef FARM_OCI_DESCRIPTOR_H_
#define FARM_OCI_DESCRIPTOR_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "oci/platform.h"

namespace farm {

// Media types (image-spec, media-types.md; docker's image-manifest v2 schema 2).
inline constexpr char kOciIndexType[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciManifestType[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciConfigType[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kOciLayerType[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kOciLayerGzipType[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kOciLayerZstdType[] = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr char kDockerManifestListType[] =
    "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerManifestType[] =
    "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerConfigType[] = "application/vnd.docker.container.image.v1+json";
inline constexpr char kDockerLayerType[] = "application/vnd.docker.image.rootfs.diff.tar";
inline constexpr char kDockerLayerGzipType[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
inline constexpr char kDockerForeignLayerGzipType[] =
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

// What a blob is and how to know it: the link from one document of an image to the next.
struct Descriptor {
  std::string media_type;
  Digest digest;  // With the size.
  std::vector<std::string> urls;
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;  // In an index: what the manifest is for.
  std::string artifact_type;

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

enum class LayerCompression { kNone, kGzip, kZstd };

// How a layer of this media type is compressed, OCI's and docker's names alike ("nondistributable"
// and "foreign" ones too). INVALID_ARGUMENT if it is no layer that the farm can read (an encrypted
// one, a helm chart, …).
absl::StatusOr<LayerCompression> LayerCompressionOf(absl::string_view media_type);

// OCI's name of a layer so compressed.
absl::string_view OciLayerType(LayerCompression compression);

bool IsIndexType(absl::string_view media_type);     // An index or docker's manifest list.
bool IsManifestType(absl::string_view media_type);  // One image's manifest, OCI's or docker's.

// Opens a blob for reading at `offset`, as often as it is asked to. NOT_FOUND if the store lacks
// it.
using BlobOpener = std::function<absl::StatusOr<std::unique_ptr<ByteSource>>(const Descriptor& blob,
                                                                             int64_t offset)>;

}  // namespace farm

#endif  // FARM_OCI_DESCRIPTOR_H_
