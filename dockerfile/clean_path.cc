#include "dockerfile/clean_path.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace farm {

std::string CleanPath(absl::string_view path) {
  const bool absolute = !path.empty() && path[0] == '/';
  std::vector<absl::string_view> out;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part != "..") {
      out.push_back(part);
    } else if (!out.empty() && out.back() != "..") {
      out.pop_back();
    } else if (!absolute) {
      out.push_back(part);
    }
  }
  if (absolute) return absl::StrCat("/", absl::StrJoin(out, "/"));
  return out.empty() ? "." : absl::StrJoin(out, "/");
}

bool LeadsOut(absl::string_view path) {
  while (absl::ConsumePrefix(&path, "/")) {
  }
  const std::string clean = CleanPath(path);
  return clean == ".." || absl::StartsWith(clean, "../");
}

}  // namespace farm
