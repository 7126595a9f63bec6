#include "base/digest_proto.h"

namespace farm {

absl::StatusOr<Digest> DigestFromProto(const v1::Digest& proto) {
  return Digest::FromHex(proto.hash(), proto.size_bytes());
}

v1::Digest DigestToProto(const Digest& digest) {
  v1::Digest proto;
  proto.set_hash(digest.hex());
  proto.set_size_bytes(digest.size_bytes());
  return proto;
}

}  // namespace farm
