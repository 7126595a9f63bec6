#include "oci/layout_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr char kRefNameAnnotation[] = "org.opencontainers.image.ref.name";
// Named in an error.
constexpr size_t kTagsShownMax = 20;

class FileSource final : public ByteSource {
 public:
  explicit FileSource(UniqueFd fd) : fd_(std::move(fd)), source_(fd_.get()) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    return source_.Read(buffer, size);
  }

 private:
  const UniqueFd fd_;
  FdSource source_;
};

// The size of a regular file.
absl::StatusOr<int64_t> SizeOf(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, ": not a file"));
  return int64_t{info.st_size};
}

// "; there are: 1.0, dev".
std::string TagsThere(const ImageIndex& index) {
  std::vector<std::string> tags;
  for (const Descriptor& entry : index.manifests) {
    const auto tag = entry.annotations.find(kRefNameAnnotation);
    if (tag != entry.annotations.end()) tags.push_back(tag->second);
  }
  if (tags.empty()) {
    if (index.manifests.empty()) return "; it names no image";
    return absl::StrCat("; it has no tags: name an image by its digest, as @",
                        index.manifests.front().digest.oci());
  }
  const bool all = tags.size() <= kTagsShownMax;
  if (!all) tags.resize(kTagsShownMax);
  return absl::StrCat("; there are: ", absl::StrJoin(tags, ", "), all ? "" : ", ...");
}

}  // namespace

absl::StatusOr<std::string> LayoutReader::DigestOfTag(absl::string_view tag) const {
  const std::string path = directory_ + "/index.json";
  const absl::StatusOr<std::string> bytes = ReadFile(path, kManifestBytesMax);
  if (absl::IsNotFound(bytes.status())) {
    std::error_code error;
    if (!std::filesystem::is_directory(directory_, error)) {
      return absl::NotFoundError(absl::StrCat(directory_, ": no such directory"));
    }
    return absl::NotFoundError(
        absl::StrCat(directory_, ": no OCI layout: there is no index.json in it"));
  }
  RETURN_IF_ERROR(bytes.status());
  ASSIGN_OR_RETURN(const ImageIndex index, ParseImageIndex(*bytes), _ << path);
  for (const Descriptor& entry : index.manifests) {
    const auto name = entry.annotations.find(kRefNameAnnotation);
    if (name != entry.annotations.end() && name->second == tag) return entry.digest.oci();
  }
  return absl::NotFoundError(absl::StrCat(path, ": no tag \"", tag, "\"", TagsThere(index)));
}

absl::Status LayoutReader::CheckBlob(absl::string_view digest) const {
  ASSIGN_OR_RETURN(const Digest parsed, Digest::FromOci(digest, 0));
  return SizeOf(BlobPath(parsed)).status();
}

absl::StatusOr<LayoutReader::Image> LayoutReader::ImageFor(absl::string_view digest,
                                                           const Platform& platform) const {
  ASSIGN_OR_RETURN(std::string bytes, ReadRoot(digest));
  ASSIGN_OR_RETURN(const auto document, ParseManifestOrIndex(bytes, ""),
                   _ << directory_ << ": " << digest);
  const auto* const index = std::get_if<ImageIndex>(&document);
  if (index == nullptr) return ReadImage(std::move(bytes), "");
  ASSIGN_OR_RETURN(const Descriptor entry, SelectPlatform(*index, platform), _ << directory_);
  ASSIGN_OR_RETURN(bytes, ReadBlob(entry.digest), _ << "the image for " << platform.ToString());
  return ReadImage(std::move(bytes), entry.media_type);
}

absl::StatusOr<std::vector<LayoutReader::Image>> LayoutReader::ImagesOf(
    absl::string_view digest) const {
  ASSIGN_OR_RETURN(std::string bytes, ReadRoot(digest));
  ASSIGN_OR_RETURN(const auto document, ParseManifestOrIndex(bytes, ""),
                   _ << directory_ << ": " << digest);
  std::vector<Image> images;
  const auto* const index = std::get_if<ImageIndex>(&document);
  if (index == nullptr) {
    ASSIGN_OR_RETURN(images.emplace_back(), ReadImage(std::move(bytes), ""));
    return images;
  }
  for (const Descriptor& entry : index->manifests) {
    const bool is_attestation = entry.platform.has_value() && entry.platform->os == "unknown";
    if (is_attestation || !SizeOf(BlobPath(entry.digest)).ok()) continue;
    ASSIGN_OR_RETURN(bytes, ReadBlob(entry.digest));
    ASSIGN_OR_RETURN(images.emplace_back(), ReadImage(std::move(bytes), entry.media_type));
  }
  return images;
}

absl::StatusOr<std::unique_ptr<ByteSource>> LayoutReader::OpenLayer(const Descriptor& layer) const {
  const std::string path = BlobPath(layer.digest);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  return std::make_unique<FileSource>(std::move(fd));
}

std::string LayoutReader::BlobPath(const Digest& digest) const {
  return absl::StrCat(directory_, "/blobs/sha256/", digest.hex());
}

absl::StatusOr<std::string> LayoutReader::ReadBlob(const Digest& digest) const {
  const std::string path = BlobPath(digest);
  ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kImageConfigBytesMax));
  const Digest there = DigestOf(bytes);
  if (there.hash() != digest.hash()) {
    return absl::DataLossError(absl::StrCat(path, ": its digest is ", there.oci()));
  }
  if (there.size_bytes() != digest.size_bytes()) {
    return absl::DataLossError(absl::StrCat(path, ": it has ", there.size_bytes(),
                                            " bytes; what names it says ", digest.size_bytes()));
  }
  return bytes;
}

absl::StatusOr<std::string> LayoutReader::ReadRoot(absl::string_view digest) const {
  ASSIGN_OR_RETURN(const Digest parsed, Digest::FromOci(digest, 0));
  ASSIGN_OR_RETURN(const int64_t size_bytes, SizeOf(BlobPath(parsed)));
  return ReadBlob(Digest(parsed.hash(), size_bytes));
}

absl::StatusOr<LayoutReader::Image> LayoutReader::ReadImage(std::string manifest_bytes,
                                                            absl::string_view media_type) const {
  Image image;
  image.manifest_bytes = std::move(manifest_bytes);
  ASSIGN_OR_RETURN(image.manifest, ParseManifest(image.manifest_bytes, media_type),
                   _ << directory_ << ": manifest");
  const std::string& config_type = image.manifest.config.media_type;
  if (config_type != kOciConfigType && config_type != kDockerConfigType) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory_, ": not a container image, but an artifact of type ", config_type));
  }
  ASSIGN_OR_RETURN(image.config_bytes, ReadBlob(image.manifest.config.digest));
  ASSIGN_OR_RETURN(image.config, ParseImageConfig(image.config_bytes),
                   _ << directory_ << ": config");
  if (image.config.diff_ids.size() != image.manifest.layers.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(directory_, ": an image has ", image.manifest.layers.size(),
                     " layers, but its config ", image.config.diff_ids.size(), " diff_ids"));
  }
  for (size_t i = 0; i < image.manifest.layers.size(); ++i) {
    const Descriptor& layer = image.manifest.layers[i];
    RETURN_IF_ERROR(LayerCompressionOf(layer.media_type).status()) << directory_;
    RETURN_IF_ERROR(CheckSize(layer, absl::StrCat("layer ", i)));
  }
  return image;
}

absl::Status LayoutReader::CheckSize(const Descriptor& blob, absl::string_view what) const {
  const std::string path = BlobPath(blob.digest);
  ASSIGN_OR_RETURN(const int64_t size_bytes, SizeOf(path), _ << what);
  if (size_bytes == blob.digest.size_bytes()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, ": ", path, " has ", size_bytes,
                                          " bytes; the manifest says ", blob.digest.size_bytes()));
}

}  // namespace farm
