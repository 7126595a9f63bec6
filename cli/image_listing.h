// Images as docker lists them.
#ifndef FARM_CLI_IMAGE_LISTING_H_
#define FARM_CLI_IMAGE_LISTING_H_

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/listing.h"
#include "proto/farm/v1/image.pb.h"

namespace farm {

// What `farm images --filter` says, each of these once or several times.
struct ImageFilters {
  std::vector<std::string> references;  // patterns; one of them has to match
  std::optional<bool> dangling;         // without a tag
  // Labels that the image has to have, all of them; a value if that matters, too.
  std::vector<std::pair<std::string, std::optional<std::string>>> labels;
  std::string before, since;  // names of images: created before, or since, that one

  // INVALID_ARGUMENT, a usage error (cli/exit_code.h), lists the keys that there are.
  static absl::StatusOr<ImageFilters> Parse(const std::vector<std::string>& texts);
};

struct ImageListOptions {
  bool truncate = true;  // ids to 12 digits, long commands
  bool digests = false;  // the DIGEST column
  bool human = true;     // history: sizes and times for people
  ImageFilters filters;
  // What `filters.before` and `.since` stand for.
  absl::Time created_before = absl::InfiniteFuture();
  absl::Time created_after = absl::InfinitePast();
  std::string format;
};

// When an image was made.
absl::Time CreatedAt(const v1::Image& image);

// `farm images`: a row for each name. A filter by label wants images with `config_json`.
// INVALID_ARGUMENT for a bad format, or a config that is none.
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
