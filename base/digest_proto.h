#ifndef FARM_BASE_DIGEST_PROTO_H_
#define FARM_BASE_DIGEST_PROTO_H_

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "proto/farm/v1/digest.pb.h"

namespace farm {

// INVALID_ARGUMENT if the hash is not 64 lower-case hex digits or the size is negative.
absl::StatusOr<Digest> DigestFromProto(const v1::Digest& proto);
v1::Digest DigestToProto(const Digest& digest);

}  // namespace farm

#endif  // FARM_BASE_DIGEST_PROTO_H_
