// Image configs, manifests and indexes as registries send them.
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>

#include "base/check.h"
#include "oci/image_config.h"
#include "oci/manifest.h"

namespace farm {
namespace {

void TestConfig(absl::string_view input) {
  const absl::StatusOr<ImageConfig> config = ParseImageConfig(input);
  if (!config.ok()) return;
  // What was understood is written so that it is understood as the same.
  const std::string bytes = SerializeImageConfig(*config);
  const absl::StatusOr<ImageConfig> again = ParseImageConfig(bytes);
  FARM_CHECK_OK(again.status()) << bytes;
  FARM_CHECK(*again == *config) << bytes;
  FARM_CHECK(SerializeImageConfig(*again) == bytes);
}

void TestManifest(absl::string_view input) {
  const auto parsed = ParseManifestOrIndex(input, "");
  if (!parsed.ok()) return;
  if (const Manifest* manifest = std::get_if<Manifest>(&*parsed)) {
    const absl::StatusOr<Manifest> again = ParseManifest(SerializeManifest(*manifest));
    FARM_CHECK_OK(again.status());
    FARM_CHECK(*again == *manifest);
    return;
  }
  const ImageIndex& index = std::get<ImageIndex>(*parsed);
  const absl::StatusOr<ImageIndex> again = ParseImageIndex(SerializeImageIndex(index));
  FARM_CHECK_OK(again.status());
  FARM_CHECK(*again == index);
  const absl::StatusOr<Descriptor> selected = SelectPlatform(index, Platform::Host());
  FARM_CHECK(!selected.ok() || PlatformMatches(Platform::Host(), *selected->platform));
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  farm::TestConfig(input);
  farm::TestManifest(input);
  return 0;
}
