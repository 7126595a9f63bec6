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
    ASSIGN_OR_RETURN(const Digest diff_id, NamedDigest(layer.diff_id()));
    ASSIGN_OR_RETURN(const Digest table, NamedDigest(layer.table()));
    ASSIGN_OR_RETURN(const Digest form, NamedDigest(layer.form().digest()));
    RETURN_IF_ERROR(CheckBlob(table)) << "step " << key.hex();
    RETURN_IF_ERROR(CheckLayerBytes(domain, diff_id, form)) << "step " << key.hex();
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

absl::Status CompletenessCheckingActionCache::CheckLayerBytes(absl::string_view domain,
                                                              const Digest& diff_id,
                                                              const Digest& form) {
  const absl::Status status = CheckBlob(form);
  if (!absl::IsNotFound(status)) return status;
  const absl::StatusOr<std::string> bytes =
      index_.Get(IndexTable::kLayer, IndexKey({domain, diff_id.raw()}));
  v1::LayerRecord record;
  if (!bytes.ok() || !record.ParseFromString(*bytes)) return status;
  if (record.sources_size() > 0) return absl::OkStatus();
  for (const v1::Descriptor& other : record.forms()) {
    const absl::StatusOr<Digest> digest = DigestFromProto(other.digest());
    if (digest.ok() && CheckBlob(*digest).ok()) return absl::OkStatus();
  }
  return status;
}

}  // namespace farm
