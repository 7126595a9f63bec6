#include "oci/archive_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/json_reader.h"

namespace farm {
namespace {

constexpr size_t kReadBlockBytes = 64 << 10;
constexpr int kLinksMax = 8;  // Followed from one name.
constexpr size_t kMagicBytes = 6;
constexpr char kContainerdNameAnnotation[] = "io.containerd.image.name";
constexpr char kRefNameAnnotation[] = "org.opencontainers.image.ref.name";

struct ArchiveDeleter {
  void operator()(archive* a) const { archive_read_free(a); }
};
using Archive = std::unique_ptr<archive, ArchiveDeleter>;

// Where the bytes of a file stand in the tar; or the name it links to.
struct TarEntry {
  int64_t offset = 0;
  int64_t size_bytes = 0;
  std::string link;
};
using TarEntries = std::map<std::string, TarEntry>;

class RangeSource final : public ByteSource {
 public:
  RangeSource(int fd, int64_t offset, int64_t size_bytes)
      : fd_(fd), offset_(offset), left_bytes_(size_bytes) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    const size_t wanted = std::min<int64_t>(size, left_bytes_);
    if (wanted == 0) return size_t{0};
    ssize_t bytes = 0;
    do {
      bytes = pread(fd_, buffer, wanted, offset_);
    } while (bytes < 0 && errno == EINTR);
    if (bytes < 0) return ErrnoStatus(errno, "image archive");
    if (bytes == 0) return absl::DataLossError("the image archive ends early");
    offset_ += bytes;
    left_bytes_ -= bytes;
    return static_cast<size_t>(bytes);
  }

 private:
  const int fd_;
  int64_t offset_;
  int64_t left_bytes_;
};

absl::Status ArchiveError(archive* a) {
  const char* text = archive_error_string(a);
  return absl::InvalidArgumentError(
      absl::StrCat("image archive: ", text == nullptr ? "not readable" : text));
}

absl::StatusOr<std::string> ReadStart(int fd) {
  std::string bytes(kMagicBytes, '\0');
  const ssize_t read = pread(fd, bytes.data(), bytes.size(), 0);
  if (read < 0) return ErrnoStatus(errno, "image archive");
  bytes.resize(read);
  return bytes;
}

// Returns how long the file is.
absl::StatusOr<int64_t> Rewind(int fd) {
  const off_t size_bytes = lseek(fd, 0, SEEK_END);
  if (size_bytes < 0 || lseek(fd, 0, SEEK_SET) != 0) return ErrnoStatus(errno, "image archive");
  return int64_t{size_bytes};
}

bool IsCompressed(absl::string_view start) {
  using absl::StartsWith;
  return StartsWith(start, "\x1f\x8b") || StartsWith(start, "BZh") ||
         StartsWith(start, "\x28\xb5\x2f\xfd") ||
         StartsWith(start, absl::string_view("\xfd"
                                             "7zXZ\0",
                                             6));
}

// What a layer file without a media type is, by its first bytes.
absl::string_view LayerTypeByMagic(absl::string_view start) {
  if (absl::StartsWith(start, "\x1f\x8b")) return kOciLayerGzipType;
  if (absl::StartsWith(start, "\x28\xb5\x2f\xfd")) return kOciLayerZstdType;
  return kOciLayerType;
}

// The unpacked bytes of a compressed file, in one without a name.
absl::StatusOr<UniqueFd> Unpack(int fd, const ArchiveReaderOptions& options) {
  UniqueFd unpacked(open(options.temp_directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!unpacked.valid()) return ErrnoStatus(errno, options.temp_directory);
  RETURN_IF_ERROR(Rewind(fd).status());
  const Archive a(archive_read_new());
  archive_read_support_filter_gzip(a.get());
  archive_read_support_filter_bzip2(a.get());
  archive_read_support_filter_xz(a.get());
  archive_read_support_filter_zstd(a.get());
  archive_read_support_format_raw(a.get());
  archive_entry* entry = nullptr;
  if (archive_read_open_fd(a.get(), fd, kReadBlockBytes) != ARCHIVE_OK ||
      archive_read_next_header(a.get(), &entry) != ARCHIVE_OK) {
    return ArchiveError(a.get());
  }
  FdSink sink(unpacked.get());
  const auto buffer = std::make_unique<char[]>(kReadBlockBytes);
  int64_t total = 0;
  while (true) {
    const la_ssize_t bytes = archive_read_data(a.get(), buffer.get(), kReadBlockBytes);
    if (bytes < 0) return ArchiveError(a.get());
    if (bytes == 0) break;
    total += bytes;
    if (total > options.unpacked_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("image archive: over ", options.unpacked_bytes_max, " bytes when unpacked"));
    }
    RETURN_IF_ERROR(sink.Write({buffer.get(), static_cast<size_t>(bytes)}));
  }
  return unpacked;
}

// "./a//b/" → "a/b": names are compared, never opened.
std::string CleanName(absl::string_view name) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == ".." && !parts.empty()) {
      parts.pop_back();
    } else if (part != "..") {
      parts.push_back(part);
    }
  }
  std::string result;
  for (absl::string_view part : parts) absl::StrAppend(&result, result.empty() ? "" : "/", part);
  return result;
}

std::string LinkTarget(const std::string& name, absl::string_view target) {
  if (absl::StartsWith(target, "/")) return CleanName(target);
  const size_t slash = name.rfind('/');
  const absl::string_view directory =
      slash == std::string::npos ? absl::string_view() : absl::string_view(name).substr(0, slash);
  return CleanName(absl::StrCat(directory, "/", target));
}

absl::StatusOr<TarEntries> ReadEntries(int fd, const ArchiveReaderOptions& options) {
  ASSIGN_OR_RETURN(const int64_t file_bytes, Rewind(fd));
  const Archive a(archive_read_new());
  archive_read_support_format_tar(a.get());
  if (archive_read_open_fd(a.get(), fd, kReadBlockBytes) != ARCHIVE_OK) {
    return ArchiveError(a.get());
  }
  TarEntries entries;
  int64_t count = 0;
  while (true) {
    archive_entry* entry = nullptr;
    const int result = archive_read_next_header(a.get(), &entry);
    if (result == ARCHIVE_EOF) return entries;
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return ArchiveError(a.get());
    if (++count > options.entries_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("image archive: over ", options.entries_max, " entries"));
    }
    const char* name = archive_entry_pathname(entry);
    if (name == nullptr) continue;
    const std::string path = CleanName(name);
    TarEntry& there = entries[path];  // Of equal names the last counts, as when unpacked.
    there = TarEntry();
    if (const char* link = archive_entry_hardlink(entry); link != nullptr) {
      there.link = CleanName(link);
    } else if (const char* symlink = archive_entry_symlink(entry); symlink != nullptr) {
      there.link = LinkTarget(path, symlink);
    } else if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_sparse_count(entry) > 0) {
      entries.erase(path);
    } else {
      // All of the headers are consumed by now, none of the data.
      there.offset = archive_filter_bytes(a.get(), 0);
      there.size_bytes = archive_entry_size(entry);
      if (there.size_bytes < 0 || there.size_bytes > file_bytes - there.offset) {
        return absl::InvalidArgumentError("image archive: it ends early");
      }
    }
  }
}

// What an OCI index entry is called, if it says.
std::optional<Reference> NameOf(const Descriptor& entry) {
  for (const char* key : {kContainerdNameAnnotation, kRefNameAnnotation}) {
    const auto found = entry.annotations.find(key);
    if (found == entry.annotations.end()) continue;
    const std::string& text = found->second;
    // A bare "latest" is a tag of nothing that we know.
    if (text.find_first_of("/:") == std::string::npos) continue;
    const absl::StatusOr<Reference> name = Reference::Parse(text);
    if (name.ok()) return name->WithDefaultTag();
  }
  return std::nullopt;
}

void AddName(const Reference& name, LoadedImage& image) {
  if (std::find(image.names.begin(), image.names.end(), name) == image.names.end()) {
    image.names.push_back(name);
  }
}

std::string BlobPath(const Digest& digest) { return absl::StrCat("blobs/sha256/", digest.hex()); }

// An entry of docker's manifest.json.
struct DockerEntry {
  std::string config;
  std::vector<std::string> tags;
  std::vector<std::string> layers;
};

}  // namespace

struct ArchiveReader::Impl {
  UniqueFd file;
  ArchiveReaderOptions options;
  TarEntries entries;
  std::vector<LoadedImage> images;
  std::vector<std::vector<TarEntry>> layers;  // Of each image.

  absl::Status Read() {
    const bool has_index = Find("oci-layout").ok() && Find("index.json").ok();
    const bool has_docker_manifest = Find("manifest.json").ok();
    if (!has_index && !has_docker_manifest) {
      return absl::InvalidArgumentError(
          "image archive: neither oci-layout and index.json of an OCI layout nor manifest.json "
          "of docker save in it");
    }
    std::vector<DockerEntry> docker;
    if (has_docker_manifest) {
      ASSIGN_OR_RETURN(docker, ReadDockerManifest());
    }
    // Newer engines write both into one file; the OCI layout says more.
    RETURN_IF_ERROR(has_index ? ReadLayout(docker) : ReadDockerImages(docker));
    if (images.empty()) {
      return absl::InvalidArgumentError("image archive: no container image in it");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<TarEntry> Find(const std::string& name) const {
    std::string at = CleanName(name);
    for (int links = 0; links <= kLinksMax; ++links) {
      const auto found = entries.find(at);
      if (found == entries.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("image archive: ", name.substr(0, 200), " is missing"));
      }
      if (found->second.link.empty()) return found->second;
      at = found->second.link;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("image archive: ", name.substr(0, 200), ": too many links"));
  }

  absl::StatusOr<std::string> ReadDocument(const std::string& name) const {
    ASSIGN_OR_RETURN(const TarEntry entry, Find(name));
    if (entry.size_bytes > options.document_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("image archive: ", name.substr(0, 200), " has ", entry.size_bytes,
                       " bytes; at most ", options.document_bytes_max, " are read"));
    }
    RangeSource source(file.get(), entry.offset, entry.size_bytes);
    StringSink sink;
    RETURN_IF_ERROR(CopyBytes(source, sink).status()) << name;
    return sink.Take();
  }

  absl::StatusOr<std::string> ReadBlob(const Digest& digest) const {
    ASSIGN_OR_RETURN(std::string bytes, ReadDocument(BlobPath(digest)));
    if (DigestOf(bytes) != digest) {
      return absl::DataLossError(
          absl::StrCat("image archive: ", digest.oci(), " has another digest"));
    }
    return bytes;
  }

  absl::Status CheckImages() const {
    if (static_cast<int64_t>(images.size()) < options.images_max) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat("image archive: over ", options.images_max, " images"));
  }

  // OCI layouts -----------------------------------------------------------------------------------

  absl::Status ReadLayout(const std::vector<DockerEntry>& docker) {
    ASSIGN_OR_RETURN(const std::string bytes, ReadDocument("index.json"));
    ASSIGN_OR_RETURN(const ImageIndex index, ParseImageIndex(bytes), _ << "index.json");
    std::map<Digest, size_t> known;  // Manifest → its image.
    for (const Descriptor& entry : index.manifests) {
      ASSIGN_OR_RETURN(const std::optional<Descriptor> manifest, ManifestOf(entry));
      if (!manifest.has_value()) continue;
      if (known.count(manifest->digest) == 0) {
        RETURN_IF_ERROR(CheckImages());
        ASSIGN_OR_RETURN(const bool added, AddLayoutImage(*manifest));
        if (!added) continue;
        known[manifest->digest] = images.size() - 1;
      }
      LoadedImage& image = images[known[manifest->digest]];
      if (const std::optional<Reference> name = NameOf(entry)) AddName(*name, image);
    }
    for (LoadedImage& image : images) AddDockerTags(docker, image);
    return absl::OkStatus();
  }

  // The image manifest that an entry stands for; none for attestations.
  absl::StatusOr<std::optional<Descriptor>> ManifestOf(const Descriptor& entry) const {
    if (entry.platform.has_value() && entry.platform->os == "unknown") return std::nullopt;
    if (IsManifestType(entry.media_type)) return entry;
    if (!IsIndexType(entry.media_type)) return std::nullopt;
    ASSIGN_OR_RETURN(const std::string bytes, ReadBlob(entry.digest));
    ASSIGN_OR_RETURN(const ImageIndex index, ParseImageIndex(bytes, entry.media_type));
    ASSIGN_OR_RETURN(Descriptor selected, SelectPlatform(index, options.platform));
    return selected;
  }

  // False if it is the manifest of something else than an image.
  absl::StatusOr<bool> AddLayoutImage(const Descriptor& descriptor) {
    LoadedImage image;
    ASSIGN_OR_RETURN(image.manifest_bytes, ReadBlob(descriptor.digest));
    ASSIGN_OR_RETURN(const Manifest manifest,
                     ParseManifest(image.manifest_bytes, descriptor.media_type));
    if (manifest.config.media_type != kOciConfigType &&
        manifest.config.media_type != kDockerConfigType) {
      return false;
    }
    ASSIGN_OR_RETURN(image.config_bytes, ReadBlob(manifest.config.digest));
    std::vector<TarEntry> files;
    for (const Descriptor& layer : manifest.layers) {
      RETURN_IF_ERROR(LayerCompressionOf(layer.media_type).status());
      ASSIGN_OR_RETURN(const TarEntry file, Find(BlobPath(layer.digest)));
      if (file.size_bytes != layer.digest.size_bytes()) {
        return absl::DataLossError(absl::StrCat("image archive: layer ", layer.digest.oci(),
                                                " has ", file.size_bytes,
                                                " bytes; its manifest "
                                                "says ",
                                                layer.digest.size_bytes()));
      }
      files.push_back(file);
    }
    image.layers = manifest.layers;
    RETURN_IF_ERROR(AddImage(std::move(image), std::move(files)));
    return true;
  }

  static void AddDockerTags(const std::vector<DockerEntry>& docker, LoadedImage& image) {
    for (const DockerEntry& entry : docker) {
      if (CleanName(entry.config) != BlobPath(DigestOf(image.config_bytes))) continue;
      for (const std::string& tag : entry.tags) {
        const absl::StatusOr<Reference> name = Reference::Parse(tag);
        if (name.ok()) AddName(name->WithDefaultTag(), image);
      }
    }
  }

  // docker save -----------------------------------------------------------------------------------

  absl::StatusOr<std::vector<DockerEntry>> ReadDockerManifest() const {
    ASSIGN_OR_RETURN(const std::string bytes, ReadDocument("manifest.json"));
    ASSIGN_OR_RETURN(const JsonReader json,
                     JsonReader::Parse(bytes, options.document_bytes_max, "manifest.json"));
    ASSIGN_OR_RETURN(const std::vector<JsonReader> list, json.Array(options.images_max));
    std::vector<DockerEntry> result;
    for (const JsonReader& item : list) {
      RETURN_IF_ERROR(item.ExpectObject());
      DockerEntry entry;
      ASSIGN_OR_RETURN(entry.config, item["Config"].String());
      ASSIGN_OR_RETURN(entry.tags, item["RepoTags"].Strings());
      ASSIGN_OR_RETURN(entry.layers, item["Layers"].Strings());
      result.push_back(std::move(entry));
    }
    return result;
  }

  absl::Status ReadDockerImages(const std::vector<DockerEntry>& docker) {
    for (const DockerEntry& entry : docker) {
      LoadedImage image;
      ASSIGN_OR_RETURN(image.config_bytes, ReadDocument(entry.config));
      for (const std::string& tag : entry.tags) {
        ASSIGN_OR_RETURN(const Reference name, Reference::Parse(tag), _ << "manifest.json");
        AddName(name.WithDefaultTag(), image);
      }
      std::vector<TarEntry> files;
      for (const std::string& path : entry.layers) {
        ASSIGN_OR_RETURN(const TarEntry file, Find(path));
        ASSIGN_OR_RETURN(Descriptor layer, DescribeLayer(file));
        image.layers.push_back(std::move(layer));
        files.push_back(file);
      }
      RETURN_IF_ERROR(AddImage(std::move(image), std::move(files)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Descriptor> DescribeLayer(const TarEntry& entry) const {
    RangeSource source(file.get(), entry.offset, std::min<int64_t>(entry.size_bytes, kMagicBytes));
    StringSink start;
    RETURN_IF_ERROR(CopyBytes(source, start).status());
    Descriptor layer;
    layer.media_type = std::string(LayerTypeByMagic(start.bytes()));
    layer.digest = Digest(Digest::Hash{}, entry.size_bytes);
    return layer;
  }

  absl::Status AddImage(LoadedImage image, std::vector<TarEntry> files) {
    ASSIGN_OR_RETURN(image.config, ParseImageConfig(image.config_bytes));
    if (image.config.diff_ids.size() != image.layers.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("image archive: an image has ", image.layers.size(),
                       " layers, but its config ", image.config.diff_ids.size(), " diff_ids"));
    }
    images.push_back(std::move(image));
    layers.push_back(std::move(files));
    return absl::OkStatus();
  }
};

absl::StatusOr<std::unique_ptr<ArchiveReader>> ArchiveReader::Open(UniqueFd file,
                                                                   ArchiveReaderOptions options) {
  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(const std::string start, ReadStart(file.get()));
  if (IsCompressed(start)) {
    ASSIGN_OR_RETURN(file, Unpack(file.get(), options));
  }
  ASSIGN_OR_RETURN(impl->entries, ReadEntries(file.get(), options));
  impl->file = std::move(file);
  impl->options = std::move(options);
  RETURN_IF_ERROR(impl->Read());
  return std::unique_ptr<ArchiveReader>(new ArchiveReader(std::move(impl)));
}

ArchiveReader::ArchiveReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ArchiveReader::~ArchiveReader() = default;

const std::vector<LoadedImage>& ArchiveReader::images() const { return impl_->images; }

absl::StatusOr<std::unique_ptr<ByteSource>> ArchiveReader::OpenLayer(size_t image, size_t layer,
                                                                     int64_t offset) const {
  if (image >= impl_->layers.size() || layer >= impl_->layers[image].size()) {
    return absl::InvalidArgumentError("image archive: no such layer");
  }
  const TarEntry& entry = impl_->layers[image][layer];
  if (offset < 0 || offset > entry.size_bytes) {
    return absl::InvalidArgumentError("image archive: the offset is outside of the layer");
  }
  return std::make_unique<RangeSource>(impl_->file.get(), entry.offset + offset,
                                       entry.size_bytes - offset);
}

}  // namespace farm
