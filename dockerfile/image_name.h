#ifndef FARM_DOCKERFILE_IMAGE_NAME_H_
#define FARM_DOCKERFILE_IMAGE_NAME_H_

#include "absl/strings/string_view.h"

namespace farm {

// Whether `name` could be an image: [host[:port]/]path[:tag][@digest], by its letters alone. For
// advice; the registry client parses references for real.
bool LooksLikeImageName(absl::string_view name);

}  // namespace farm

#endif  // FARM_DOCKERFILE_IMAGE_NAME_H_
