// Names of blobs in the ByteStream service, as the Remote Execution API has them:
//   [INSTANCE/]blobs/HASH/SIZE                          to read
//   [INSTANCE/]uploads/UUID/blobs/HASH/SIZE[/ANYTHING]  to write
// INSTANCE may have slashes, but no segment "blobs" or "uploads".
#ifndef FARM_CAS_RESOURCE_NAME_H_
#define FARM_CAS_RESOURCE_NAME_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"

namespace farm {

struct BlobResource {
  std::string instance;
  std::string upload_id;  // "" for a name to read
  Digest digest;
};

// INVALID_ARGUMENT: not such a name, or longer than a few hundred bytes.
absl::StatusOr<BlobResource> ParseReadName(absl::string_view name);
absl::StatusOr<BlobResource> ParseWriteName(absl::string_view name);

std::string ReadName(absl::string_view instance, const Digest& digest);
std::string WriteName(absl::string_view instance, absl::string_view upload_id,
                      const Digest& digest);

}  // namespace farm

#endif  // FARM_CAS_RESOURCE_NAME_H_
