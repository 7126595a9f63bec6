#ifndef FARM_OCI_ARCHIVE_READER_H_
#define FARM_OCI_ARCHIVE_READER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/unique_fd.h"
#include "oci/descriptor.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/reference.h"

namespace farm {

// An image found in an archive.
struct LoadedImage {
  std::vector<Reference> names;  // Tags that the archive gives it; may be empty.
  std::string config_bytes;      // As in the archive: its digest is the image's id.
  ImageConfig config;
  // Lowest first, as many as config.diff_ids. From an OCI layout as its manifest says. From a
  // docker archive made up: the media type from the first bytes of the file, and, as it names no
  // digests of its layers, a digest of zeros with the right size; identity is the diff_id.
  std::vector<Descriptor> layers;
  std::string manifest_bytes;  // "" for a docker archive.
};

struct ArchiveReaderOptions {
  int64_t entries_max = 100'000;
  int64_t document_bytes_max = 8 << 20;  // Each JSON file.
  int64_t images_max = 1000;
  // A compressed archive (gzip, zstd, xz, bzip2) is unpacked into an unlinked file here first.
  std::string temp_directory = "/tmp";
  int64_t unpacked_bytes_max = int64_t{64} << 30;
  Platform platform = Platform::Host();  // Which one is taken from an index of several.
};

// Reads `docker save` archives (any engine since 1.10) and OCI layouts in a tar, by position: the
// layers are not copied. Everything in it is taken as hostile: names are looked up, never opened as
// paths; links are followed within the archive only. Safe for concurrent reads.
class ArchiveReader {
 public:
  // Takes an open, seekable file.
  //   INVALID_ARGUMENT    no tar, neither of the two forms, documents that make no sense, a file
  //                       missing
  //   RESOURCE_EXHAUSTED  over a limit
  static absl::StatusOr<std::unique_ptr<ArchiveReader>> Open(UniqueFd file,
                                                             ArchiveReaderOptions options = {});
  ~ArchiveReader();

  const std::vector<LoadedImage>& images() const;

  // The bytes of layer `layer` of image `image` from `offset` on, as they are in the archive
  // (perhaps compressed: see the descriptor's media type). Not verified: who unpacks it compares
  // with the diff_id. The reader must outlive the source.
  absl::StatusOr<std::unique_ptr<ByteSource>> OpenLayer(size_t image, size_t layer,
                                                        int64_t offset = 0) const;

 private:
  struct Impl;
  explicit ArchiveReader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_OCI_ARCHIVE_READER_H_
