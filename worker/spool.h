#ifndef FARM_WORKER_SPOOL_H_
#define FARM_WORKER_SPOOL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/digest.h"
#include "base/unique_fd.h"
#include "cas/blob_store.h"

namespace farm {

// Keeps bytes until their digest is known: up to 64 KiB in memory, more in a file of `dir`, which
// is gone with the spool. Not safe for concurrent calls.
class Spool final : public ByteSink {
 public:
  explicit Spool(std::string dir) : dir_(std::move(dir)) {}
  ~Spool() override;
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  absl::Status Write(absl::string_view bytes) override;

  // Gives the bytes to a store. Call it once, after the last Write().
  absl::Status Store(const Digest& digest, BlobStore& blobs);

 private:
  absl::Status OpenFile();

  const std::string dir_;
  std::string memory_;
  std::string path_;  // of the file, once there is one
  UniqueFd file_;
};

}  // namespace farm

#endif  // FARM_WORKER_SPOOL_H_
