#ifndef FARM_CLI_CONTEXT_SCANNER_H_
#define FARM_CLI_CONTEXT_SCANNER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/digest.h"
#include "base/unique_fd.h"
#include "dockerfile/dockerignore.h"
#include "layer/table.h"

namespace farm {

struct ScanOptions {
  DockerIgnore ignore;
  // Where digests are remembered from one scan to the next; "" for nowhere.
  std::string stat_cache_path;
  int threads = 0;  // 0: the number of processors, at least 2
  TableLimits limits{.entries_max = 1'000'000};
};

// A build context as it was found: what `table` says, file contents by digest.
struct ScannedContext {
  UniqueFd root;  // the directory
  Table table;
  std::string table_bytes;  // its encoding
  Digest table_digest;
  int64_t files = 0;
  int64_t files_bytes = 0;
  int64_t files_hashed = 0;  // those that the stat cache did not know
};

// Reads the tree at `directory`: files with their modes, owned by 0:0; symlinks as they are, never
// followed; names of one file as hard links; sockets and extended attributes left out. A file that
// vanishes meanwhile is left out, one that changes while it is read is read again.
//   NOT_FOUND            no such directory
//   FAILED_PRECONDITION  `directory` is no directory; a file kept changing while it was read
//   PERMISSION_DENIED    a file or directory that can't be read, by name
//   RESOURCE_EXHAUSTED   over a limit
absl::StatusOr<ScannedContext> ScanContext(const std::string& directory,
                                           const ScanOptions& options);

// Where the stat cache for a context is: under $XDG_CACHE_HOME/farm or ~/.cache/farm, by the
// directory's real path and the text of its ignore file. "" if there is no such place.
std::string StatCachePath(const std::string& directory, absl::string_view ignore_text);

}  // namespace farm

#endif  // FARM_CLI_CONTEXT_SCANNER_H_
