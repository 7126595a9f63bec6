#ifndef FARM_OCI_IMAGE_ASSEMBLER_H_
#define FARM_OCI_IMAGE_ASSEMBLER_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "oci/image_config.h"
#include "oci/manifest.h"

namespace farm {

// A layer as the image will name it.
struct AssembledLayer {
  Descriptor blob;      // Compressed as it will be sent; converted to the image's family of types.
  std::string diff_id;  // "sha256:HEX" of the uncompressed tar.
  std::optional<absl::Time> created;  // When its step ended; for history entries without a time.
};

struct AssembleOptions {
  bool docker_media_types = false;  // Else OCI's. Docker's have no zstd: then INVALID_ARGUMENT.
  std::map<std::string, std::string> annotations;  // Of the manifest; docker's have none.
  // SOURCE_DATE_EPOCH: no time in the config is later.
  std::optional<absl::Time> created_max;
};

// A whole image but for its layers' bytes. Each document hashes to its descriptor.
struct AssembledImage {
  ImageConfig config;
  std::string config_bytes;
  Descriptor config_descriptor;
  Manifest manifest;
  std::string manifest_bytes;
  Descriptor manifest_descriptor;  // With the platform.
};

// Makes the documents of an image from its config and all of its layers, lowest first (the base
// image's and the new ones). `config.history` holds one entry without `empty_layer` for each layer,
// lowest first; its diff_ids are replaced. The rules for what is missing are BuildKit's:
//   - more layers than history: entries "created by farm" are added for the uppermost;
//   - less layers than history: the uppermost entries become empty;
//   - times: see FillHistoryTimes();
//   - `created` of the image, if unset: the time of its last history entry.
// Pure. INVALID_ARGUMENT for a media type that is no layer or a diff_id that is no digest.
absl::StatusOr<AssembledImage> AssembleImage(ImageConfig config,
                                             const std::vector<AssembledLayer>& layers,
                                             const AssembleOptions& options = {});

// Gives each entry without a time one, as BuildKit does. An entry with a layer gets the time of its
// layer, if `layer_times` (lowest first, may be shorter) has it. Of the others, those up to the
// next entry with a time get that time, so that a metadata line at the head of a Dockerfile is not
// as old as its base; all later ones get the time of the entry before them. Without any time, none.
void FillHistoryTimes(const std::vector<std::optional<absl::Time>>& layer_times,
                      std::vector<HistoryEntry>& history);

}  // namespace farm

#endif  // FARM_OCI_IMAGE_ASSEMBLER_H_
