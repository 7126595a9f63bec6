#include "oci/descriptor.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace farm {

absl::StatusOr<LayerCompression> LayerCompressionOf(absl::string_view media_type) {
  static const auto* const kTypes = new std::map<absl::string_view, LayerCompression>{
      {kOciLayerType, LayerCompression::kNone},
      {kOciLayerGzipType, LayerCompression::kGzip},
      {kOciLayerZstdType, LayerCompression::kZstd},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar", LayerCompression::kNone},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", LayerCompression::kGzip},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", LayerCompression::kZstd},
      {kDockerLayerType, LayerCompression::kNone},
      {kDockerLayerGzipType, LayerCompression::kGzip},
      {"application/vnd.docker.image.rootfs.diff.tar.zstd", LayerCompression::kZstd},
      {"application/vnd.docker.image.rootfs.foreign.diff.tar", LayerCompression::kNone},
      {kDockerForeignLayerGzipType, LayerCompression::kGzip},
  };
  const auto found = kTypes->find(media_type);
  if (found == kTypes->end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "media type \"", media_type.substr(0, 200),
        "\" is no image layer; expected a tar, plain or compressed with gzip or zstd"));
  }
  return found->second;
}

absl::string_view OciLayerType(LayerCompression compression) {
  switch (compression) {
    case LayerCompression::kNone:
      return kOciLayerType;
    case LayerCompression::kGzip:
      return kOciLayerGzipType;
    case LayerCompression::kZstd:
      return kOciLayerZstdType;
  }
  return kOciLayerType;
}

bool IsIndexType(absl::string_view media_type) {
  return media_type == kOciIndexType || media_type == kDockerManifestListType;
}

bool IsManifestType(absl::string_view media_type) {
  return media_type == kOciManifestType || media_type == kDockerManifestType;
}

}  // namespace farm
