#ifndef FARM_OCI_MANIFEST_H_
#define FARM_OCI_MANIFEST_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "oci/descriptor.h"

namespace farm {

// One image for one platform: its config and its layers, lowest first.
struct Manifest {
  std::string media_type = kOciManifestType;  // Or kDockerManifestType.
  std::string artifact_type;
  Descriptor config;
  std::vector<Descriptor> layers;
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;

  friend bool operator==(const Manifest&, const Manifest&) = default;
};

// One image for several platforms (OCI index, docker manifest list), or an OCI layout's contents.
struct ImageIndex {
  std::string media_type = kOciIndexType;  // Or kDockerManifestListType.
  std::vector<Descriptor> manifests;
  std::map<std::string, std::string> annotations;

  friend bool operator==(const ImageIndex&, const ImageIndex&) = default;
};

inline constexpr int64_t kManifestBytesMax = 4 << 20;  // What registries accept.
inline constexpr int kManifestEntriesMax = 4096;       // Layers of one, manifests of an index.
inline constexpr int kAnnotationsMax = 4096;           // Of one document or descriptor.

// Reads a manifest or an index. `media_type` is what the registry or descriptor calls it, "" if
// that is not known: then the document's own mediaType decides, else its shape. A document that
// says otherwise than `media_type` is refused (it could be read as two different things).
//   INVALID_ARGUMENT    no JSON, wrong types, bad digests, negative sizes
//   UNIMPLEMENTED       a schema 1 manifest ("push the image again with docker 1.10 or newer"), or
//                       another media type
//   RESOURCE_EXHAUSTED  over one of the limits above
absl::StatusOr<std::variant<Manifest, ImageIndex>> ParseManifestOrIndex(
    absl::string_view json, absl::string_view media_type);
// As above; INVALID_ARGUMENT if it is the other kind.
absl::StatusOr<Manifest> ParseManifest(absl::string_view json, absl::string_view media_type = "");
absl::StatusOr<ImageIndex> ParseImageIndex(absl::string_view json,
                                           absl::string_view media_type = "");

// The bytes for a document; equal values give equal bytes.
std::string SerializeManifest(const Manifest& manifest);
std::string SerializeImageIndex(const ImageIndex& index);

// The entry of `index` that suits `wanted` best (see PlatformDistance), the first of equals.
// Attestations (platform unknown/unknown) never match.
//   NOT_FOUND  none; the message lists the platforms that there are
absl::StatusOr<Descriptor> SelectPlatform(const ImageIndex& index, const Platform& wanted);

}  // namespace farm

#endif  // FARM_OCI_MANIFEST_H_
