#include "plan/platform_proto.h"

namespace farm {

Platform PlatformFromProto(const v1::Platform& platform) {
  Platform out;
  out.os = platform.os();
  out.architecture = platform.architecture();
  out.variant = platform.variant();
  return out;
}

v1::Platform PlatformToProto(const Platform& platform) {
  v1::Platform out;
  out.set_os(platform.os);
  out.set_architecture(platform.architecture);
  out.set_variant(platform.variant);
  return out;
}

bool IsUnset(const v1::Platform& platform) {
  return platform.os().empty() && platform.architecture().empty();
}

}  // namespace farm
