#ifndef FARM_DOCKERFILE_MOUNT_H_
#define FARM_DOCKERFILE_MOUNT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/source_position.h"

namespace farm {

// One RUN --mount, as written: paths are neither cleaned nor made absolute, and what is not given
// is left for the planner, whose defaults depend on the type.
struct Mount {
  enum class Type { kBind, kCache, kTmpfs, kSecret, kSsh };
  enum class Sharing { kShared, kPrivate, kLocked };

  Type type = Type::kBind;
  std::string target;              // target, dst, destination; "" if not given.
  std::string source;              // source, src; "" if not given.
  std::string from;                // "" if not given.
  std::string id;                  // "" if not given.
  std::optional<Sharing> sharing;  // Only kCache.
  bool read_only = true;           // As given; by default false for kCache and kTmpfs.
  bool required = false;           // Only kSecret, kSsh.
  std::optional<uint32_t> mode;  // Permission bits; only kCache, kSecret, kSsh; also the next two.
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<int64_t> size_bytes;  // Only kTmpfs.
  std::optional<std::string> env;     // Only kSecret: the variable that gets it.
};

absl::string_view MountTypeName(Mount::Type type);  // "bind"

// Bytes of a size of memory as docker writes it: "64m", "1.5GiB", "1024"; all units are powers of
// 1024, an "i" or not. None for anything else.
std::optional<int64_t> ParseRamBytes(absl::string_view text);

// Replaces the variables in one value.
using WordExpansion = std::function<absl::StatusOr<std::string>(absl::string_view word)>;

// Parses the value of a --mount: comma-separated key=value fields, in CSV's quoting. Each value is
// expanded after it was split off, so that a comma in a variable separates nothing; `from` must not
// have variables. INVALID_ARGUMENT, with position, for unknown keys (with a suggestion), bad
// values, and keys that the type does not have.
absl::StatusOr<Mount> ParseMount(absl::string_view text, const SourcePosition& position,
                                 const WordExpansion& expand = nullptr);

// The `from` of a --mount, "" if it has none or is a tmpfs, which reads nothing. Values are not
// looked at otherwise, as they may have variables. INVALID_ARGUMENT, with position, if `text` is
// not CSV.
absl::StatusOr<std::string> MountSource(absl::string_view text, const SourcePosition& position);

}  // namespace farm

#endif  // FARM_DOCKERFILE_MOUNT_H_
