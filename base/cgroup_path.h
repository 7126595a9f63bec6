#ifndef FARM_BASE_CGROUP_PATH_H_
#define FARM_BASE_CGROUP_PATH_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace farm {

inline constexpr size_t kCgroupPathBytesMax = 1024;

// INVALID_ARGUMENT unless `path` names a control group below a hierarchy's root: "/ci/nightly", of
// visible ASCII letters, without "." or "..".
absl::Status CheckCgroupPath(absl::string_view path);

}  // namespace farm

#endif  // FARM_BASE_CGROUP_PATH_H_
