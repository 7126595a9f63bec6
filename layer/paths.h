// Paths as tables and archives have them: relative, of components separated by single slashes; ""
// is the root.
#ifndef FARM_LAYER_PATHS_H_
#define FARM_LAYER_PATHS_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace farm {

// For messages: quoted and escaped. What is longer than any path may be is cut.
std::string ShownPath(absl::string_view path);

std::string JoinPath(absl::string_view directory, absl::string_view name);
// "a/b" to "a" and "b".
std::pair<absl::string_view, absl::string_view> SplitPath(absl::string_view path);
// All but the root itself is under the root.
bool IsUnder(absl::string_view path, absl::string_view directory);

}  // namespace farm

#endif  // FARM_LAYER_PATHS_H_
