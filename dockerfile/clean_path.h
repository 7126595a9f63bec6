#ifndef FARM_DOCKERFILE_CLEAN_PATH_H_
#define FARM_DOCKERFILE_CLEAN_PATH_H_

#include <string>

#include "absl/strings/string_view.h"

namespace farm {

// The shortest path that means the same, as Go's path.Clean says: without ".", "//" and a trailing
// '/', with ".." resolved where something is before it; "." for the empty path.
std::string CleanPath(absl::string_view path);

// Whether ".." in `path` leads above where it starts, be that a directory or "/". CleanPath() of an
// absolute path leaves such a ".." out.
bool LeadsOut(absl::string_view path);

}  // namespace farm

#endif  // FARM_DOCKERFILE_CLEAN_PATH_H_
