#ifndef FARM_LAYER_TAR_ENTRY_H_
#define FARM_LAYER_TAR_ENTRY_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/time/time.h"

namespace farm {

enum class TarType { kFile, kHardLink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

// What a tar says of one entry, not yet believed.
struct TarEntry {
  std::string name;  // As written: may be absolute, hold "..", end with a slash, or be empty.
  TarType type = TarType::kFile;
  uint32_t mode = 0;  // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t size_bytes = 0;  // Bytes that follow; 0 for all but files.
  absl::Time mtime = absl::UnixEpoch();
  std::string link_name;  // Target of a symlink or hard link.
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::map<std::string, std::string> xattrs;

  friend bool operator==(const TarEntry&, const TarEntry&) = default;
};

// A tar is made of blocks of so many bytes.
inline constexpr size_t kTarBlockBytes = 512;

}  // namespace farm

#endif  // FARM_LAYER_TAR_ENTRY_H_
