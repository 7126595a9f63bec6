#ifndef FARM_PLAN_PLATFORM_PROTO_H_
#define FARM_PLAN_PLATFORM_PROTO_H_

#include "oci/platform.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

Platform PlatformFromProto(const v1::Platform& platform);
v1::Platform PlatformToProto(const Platform& platform);
// True if nobody has said which.
bool IsUnset(const v1::Platform& platform);

}  // namespace farm

#endif  // FARM_PLAN_PLATFORM_PROTO_H_
