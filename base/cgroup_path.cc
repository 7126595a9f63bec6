#include "base/cgroup_path.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace farm {
namespace {

bool IsGroupName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         std::all_of(name.begin(), name.end(), absl::ascii_isgraph);
}

}  // namespace

absl::Status CheckCgroupPath(absl::string_view path) {
  if (path.size() > kCgroupPathBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a control group's path is over ", kCgroupPathBytesMax, " bytes"));
  }
  const std::vector<absl::string_view> names = absl::StrSplit(path, '/');
  const bool ok = names.size() > 1 && names.front().empty() &&
                  std::all_of(names.begin() + 1, names.end(), IsGroupName);
  if (ok) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(path),
                                                 "\" is no path of a control group, expected one "
                                                 "like /ci/nightly"));
}

}  // namespace farm
