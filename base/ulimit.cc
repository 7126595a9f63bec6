#include "base/ulimit.h"

#include <sys/resource.h>

namespace farm {
namespace {

struct Named {
  absl::string_view name;
  int resource;
};
constexpr Named kUlimits[] = {
    {"as", RLIMIT_AS},           {"core", RLIMIT_CORE},         {"cpu", RLIMIT_CPU},
    {"data", RLIMIT_DATA},       {"fsize", RLIMIT_FSIZE},       {"locks", RLIMIT_LOCKS},
    {"memlock", RLIMIT_MEMLOCK}, {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},
    {"nofile", RLIMIT_NOFILE},   {"nproc", RLIMIT_NPROC},       {"rss", RLIMIT_RSS},
    {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME},     {"sigpending", RLIMIT_SIGPENDING},
    {"stack", RLIMIT_STACK},
};

}  // namespace

std::optional<int> UlimitResource(absl::string_view name) {
  for (const Named& known : kUlimits) {
    if (known.name == name) return known.resource;
  }
  return std::nullopt;
}

std::vector<std::string> UlimitNames() {
  std::vector<std::string> names;
  for (const Named& known : kUlimits) names.emplace_back(known.name);
  return names;
}

}  // namespace farm
