#ifndef FARM_CLI_STAT_CACHE_H_
#define FARM_CLI_STAT_CACHE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/digest.h"

struct stat;

namespace farm {

// What says that a file still has the bytes that were hashed: a write changes mtime and ctime, a
// replacement the inode, and a tool that sets mtime back still changes ctime.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  int64_t size_bytes = 0;
  int64_t mtime_ns = 0;  // since the epoch
  int64_t ctime_ns = 0;

  static FileIdentity Of(const struct stat& info);
  friend bool operator==(const FileIdentity&, const FileIdentity&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const FileIdentity& id) {
    return H::combine(std::move(h), id.device, id.inode, id.size_bytes, id.mtime_ns, id.ctime_ns);
  }
};

// Digests of files as an earlier scan of the same context found them. It only saves work: whatever
// is wrong with its file, nothing is found in it. Safe for concurrent reads.
//
// The file: "farmstat", version and count (32 and 64 bits), one 72-byte record for each file
// (device, inode, size, mtime, ctime, SHA-256; numbers little-endian), SHA-256 of all before.
class StatCache {
 public:
  // A file that was written while or shortly before it was hashed can be written again within one
  // tick of its times. So nothing is remembered that changed less than this before the scan began.
  static constexpr absl::Duration kSettled = absl::Seconds(2);
  static constexpr size_t kEntriesMax = 1'000'000;
  // Contexts whose caches are kept; the ones longest unused go.
  static constexpr size_t kContextsMax = 64;

  struct Entry {
    FileIdentity identity;
    Digest digest;
  };

  StatCache() = default;  // Empty.
  static StatCache Load(const std::string& path);

  std::optional<Digest> Find(const FileIdentity& identity) const;
  size_t size() const { return digests_.size(); }

  // True if a file of this identity may be remembered by a scan that began at `scan_start`.
  static bool IsSettled(const FileIdentity& identity, absl::Time scan_start);
  // Replaces the file with `entries` and keeps its folder bounded.
  static absl::Status Save(const std::string& path, const std::vector<Entry>& entries);

 private:
  absl::flat_hash_map<FileIdentity, Digest> digests_;
};

}  // namespace farm

#endif  // FARM_CLI_STAT_CACHE_H_
