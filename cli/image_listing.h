// Images as docker lists them.
#ifndef FARM_CLI_IMAGE_LISTING_H_
#define FARM_CLI_IMAGE_LISTING_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/listing.h"
#include "proto/farm/v1/image.pb.h"

namespace farm {

struct ImageListOptions {
  bool truncate = true;              // ids to 12 digits, long commands
  bool digests = false;              // the DIGEST column
  bool human = true;                 // history: sizes and times for people
  std::vector<std::string> filters;  // "reference=PATTERN", "dangling=true"
  std::string format;
};

// `farm images`: a row for each name. INVALID_ARGUMENT for a bad filter or format.
absl::StatusOr<std::string> ListImages(const v1::ListImagesResponse& images,
                                       const ImageListOptions& options, absl::Time now);

// `farm history`: a row for each entry of the config's history, the newest first.
// INVALID_ARGUMENT for a config that is none.
absl::StatusOr<std::string> ListHistory(const v1::Image& image, const ImageListOptions& options,
                                        absl::Time now);

// What `docker image inspect` says of an image. INVALID_ARGUMENT for a config that is none.
absl::StatusOr<nlohmann::ordered_json> InspectJson(const v1::Image& image);

}  // namespace farm

#endif  // FARM_CLI_IMAGE_LISTING_H_
