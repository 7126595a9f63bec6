#include "tests/testing/debian_root.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "tests/testing/process.h"

namespace farm {
namespace {

// Without documentation and translations, as in small images, and without what only merges /usr of
// an old root: that needs all of Perl. As in docker's Debian, packages start no services.
constexpr char kScript[] = R"(set -eu
apt-config dump | grep '^Acquire::' > apt.conf || true
set -- $(grep -ls bookworm /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
  /etc/apt/sources.list.d/*.sources || true)
mmdebstrap --variant=apt --aptopt="$PWD/apt.conf" \
  --include=usr-is-merged --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='printf "#!/bin/sh\nexit 101\n" > "$1/usr/sbin/policy-rc.d"' \
  --customize-hook='chmod 755 "$1/usr/sbin/policy-rc.d"' \
  bookworm root.tar "$@"
)";

// The first line of apt's about a file that it could not have; "" if there is none.
std::string FetchError(const std::string& output) {
  for (const absl::string_view line : absl::StrSplit(output, '\n')) {
    if (absl::StrContains(line, "Failed to fetch")) return std::string(line);
  }
  return "";
}

absl::StatusOr<std::string> MakeRoot(const ScratchDir& dir) {
  if (!HasProgram("mmdebstrap")) return absl::NotFoundError("mmdebstrap is not installed");
  const CommandResult made = RunShell(kScript, {.dir = dir.path(), .timeout = absl::Minutes(10)});
  if (made.exit_code == 0) return dir / "root.tar";
  if (const std::string error = FetchError(made.all()); !error.empty()) {
    return absl::UnavailableError(absl::StrCat("no Debian mirror: ", error));
  }
  return absl::InternalError(made.all());
}

}  // namespace

absl::StatusOr<std::string> DebianRootTar() {
  static const ScratchDir dir;  // Removed when the test program ends.
  static const auto* const path = new absl::StatusOr<std::string>(MakeRoot(dir));
  return *path;
}

}  // namespace farm
