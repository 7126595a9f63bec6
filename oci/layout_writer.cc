#include "oci/layout_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "oci/json_reader.h"
#include "oci/manifest.h"

namespace farm {
namespace {

constexpr char kOciLayoutFile[] = R"({"imageLayoutVersion":"1.0.0"})";
constexpr char kContainerdNameAnnotation[] = "io.containerd.image.name";
constexpr char kRefNameAnnotation[] = "org.opencontainers.image.ref.name";
constexpr size_t kTarBlockBytes = 512;
constexpr size_t kCopyBytes = 256 << 10;

// A file of the layout: its bytes, or a blob to be read when its turn comes.
struct LayoutFile {
  std::string bytes;
  const Descriptor* blob = nullptr;
};
using LayoutFiles = std::map<std::string, LayoutFile>;  // By path: the order of writing.

struct Layout {
  std::vector<Manifest> manifests;  // As many as images; LayoutFile borrows from them.
  LayoutFiles files;
};

std::string BlobPath(const Digest& digest) { return absl::StrCat("blobs/sha256/", digest.hex()); }

absl::Status CheckNames(const std::vector<ArchiveImage>& images) {
  std::set<std::string> seen;
  for (const ArchiveImage& image : images) {
    for (const Reference& name : image.names) {
      if (!seen.insert(name.canonical()).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("two images of one archive are named ", name.familiar()));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Manifest> CheckDocuments(const ArchiveImage& image) {
  if (DigestOf(image.manifest_bytes) != image.manifest.digest) {
    return absl::InvalidArgumentError("the manifest does not hash to its descriptor");
  }
  ASSIGN_OR_RETURN(Manifest manifest,
                   ParseManifest(image.manifest_bytes, image.manifest.media_type));
  if (DigestOf(image.config_bytes) != manifest.config.digest) {
    return absl::InvalidArgumentError("the config does not hash to its descriptor");
  }
  return manifest;
}

// One entry for each name, as containerd and its clients look for it.
void AddIndexEntries(const ArchiveImage& image, ImageIndex& index) {
  if (image.names.empty()) index.manifests.push_back(image.manifest);
  for (const Reference& name : image.names) {
    Descriptor entry = image.manifest;
    entry.annotations[kContainerdNameAnnotation] = name.WithDefaultTag().canonical();
    entry.annotations[kRefNameAnnotation] = name.WithDefaultTag().tag();
    index.manifests.push_back(std::move(entry));
  }
}

absl::StatusOr<Layout> MakeLayout(const std::vector<ArchiveImage>& images) {
  RETURN_IF_ERROR(CheckNames(images));
  Layout layout;
  ImageIndex index;
  for (const ArchiveImage& image : images) {
    ASSIGN_OR_RETURN(Manifest manifest, CheckDocuments(image));
    layout.manifests.push_back(std::move(manifest));
    AddIndexEntries(image, index);
  }
  for (size_t i = 0; i < images.size(); ++i) {
    const Manifest& manifest = layout.manifests[i];
    layout.files[BlobPath(images[i].manifest.digest)].bytes = images[i].manifest_bytes;
    layout.files[BlobPath(manifest.config.digest)].bytes = images[i].config_bytes;
    for (const Descriptor& layer : manifest.layers) {
      layout.files[BlobPath(layer.digest)].blob = &layer;
    }
  }
  layout.files["index.json"].bytes = SerializeImageIndex(index);
  layout.files["oci-layout"].bytes = kOciLayoutFile;
  return layout;
}

// manifest.json and repositories, by which engines before 25 find the images.
absl::Status AddDockerFiles(const std::vector<ArchiveImage>& images, Layout& layout) {
  auto list = nlohmann::ordered_json::array();
  auto repositories = nlohmann::ordered_json::object();
  for (size_t i = 0; i < images.size(); ++i) {
    const Manifest& manifest = layout.manifests[i];
    auto entry = nlohmann::ordered_json::object();
    entry["Config"] = BlobPath(manifest.config.digest);
    entry["RepoTags"] = nullptr;
    entry["Layers"] = nlohmann::ordered_json::array();
    for (const Descriptor& layer : manifest.layers) {
      ASSIGN_OR_RETURN(const LayerCompression compression, LayerCompressionOf(layer.media_type));
      if (compression == LayerCompression::kZstd) {
        return absl::InvalidArgumentError(
            "docker engines before 23 cannot load layers compressed with zstd: export with gzip or "
            "uncompressed layers");
      }
      entry["Layers"].push_back(BlobPath(layer.digest));
    }
    for (const Reference& name : images[i].names) {
      const Reference tagged = name.WithDefaultTag();
      if (tagged.tag().empty()) continue;  // Named by digest alone: no name to docker.
      if (entry["RepoTags"].is_null()) entry["RepoTags"] = nlohmann::ordered_json::array();
      entry["RepoTags"].push_back(absl::StrCat(tagged.familiar_repository(), ":", tagged.tag()));
      if (!manifest.layers.empty()) {
        repositories[tagged.familiar_repository()][tagged.tag()] =
            manifest.layers.back().digest.hex();
      }
    }
    list.push_back(std::move(entry));
  }
  layout.files["manifest.json"].bytes = DumpJsonLikeGo(list);
  layout.files["repositories"].bytes = DumpJsonLikeGo(repositories);
  return absl::OkStatus();
}

absl::Status CheckCancelled(const LayoutOptions& options) {
  const bool cancelled = options.cancel != nullptr && options.cancel->cancelled();
  return cancelled ? absl::CancelledError("cancelled") : absl::OkStatus();
}

absl::Status CopyBlob(const Descriptor& blob, const BlobOpener& open_blob, ByteSink& sink,
                      const LayoutOptions& options) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> source, open_blob(blob, 0));
  Sha256 hash;
  const auto buffer = std::make_unique<char[]>(kCopyBytes);
  int64_t left = blob.digest.size_bytes();
  while (left > 0) {
    RETURN_IF_ERROR(CheckCancelled(options));
    ASSIGN_OR_RETURN(const size_t bytes,
                     source->Read(buffer.get(), std::min<int64_t>(kCopyBytes, left)));
    if (bytes == 0) break;
    const absl::string_view piece(buffer.get(), bytes);
    hash.Update(piece);
    RETURN_IF_ERROR(sink.Write(piece));
    left -= bytes;
  }
  if (left > 0 || hash.Finish() != blob.digest) {
    return absl::DataLossError("the blob's bytes are not what its descriptor says");
  }
  return absl::OkStatus();
}

absl::Status CopyFile(const LayoutFile& file, const BlobOpener& open_blob, ByteSink& sink,
                      const LayoutOptions& options) {
  if (file.blob == nullptr) return sink.Write(file.bytes);
  RETURN_IF_ERROR(CopyBlob(*file.blob, open_blob, sink, options))
      << "layer " << file.blob->digest.oci();
  return absl::OkStatus();
}

int64_t SizeOf(const LayoutFile& file) {
  return file.blob == nullptr ? static_cast<int64_t>(file.bytes.size())
                              : file.blob->digest.size_bytes();
}

// Fields of a ustar header: offset and length.
struct TarField {
  size_t offset;
  size_t length;
};
constexpr TarField kTarName{0, 100}, kTarMode{100, 8}, kTarUid{108, 8}, kTarGid{116, 8},
    kTarSize{124, 12}, kTarMtime{136, 12}, kTarChecksum{148, 8}, kTarMagic{257, 8};
constexpr size_t kTarType = 156;

void PutOctal(TarField field, uint64_t value, std::string& header) {
  const std::string digits = absl::StrFormat("%0*o", field.length - 1, value);
  if (digits.size() < field.length) {
    header.replace(field.offset, digits.size(), digits);
    return;
  }
  // Too large for octal (8 GiB): GNU tar's binary form, which all readers know.
  for (size_t i = 0; i < field.length; ++i) {
    header[field.offset + field.length - 1 - i] =
        i < 8 ? static_cast<char>(value >> (8 * i)) : '\0';
  }
  header[field.offset] = '\x80';
}

std::string TarHeader(const std::string& name, char type, int mode, int64_t size_bytes) {
  FARM_CHECK(name.size() <= kTarName.length) << name;
  std::string header(kTarBlockBytes, '\0');
  header.replace(kTarName.offset, name.size(), name);
  PutOctal(kTarMode, mode, header);
  PutOctal(kTarUid, 0, header);
  PutOctal(kTarGid, 0, header);
  PutOctal(kTarSize, size_bytes, header);
  PutOctal(kTarMtime, 0, header);
  header[kTarType] = type;
  header.replace(kTarMagic.offset, kTarMagic.length,
                 std::string("ustar\0"
                             "00",
                             8));
  header.replace(kTarChecksum.offset, kTarChecksum.length, kTarChecksum.length, ' ');
  uint64_t sum = 0;
  for (const unsigned char c : header) sum += c;
  header.replace(kTarChecksum.offset, 7, absl::StrFormat("%06o%c", sum, '\0'));
  return header;
}

absl::Status WriteTar(const LayoutFiles& files, const BlobOpener& open_blob, ByteSink& sink,
                      const LayoutOptions& options) {
  for (const char* directory : {"blobs/", "blobs/sha256/"}) {
    RETURN_IF_ERROR(sink.Write(TarHeader(directory, '5', 0755, 0)));
  }
  for (const auto& [path, file] : files) {
    const int64_t size_bytes = SizeOf(file);
    RETURN_IF_ERROR(sink.Write(TarHeader(path, '0', 0644, size_bytes)));
    RETURN_IF_ERROR(CopyFile(file, open_blob, sink, options));
    const size_t rest = size_bytes % kTarBlockBytes;
    if (rest > 0) {
      RETURN_IF_ERROR(sink.Write(std::string(kTarBlockBytes - rest, '\0')));
    }
  }
  return sink.Write(std::string(2 * kTarBlockBytes, '\0'));
}

absl::Status MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

// A reader of the directory sees the whole blob or none.
absl::Status WriteBlobFile(const std::string& path, const LayoutFile& file,
                           const BlobOpener& open_blob, const LayoutOptions& options) {
  const std::string temporary = absl::StrCat(path, ".tmp", getpid());
  const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return ErrnoStatus(errno, temporary);
  FdSink sink(fd.get());
  absl::Status status = CopyFile(file, open_blob, sink, options);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(errno, path);
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace

absl::Status WriteOciTar(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                         ByteSink& sink, const LayoutOptions& options) {
  ASSIGN_OR_RETURN(const Layout layout, MakeLayout(images));
  return WriteTar(layout.files, open_blob, sink, options);
}

absl::Status WriteOciDirectory(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                               const std::string& directory, const LayoutOptions& options) {
  ASSIGN_OR_RETURN(Layout layout, MakeLayout(images));
  const std::string index = layout.files.extract("index.json").mapped().bytes;
  RETURN_IF_ERROR(MakeDirectory(directory));
  RETURN_IF_ERROR(MakeDirectory(absl::StrCat(directory, "/blobs")));
  RETURN_IF_ERROR(MakeDirectory(absl::StrCat(directory, "/blobs/sha256")));
  for (const auto& [name, file] : layout.files) {
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat there;
    const bool kept = stat(path.c_str(), &there) == 0 && there.st_size == SizeOf(file);
    if (!kept) {
      RETURN_IF_ERROR(WriteBlobFile(path, file, open_blob, options));
    }
  }
  return WriteFileAtomically(absl::StrCat(directory, "/index.json"), index);
}

absl::Status WriteDockerTar(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                            ByteSink& sink, const LayoutOptions& options) {
  ASSIGN_OR_RETURN(Layout layout, MakeLayout(images));
  RETURN_IF_ERROR(AddDockerFiles(images, layout));
  return WriteTar(layout.files, open_blob, sink, options);
}

}  // namespace farm
