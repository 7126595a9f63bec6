#include "cas/completeness_checking_action_cache.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/status_macros.h"
#include "proto/farm/v1/record.pb.h"

namespace farm {
namespace {

// A record that names something that is no digest is of no use to anybody: a miss.
absl::StatusOr<Digest> NamedDigest(const v1::Digest& proto) {
  const absl::StatusOr<Digest> digest = DigestFromProto(proto);
  if (digest.ok()) return digest;
  return absl::NotFoundError(
      absl::StrCat("its record names no digest: ", digest.status().message()));
}

}  // namespace

absl::StatusOr<v1::ActionRecord> CompletenessCheckingActionCache::Get(absl::string_view domain,
                                                                      const Digest& key) {
  ASSIGN_OR_RETURN(v1::ActionRecord record, inner_.Get(domain, key));
  if (record.result().has_blob()) {
    ASSIGN_OR_RETURN(const Digest blob, NamedDigest(record.result().blob().digest()));
    RETURN_IF_ERROR(CheckBlob(blob)) << "step " << key.hex();
  }
  if (record.result().has_layer()) {
    const v1::LayerResult& layer = record.result().layer();
    RETURN_IF_ERROR(NamedDigest(layer.diff_id()).status());
    ASSIGN_OR_RETURN(const Digest table, NamedDigest(layer.table()));
    ASSIGN_OR_RETURN(const Digest form, NamedDigest(layer.form().digest()));
    RETURN_IF_ERROR(CheckBlob(table)) << "step " << key.hex();
    RETURN_IF_ERROR(CheckBlob(form)) << "step " << key.hex();
  }
  return record;
}

absl::Status CompletenessCheckingActionCache::Put(absl::string_view domain, const Digest& key,
                                                  const v1::ActionRecord& record) {
  return inner_.Put(domain, key, record);
}

absl::Status CompletenessCheckingActionCache::CheckBlob(const Digest& digest) {
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing({digest}));
  return missing.empty() ? absl::OkStatus() : BlobNotFound(digest);
}

}  // namespace farm
