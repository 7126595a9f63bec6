#ifndef FARM_CLI_SPOOLED_FILE_H_
#define FARM_CLI_SPOOLED_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/digest.h"
#include "base/unique_fd.h"

namespace farm {

// A seekable file with bytes from somewhere, at offset 0.
struct SpooledFile {
  UniqueFd fd;
  Digest digest;
};

// Opens `source`, and hashes it: a path, "-" (standard input) or an http(s) URL; the latter two are
// kept in an unlinked file under $TMPDIR, else /var/tmp.
//   NOT_FOUND            no such file, or the server has none
//   INVALID_ARGUMENT     a directory
//   UNAVAILABLE          the server can't be reached
//   FAILED_PRECONDITION  libcurl, which downloads, is not installed
absl::StatusOr<SpooledFile> OpenSpooled(const std::string& source);

}  // namespace farm

#endif  // FARM_CLI_SPOOLED_FILE_H_
