#include "cas/resource_name.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kNameBytesMax = 512;
constexpr char kReadForm[] = "[INSTANCE/]blobs/HASH/SIZE";
constexpr char kWriteForm[] = "[INSTANCE/]uploads/UUID/blobs/HASH/SIZE";

absl::Status BadName(absl::string_view name, absl::string_view form, absl::string_view reason) {
  return absl::InvalidArgumentError(absl::StrCat("resource name \"", name.substr(0, kNameBytesMax),
                                                 "\": ", reason, "; expected ", form));
}

absl::StatusOr<BlobResource> Parse(absl::string_view name, absl::string_view form, bool is_upload) {
  if (name.size() > kNameBytesMax) return BadName(name, form, "it is too long");
  const std::vector<absl::string_view> segments = absl::StrSplit(name, '/');
  const auto begin = std::find_if(segments.begin(), segments.end(), [](absl::string_view segment) {
    return segment == "blobs" || segment == "uploads";
  });
  BlobResource resource;
  resource.instance = absl::StrJoin(segments.begin(), begin, "/");
  const std::vector<absl::string_view> rest(begin, segments.end());
  const size_t blobs = is_upload ? 2 : 0;  // where "blobs" stands
  const bool has_form =
      rest.size() >= blobs + 3 && rest[blobs] == "blobs" &&
      (is_upload ? rest[0] == "uploads" && !rest[1].empty() : rest.size() == blobs + 3);
  if (!has_form) return BadName(name, form, "it has another form");
  if (is_upload) resource.upload_id = std::string(rest[1]);
  int64_t size_bytes = 0;
  if (!absl::SimpleAtoi(rest[blobs + 2], &size_bytes)) {
    return BadName(name, form, "the size is no number");
  }
  const absl::StatusOr<Digest> digest = Digest::FromHex(rest[blobs + 1], size_bytes);
  if (!digest.ok()) return BadName(name, form, digest.status().message());
  resource.digest = *digest;
  return resource;
}

std::string Prefix(absl::string_view instance) {
  return instance.empty() ? "" : absl::StrCat(instance, "/");
}

}  // namespace

absl::StatusOr<BlobResource> ParseReadName(absl::string_view name) {
  return Parse(name, kReadForm, /*is_upload=*/false);
}

absl::StatusOr<BlobResource> ParseWriteName(absl::string_view name) {
  return Parse(name, kWriteForm, /*is_upload=*/true);
}

std::string ReadName(absl::string_view instance, const Digest& digest) {
  return absl::StrCat(Prefix(instance), "blobs/", digest.hex(), "/", digest.size_bytes());
}

std::string WriteName(absl::string_view instance, absl::string_view upload_id,
                      const Digest& digest) {
  return absl::StrCat(Prefix(instance), "uploads/", upload_id, "/blobs/", digest.hex(), "/",
                      digest.size_bytes());
}

}  // namespace farm
