// The value of a RUN --mount.
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "base/check.h"
#include "dockerfile/mount.h"

namespace farm {
namespace {

const SourcePosition kPosition{.file = "Dockerfile", .line = 3, .column = 5};

void CheckError(const absl::Status& status) {
  FARM_CHECK(status.code() == absl::StatusCode::kInvalidArgument) << status;
  FARM_CHECK(PositionOf(status).has_value()) << status;
}

void CheckMount(const Mount& mount) {
  const bool has_owner = mount.type == Mount::Type::kCache || mount.type == Mount::Type::kSecret ||
                         mount.type == Mount::Type::kSsh;
  FARM_CHECK(has_owner ||
             (!mount.mode.has_value() && !mount.uid.has_value() && !mount.gid.has_value()));
  FARM_CHECK(mount.type == Mount::Type::kCache || !mount.sharing.has_value());
  FARM_CHECK(mount.type == Mount::Type::kSecret || !mount.env.has_value());
  FARM_CHECK_LE(0, mount.size_bytes.value_or(0));
  FARM_CHECK(!MountTypeName(mount.type).empty());
}

void Test(absl::string_view text) {
  const absl::StatusOr<Mount> mount = ParseMount(text, kPosition);
  const absl::StatusOr<std::string> source = MountSource(text, kPosition);
  if (!source.ok()) CheckError(source.status());
  if (!mount.ok()) {
    CheckError(mount.status());
  } else {
    CheckMount(*mount);
    // What a build fetches before it lowers the mount is what the mount reads.
    FARM_CHECK(source.ok()) << source.status();
    FARM_CHECK_EQ(*source, mount->type == Mount::Type::kTmpfs ? "" : mount->from);
  }
  // Values that hold what separates fields.
  const absl::StatusOr<Mount> expanded =
      ParseMount(text, kPosition, [](absl::string_view word) -> absl::StatusOr<std::string> {
        return absl::StrContains(word, "$") ? ",from=\"x\",ro" : std::string(word);
      });
  if (!expanded.ok()) return CheckError(expanded.status());
  CheckMount(*expanded);
  FARM_CHECK_EQ(*source, expanded->type == Mount::Type::kTmpfs ? "" : expanded->from);
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
