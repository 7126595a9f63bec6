#ifndef FARM_OCI_PLATFORM_H_
#define FARM_OCI_PLATFORM_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// What an image runs on, in Go's names ("linux", "arm64"), with a CPU variant where it matters.
struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;
  std::string os_version;
  std::vector<std::string> os_features;

  // From "os[/arch[/variant]]" or "arch", names in other spellings included ("x86_64", "aarch64",
  // "armhf", "macos"); a part left out is this machine's. Normalised.
  // INVALID_ARGUMENT: empty parts, more than three, other characters than [A-Za-z0-9_-.], or one
  // part that is neither a known system nor a known architecture.
  static absl::StatusOr<Platform> Parse(absl::string_view text);
  // The machine this program was compiled for: linux/amd64, linux/arm64, …
  static Platform Host();

  // One spelling for each: x86_64 → amd64, aarch64 → arm64, i386 → 386; arm64 v8 and amd64 v1 lose
  // their variant, arm gets v7 if it has none.
  Platform Normalized() const;
  std::string ToString() const;  // "linux/arm/v7"; normalise first for a comparable text.

  friend bool operator==(const Platform&, const Platform&) = default;
};

// How far an image for `image` is from what was asked for: 0 is exactly that, more is less
// suitable, nullopt does not run there. As containerd has it: arm v7 also runs v6 and v5, arm64
// runs arm v8 to v5, amd64 v3 runs v2 and v1, and each amd64 runs 386. An empty `image` (an index
// that does not say) never suits.
std::optional<int> PlatformDistance(const Platform& wanted, const Platform& image);

inline bool PlatformMatches(const Platform& wanted, const Platform& image) {
  return PlatformDistance(wanted, image).has_value();
}

}  // namespace farm

#endif  // FARM_OCI_PLATFORM_H_
