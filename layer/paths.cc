#include "layer/paths.h"

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace farm {
namespace {

constexpr size_t kShownBytesMax = 4095;

}  // namespace

std::string ShownPath(absl::string_view path) {
  return absl::StrCat("\"", absl::CHexEscape(path.substr(0, kShownBytesMax)), "\"");
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
}

std::pair<absl::string_view, absl::string_view> SplitPath(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

bool IsUnder(absl::string_view path, absl::string_view directory) {
  return directory.empty() ? !path.empty()
                           : path.size() > directory.size() && path[directory.size()] == '/' &&
                                 absl::StartsWith(path, directory);
}

}  // namespace farm
