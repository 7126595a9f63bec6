#ifndef FARM_BASE_ULIMIT_H_
#define FARM_BASE_ULIMIT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

// The number of a resource, as setrlimit(2) has it, by the name that docker gives it: "nofile" is
// RLIMIT_NOFILE. None for another name.
std::optional<int> UlimitResource(absl::string_view name);

// All names, in alphabetical order.
std::vector<std::string> UlimitNames();

}  // namespace farm

#endif  // FARM_BASE_ULIMIT_H_
