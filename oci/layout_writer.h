// Images as files that other programs load.
#ifndef FARM_OCI_LAYOUT_WRITER_H_
#define FARM_OCI_LAYOUT_WRITER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "oci/descriptor.h"
#include "oci/reference.h"

namespace farm {

// An image to be written. Its layers are those of the manifest and come from a BlobOpener.
struct ArchiveImage {
  std::vector<Reference> names;  // With tags; may be empty.
  Descriptor manifest;           // Annotations are kept.
  std::string manifest_bytes;
  std::string config_bytes;
};

struct LayoutOptions {
  const CancelToken* cancel = nullptr;
};

// Each function writes the same bytes for the same images (no times, owners or order of the host),
// every blob once, and reads each blob from front to back, one at a time.
//   INVALID_ARGUMENT  a manifest or config that does not parse or does not hash to its descriptor,
//                     two images of one name
//   DATA_LOSS         a layer's bytes are not what its descriptor says
//   and what `open_blob` and `sink` return

// An OCI image layout as a tar (`--output type=oci`): oci-layout, index.json, blobs/sha256/….
absl::Status WriteOciTar(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                         ByteSink& sink, const LayoutOptions& options = {});

// The same as a directory, which is made; blobs that are there already are kept, and index.json is
// replaced at the end. Errors of the file system as ErrnoStatus() has them.
absl::Status WriteOciDirectory(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                               const std::string& directory, const LayoutOptions& options = {});

// What `docker save` writes: the tar above with manifest.json and repositories for `docker load` of
// every engine since 1.10. INVALID_ARGUMENT for layers compressed with zstd, which engines before
// 23 cannot read: export with gzip or uncompressed layers.
absl::Status WriteDockerTar(const std::vector<ArchiveImage>& images, const BlobOpener& open_blob,
                            ByteSink& sink, const LayoutOptions& options = {});

}  // namespace farm

#endif  // FARM_OCI_LAYOUT_WRITER_H_
