#ifndef FARM_CLI_LAYOUT_IMAGES_H_
#define FARM_CLI_LAYOUT_IMAGES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cas/blob_store.h"
#include "cli/named_contexts.h"
#include "oci/layout_reader.h"
#include "plan/planner.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// The image that `key` asks for, of those of `flags` that are OCI layouts; nullopt if its name is
// none of theirs. Errors as of LayoutReader, local ones.
absl::StatusOr<std::optional<LayoutReader::Image>> FindLayoutImage(
    const std::vector<ContextFlag>& flags, const ImageKey& key);

// Images of OCI layouts on their way to a build.
class LayoutImages {
 public:
  // Reads into `request`, made of `flags`, those that `keys` ask for, in place of those read
  // before. nullopt asks for all. So does a key of a platform that a layout has not: what the build
  // needs is for the farm to say. Errors as of LayoutReader, local ones.
  absl::Status Read(const std::vector<ContextFlag>& flags,
                    const std::optional<std::vector<ImageKey>>& keys,
                    v1::StartBuildRequest& request);

  // Brings to the farm what it lacks of their layers. `on_uploaded` gets the bytes sent so far.
  // Errors of the store; DATA_LOSS, a local one, if a layer has another digest.
  absl::Status Upload(BlobStore& blobs,
                      const std::function<void(int64_t sent_bytes)>& on_uploaded) const;

 private:
  absl::Status ReadOne(const ContextFlag& flag, const std::set<std::string>& platforms,
                       v1::OciLayout& layout);

  std::vector<std::pair<std::string, Descriptor>> layers_;  // with the directory of their layout
};

}  // namespace farm

#endif  // FARM_CLI_LAYOUT_IMAGES_H_
