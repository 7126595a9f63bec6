// The file .dockerignore, and behind its first NUL byte a path.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/dockerignore.h"

namespace farm {
namespace {

void CheckCleanPath(const std::string& path) {
  FARM_CHECK(!path.empty());
  FARM_CHECK(CleanPath(path) == path) << path;
}

void Test(absl::string_view input) {
  const size_t nul = std::min(input.find('\0'), input.size());
  std::string path = CleanPath(input.substr(std::min(nul + 1, input.size())));
  CheckCleanPath(path);
  // Paths to be judged are relative.
  if (path[0] == '/') path = CleanPath(path.substr(1));
  const absl::StatusOr<DockerIgnore> ignore =
      DockerIgnore::Parse(".dockerignore", input.substr(0, nul));
  if (!ignore.ok()) {
    FARM_CHECK(PositionOf(ignore.status()).has_value()) << ignore.status();
    return;
  }
  DockerIgnore::Verdict verdict;
  bool skipped = false;
  for (size_t end = path.find('/', 1); !skipped && end != std::string::npos;
       end = path.find('/', end + 1)) {
    verdict = ignore->Judge(path.substr(0, end), verdict);
    skipped = verdict.skip_beneath;
  }
  // What a walk would never see must be ignored if looked at.
  FARM_CHECK(!skipped || ignore->Ignores(path)) << path;
  if (!ignore->has_exceptions() && ignore->Ignores(path)) {
    FARM_CHECK(ignore->Ignores(absl::StrCat(path, "/x"))) << path;
  }
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
