#ifndef FARM_OCI_IMAGE_CONFIG_H_
#define FARM_OCI_IMAGE_CONFIG_H_

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "oci/platform.h"

namespace farm {

// HEALTHCHECK. A zero duration or count means docker's default (30 s, 30 s, 0 s, 5 s, 3).
struct Healthcheck {
  std::vector<std::string> test;  // {"NONE"}, {"CMD", ARG…} or {"CMD-SHELL", TEXT}; empty inherits.
  absl::Duration interval;
  absl::Duration timeout;
  absl::Duration start_period;
  absl::Duration start_interval;
  int64_t retries = 0;

  friend bool operator==(const Healthcheck&, const Healthcheck&) = default;
};

// How a container of the image starts.
struct ContainerConfig {
  std::string user;
  std::set<std::string> exposed_ports;  // "80/tcp"
  std::vector<std::string> env;         // "NAME=value", in the order they were set.
  std::vector<std::string> entrypoint;
  std::vector<std::string> cmd;
  std::set<std::string> volumes;
  std::string working_dir;
  std::map<std::string, std::string> labels;
  std::string stop_signal;
  bool args_escaped = false;  // Windows only.
  std::optional<Healthcheck> healthcheck;
  std::vector<std::string> on_build;
  std::vector<std::string> shell;

  friend bool operator==(const ContainerConfig&, const ContainerConfig&) = default;
};

struct HistoryEntry {
  std::optional<absl::Time> created;
  std::string created_by;
  std::string author;
  std::string comment;
  bool empty_layer = false;  // Changed only the config; the others belong to diff_ids, in order.

  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};

// The config blob of an image (image-spec, config.md, with docker's additions). Its digest is the
// image's id. Keys that this struct does not know are dropped by a parse: to send on a pulled image
// unchanged, send its bytes.
struct ImageConfig {
  std::optional<absl::Time> created;
  std::string author;
  Platform platform;  // As written, not normalised.
  ContainerConfig config;
  std::vector<std::string> diff_ids;  // rootfs: "sha256:HEX" each, lowest layer first.
  std::vector<HistoryEntry> history;  // Lowest layer first.

  friend bool operator==(const ImageConfig&, const ImageConfig&) = default;
};

inline constexpr int64_t kImageConfigBytesMax = 8 << 20;
inline constexpr int kImageLayersMax = 1024;  // Entries of diff_ids.
inline constexpr int kImageHistoryEntriesMax = 4096;
inline constexpr int kImageListEntriesMax = 16 << 10;  // Of each other list or map.
inline constexpr int kJsonDepthMax = 64;               // Of any document read by this room.

// Reads a config written by anyone. A missing key is an empty value; null too.
//   INVALID_ARGUMENT    no JSON, a value of the wrong type (names the key: "config.Env[3]: expected
//                       a string, found a number"), a diff_id that is no sha256 digest, an
//                       impossible time
//   RESOURCE_EXHAUSTED  over one of the limits above
absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view json);

// The bytes for a config; equal configs give equal bytes. Keys stand where BuildKit puts them
// (sorted on the first level, then in the specification's order), empty values are left out,
// strings are escaped as Go's encoder does, times are RFC 3339 in UTC.
std::string SerializeImageConfig(const ImageConfig& config);

}  // namespace farm

#endif  // FARM_OCI_IMAGE_CONFIG_H_
