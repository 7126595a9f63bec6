#include "worker/resolv_conf.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "worker/ipv4_network.h"

namespace farm {
namespace {

constexpr int64_t kResolvConfBytesMax = 64 << 10;
// What the C library uses; it ignores more.
constexpr size_t kResolversMax = 3;

std::vector<std::string> Words(absl::string_view line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
}

std::vector<uint32_t> ReachableResolvers(absl::string_view text) {
  std::vector<uint32_t> resolvers;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<std::string> words = Words(line);
    if (words.size() < 2 || words[0] != "nameserver") continue;
    const absl::StatusOr<uint32_t> address = ParseIpv4Address(words[1]);
    if (!address.ok() || IsIpv4Loopback(*address)) continue;
    resolvers.push_back(*address);
    if (resolvers.size() == kResolversMax) break;
  }
  return resolvers;
}

}  // namespace

SandboxResolvConf MakeSandboxResolvConf(absl::string_view host, absl::string_view upstream,
                                        const std::vector<uint32_t>& configured) {
  SandboxResolvConf conf;
  conf.resolvers = configured;
  if (conf.resolvers.empty()) conf.resolvers = ReachableResolvers(host);
  if (conf.resolvers.empty()) conf.resolvers = ReachableResolvers(upstream);
  for (const uint32_t resolver : conf.resolvers) {
    absl::StrAppend(&conf.text, "nameserver ", Ipv4AddressText(resolver), "\n");
  }
  for (absl::string_view line : absl::StrSplit(host, '\n')) {
    const std::vector<std::string> words = Words(line);
    if (words.empty()) continue;
    if (words[0] == "search" || words[0] == "domain" || words[0] == "options") {
      absl::StrAppend(&conf.text, line, "\n");
    }
  }
  return conf;
}

SandboxResolvConf ReadSandboxResolvConf(const std::vector<uint32_t>& configured) {
  const auto read = [](const char* path) {
    return ReadFile(path, kResolvConfBytesMax).value_or("");
  };
  return MakeSandboxResolvConf(read("/etc/resolv.conf"), read("/run/systemd/resolve/resolv.conf"),
                               configured);
}

}  // namespace farm
