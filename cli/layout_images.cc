#include "cli/layout_images.h"

#include <map>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "cli/exit_code.h"
#include "oci/platform.h"
#include "oci/reference.h"

namespace farm {
namespace {

// One for each platform. NOT_FOUND if the layout has not all of them.
absl::StatusOr<std::vector<LayoutReader::Image>> ReadFor(const std::set<std::string>& platforms,
                                                         const LayoutReader& layout,
                                                         const std::string& digest) {
  std::map<std::string, LayoutReader::Image> images;  // one may suit several platforms
  for (const std::string& text : platforms) {
    ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(text));
    ASSIGN_OR_RETURN(LayoutReader::Image image, layout.ImageFor(digest, platform));
    images.emplace(image.manifest_bytes, image);
  }
  std::vector<LayoutReader::Image> list;
  for (auto& [bytes, image] : images) list.push_back(std::move(image));
  return list;
}

}  // namespace

absl::StatusOr<std::optional<LayoutReader::Image>> FindLayoutImage(
    const std::vector<ContextFlag>& flags, const ImageKey& key) {
  for (const ContextFlag& flag : flags) {
    if (flag.layout.empty()) continue;
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(flag.context.image));
    if (reference.canonical() != key.name) continue;
    ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(key.platform));
    ASSIGN_OR_RETURN(LayoutReader::Image image,
                     LayoutReader(flag.layout).ImageFor(reference.digest(), platform),
                     AsLocalError(_));
    return image;
  }
  return std::nullopt;
}

absl::Status LayoutImages::Read(const std::vector<ContextFlag>& flags,
                                const std::optional<std::vector<ImageKey>>& keys,
                                v1::StartBuildRequest& request) {
  layers_.clear();
  for (const ContextFlag& flag : flags) {
    if (flag.layout.empty()) continue;
    std::set<std::string> platforms;
    if (keys.has_value()) {
      ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(flag.context.image));
      for (const ImageKey& key : *keys) {
        if (key.name == reference.canonical()) platforms.insert(key.platform);
      }
      if (platforms.empty()) continue;
    }
    RETURN_IF_ERROR(AsLocalError(
        ReadOne(flag, platforms,
                *request.mutable_named_contexts(flag.context.index - 1)->mutable_layout())))
        << "context " << flag.name;
  }
  return absl::OkStatus();
}

absl::Status LayoutImages::ReadOne(const ContextFlag& flag, const std::set<std::string>& platforms,
                                   v1::OciLayout& layout) {
  const LayoutReader reader(flag.layout);
  ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(flag.context.image));
  absl::StatusOr<std::vector<LayoutReader::Image>> images =
      ReadFor(platforms, reader, reference.digest());
  layout.clear_images();
  layout.clear_layers();
  layout.set_complete(platforms.empty() || !images.ok());
  if (layout.complete()) {
    ASSIGN_OR_RETURN(images, reader.ImagesOf(reference.digest()));
  }
  for (LayoutReader::Image& image : *images) {
    for (const Descriptor& layer : image.manifest.layers) {
      layers_.emplace_back(flag.layout, layer);
      *layout.add_layers() = DigestToProto(layer.digest);
    }
    v1::OciLayout::Image& added = *layout.add_images();
    added.set_manifest_json(std::move(image.manifest_bytes));
    added.set_config_json(std::move(image.config_bytes));
  }
  return absl::OkStatus();
}

absl::Status LayoutImages::Upload(
    BlobStore& blobs, const std::function<void(int64_t sent_bytes)>& on_uploaded) const {
  int64_t sent_bytes = 0;
  for (const auto& [directory, layer] : layers_) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs.FindMissing({layer.digest}));
    if (missing.empty()) continue;
    ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> source,
                     LayoutReader(directory).OpenLayer(layer), AsLocalError(_));
    const absl::Status stored = blobs.Put(layer.digest, *source);
    if (absl::IsInvalidArgument(stored)) {
      return AsLocalError(absl::DataLossError(
          absl::StrCat(directory, ": layer ", layer.digest.oci(), " has another digest")));
    }
    RETURN_IF_ERROR(stored) << directory;
    sent_bytes += layer.digest.size_bytes();
    on_uploaded(sent_bytes);
  }
  return absl::OkStatus();
}

}  // namespace farm
