#include "oci/platform.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace farm {
namespace {

constexpr absl::string_view kSystems[] = {
    "aix",   "android", "darwin", "dragonfly", "freebsd", "illumos", "ios",     "js",
    "linux", "nacl",    "netbsd", "openbsd",   "plan9",   "solaris", "windows", "zos"};
constexpr absl::string_view kArchitectures[] = {
    "386",    "amd64",    "arm",   "arm64",   "loong64", "mips",  "mipsle",
    "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x", "wasm"};

bool Contains(const auto& list, absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

std::string NormalizedSystem(absl::string_view os) {
  std::string result = absl::AsciiStrToLower(os);
  return result == "macos" ? "darwin" : result;
}

std::pair<std::string, std::string> NormalizedArchitecture(absl::string_view architecture,
                                                           absl::string_view variant) {
  const std::string arch = absl::AsciiStrToLower(architecture);
  std::string v = absl::AsciiStrToLower(variant);
  if (arch == "i386") return {"386", ""};
  if (arch == "x86_64" || arch == "x86-64" || arch == "amd64") {
    return {"amd64", v == "v1" ? "" : v};
  }
  if (arch == "aarch64" || arch == "arm64") {
    return {"arm64", v == "8" || v == "v8" || v == "v8.0" ? "" : v};
  }
  if (arch == "armhf") return {"arm", "v7"};
  if (arch == "armel") return {"arm", "v6"};
  if (arch == "arm") {
    if (v.empty()) return {"arm", "v7"};
    return {"arm", absl::ascii_isdigit(v[0]) ? "v" + v : v};
  }
  return {arch, v};
}

// "v8.5" → {8, 5}, "v3" → {3, 0}.
std::optional<std::pair<int, int>> VariantNumber(absl::string_view variant) {
  if (!absl::StartsWith(variant, "v")) return std::nullopt;
  const std::vector<absl::string_view> parts = absl::StrSplit(variant.substr(1), '.');
  int major = 0, minor = 0;
  if (parts.size() > 2 || !absl::SimpleAtoi(parts[0], &major)) return std::nullopt;
  if (parts.size() == 2 && !absl::SimpleAtoi(parts[1], &minor)) return std::nullopt;
  if (major < 0 || major > 99 || minor < 0 || minor > 99) return std::nullopt;
  return std::pair(major, minor);
}

// A number that grows with what a CPU of the variant can run, nullopt if that is not known.
std::optional<int> VariantLevel(absl::string_view architecture, absl::string_view variant) {
  if (architecture == "amd64") variant = variant.empty() ? "v1" : variant;
  if (architecture == "arm64") variant = variant.empty() ? "v8" : variant;
  const auto number = VariantNumber(variant);
  if (!number.has_value()) return std::nullopt;
  const auto [major, minor] = *number;
  if (architecture == "amd64" && minor == 0) return major;
  if (architecture == "arm" && minor == 0 && major >= 5 && major <= 8) return major;
  // Arm v9.N has all of v8.(N + 5).
  if (architecture == "arm64" && major == 8) return minor;
  if (architecture == "arm64" && major == 9) return minor + 5;
  return std::nullopt;
}

std::optional<int> VariantDistance(absl::string_view architecture, absl::string_view wanted,
                                   absl::string_view image) {
  if (wanted == image) return 0;
  const std::optional<int> wanted_level = VariantLevel(architecture, wanted);
  const std::optional<int> image_level = VariantLevel(architecture, image);
  if (!wanted_level.has_value() || !image_level.has_value()) return std::nullopt;
  // Equal levels under other names (arm64 v9.0 and v8.5) are still not the exact one.
  if (*image_level > *wanted_level) return std::nullopt;
  return 1 + *wanted_level - *image_level;
}

// Farther than any variant of the wanted architecture itself.
constexpr int kOtherArchitectureDistance = 1000;

}  // namespace

absl::StatusOr<Platform> Platform::Parse(absl::string_view text) {
  const auto invalid = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("platform \"", text.substr(0, 100), "\": ", why,
                                                   "; expected os[/arch[/variant]], for example "
                                                   "linux/amd64"));
  };
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '/');
  if (parts.size() > 3) return invalid("more than three parts");
  for (absl::string_view part : parts) {
    if (part.empty()) return invalid("an empty part");
    const bool valid = std::all_of(part.begin(), part.end(), [](char c) {
      return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
    });
    if (!valid) return invalid("characters other than letters, digits, '_', '.' and '-'");
  }
  Platform result = Host();
  if (parts.size() > 1) {
    result.os = std::string(parts[0]);
    result.architecture = std::string(parts[1]);
    result.variant = parts.size() == 3 ? std::string(parts[2]) : "";
    return result.Normalized();
  }
  if (const std::string os = NormalizedSystem(parts[0]); Contains(kSystems, os)) {
    result.os = os;
    return result;
  }
  std::tie(result.architecture, result.variant) = NormalizedArchitecture(parts[0], "");
  if (!Contains(kArchitectures, result.architecture)) {
    return invalid("unknown operating system or architecture");
  }
  return result;
}

Platform Platform::Host() {
  Platform result;
  result.os = "linux";
#if defined(__x86_64__)
  result.architecture = "amd64";
#elif defined(__aarch64__)
  result.architecture = "arm64";
#elif defined(__arm__)
  result.architecture = "arm";
  result.variant = "v7";
#elif defined(__i386__)
  result.architecture = "386";
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
  result.architecture = "ppc64le";
#elif defined(__s390x__)
  result.architecture = "s390x";
#elif defined(__riscv)
  result.architecture = "riscv64";
#else
#error "name this machine's architecture as Go does"
#endif
  return result;
}

Platform Platform::Normalized() const {
  Platform result = *this;
  result.os = NormalizedSystem(os);
  std::tie(result.architecture, result.variant) = NormalizedArchitecture(architecture, variant);
  return result;
}

std::string Platform::ToString() const {
  return absl::StrCat(os, "/", architecture, variant.empty() ? "" : "/", variant);
}

std::optional<int> PlatformDistance(const Platform& wanted, const Platform& image) {
  const Platform w = wanted.Normalized();
  const Platform i = image.Normalized();
  if (i.os.empty() || i.architecture.empty() || w.os != i.os) return std::nullopt;
  if (w.architecture == i.architecture) {
    return VariantDistance(w.architecture, w.variant, i.variant);
  }
  if (w.architecture == "amd64" && i.architecture == "386") return kOtherArchitectureDistance;
  if (w.architecture == "arm64" && i.architecture == "arm") {
    const std::optional<int> distance = VariantDistance("arm", "v8", i.variant);
    if (distance.has_value()) return kOtherArchitectureDistance + *distance;
  }
  return std::nullopt;
}

}  // namespace farm
