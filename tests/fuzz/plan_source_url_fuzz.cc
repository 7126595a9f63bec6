// What an ADD names: a URL of a file or of a git repository.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/check.h"
#include "base/redact_url.h"
#include "plan/source_url.h"

namespace farm {
namespace {

// What a worker makes paths and arguments of.
void CheckReference(const GitReference& reference) {
  FARM_CHECK_LE(reference.ref.size(), kGitRefBytesMax);
  FARM_CHECK(!absl::StartsWith(reference.ref, "-")) << reference.ref;
  FARM_CHECK(!absl::StrContains(reference.ref, std::string(1, 0)));
  FARM_CHECK(!absl::StrContains(reference.remote, "?") &&
             !absl::StrContains(reference.remote, "#"));
  FARM_CHECK(reference.checksum.empty() || IsGitChecksum(reference.checksum));
  if (reference.subdir.empty()) return;
  for (const absl::string_view name : absl::StrSplit(reference.subdir, '/')) {
    FARM_CHECK(!name.empty() && name != "." && name != "..") << reference.subdir;
  }
}

void Test(absl::string_view input) {
  // Redacting is the last word.
  const std::string redacted = RedactUrls(input);
  FARM_CHECK_EQ(RedactUrls(redacted), redacted);
  if (IsHttpUrl(input)) {
    const std::string name = FileNameOfUrl(input);
    FARM_CHECK(!name.empty() && name != "." && name != ".." && !absl::StrContains(name, "/"));
    FARM_CHECK(!absl::StrContains(name, std::string(1, 0)) ||
               absl::StrContains(input, std::string(1, 0)));
  }
  if (!IsGitReference(input)) return;
  const absl::StatusOr<GitReference> reference = ParseGitReference(input);
  if (reference.ok()) CheckReference(*reference);
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
