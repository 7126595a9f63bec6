#ifndef FARM_CLI_SPOOLED_FILE_H_
#define FARM_CLI_SPOOLED_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "base/sha256.h"
#include "base/unique_fd.h"

namespace farm {

// Hashes what is written, and keeps nothing.
class HashSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view bytes) override {
    hash_.Update(bytes);
    return absl::OkStatus();
  }
  Digest Finish() { return hash_.Finish(); }

 private:
  Sha256 hash_;
};

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
