#include "worker/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kMemoryBytesMax = 64 << 10;

}  // namespace

Spool::~Spool() {
  if (!path_.empty()) unlink(path_.c_str());  // Gone already if a store has taken it.
}

absl::Status Spool::OpenFile() {
  std::string path = dir_ + "/spool-XXXXXX";
  file_.Reset(mkostemp(path.data(), O_CLOEXEC));
  if (!file_.valid()) return ErrnoStatus(errno, path);
  path_ = path;
  return absl::OkStatus();
}

absl::Status Spool::Write(absl::string_view bytes) {
  if (!file_.valid()) {
    if (memory_.size() + bytes.size() <= kMemoryBytesMax) {
      memory_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(OpenFile());
    RETURN_IF_ERROR(FdSink(file_.get()).Write(memory_));
    memory_ = std::string();
  }
  return FdSink(file_.get()).Write(bytes);
}

absl::Status Spool::Store(const Digest& digest, BlobStore& blobs) {
  if (!file_.valid()) {
    StringSource source(memory_);
    return blobs.Put(digest, source);
  }
  file_.Reset();
  return blobs.PutFile(digest, path_);
}

}  // namespace farm
