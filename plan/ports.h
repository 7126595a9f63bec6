#ifndef FARM_PLAN_PORTS_H_
#define FARM_PLAN_PORTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// What one word of EXPOSE opens: "8000-8001/tcp" gives {"8000/tcp", "8001/tcp"}. The protocol is
// tcp if there is none. "[IP:]HOST:CONTAINER" is accepted as docker does, and only CONTAINER
// counts. INVALID_ARGUMENT with docker's sentences.
absl::StatusOr<std::vector<std::string>> ParsePorts(absl::string_view word);

}  // namespace farm

#endif  // FARM_PLAN_PORTS_H_
