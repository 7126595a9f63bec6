// A reference to an image, as a person types it.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "oci/reference.h"

namespace farm {
namespace {

void Test(absl::string_view input) {
  const absl::StatusOr<Reference> reference = Reference::Parse(input);
  if (!reference.ok()) return;
  // (The familiar form may not: docker.io/a.b/c is shown as a.b/c, by docker too.)
  const absl::StatusOr<Reference> again = Reference::Parse(reference->canonical());
  FARM_CHECK_OK(again.status()) << reference->canonical();
  FARM_CHECK(*again == *reference) << reference->canonical();
  FARM_CHECK(!reference->host().empty() && !reference->empty());
  FARM_CHECK_LE(reference->path().size(), static_cast<size_t>(Reference::kPathLengthMax));
  FARM_CHECK(Reference::Parse(reference->repository()).value() == reference->RepositoryOnly());
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
