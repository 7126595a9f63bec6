#ifndef FARM_BASE_TIME_PROTO_H_
#define FARM_BASE_TIME_PROTO_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "absl/time/time.h"

namespace farm {

google::protobuf::Timestamp TimeToProto(absl::Time time);
absl::Time TimeFromProto(const google::protobuf::Timestamp& proto);
google::protobuf::Duration DurationToProto(absl::Duration duration);
absl::Duration DurationFromProto(const google::protobuf::Duration& proto);

}  // namespace farm

#endif  // FARM_BASE_TIME_PROTO_H_
