#include "cas/caching_blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// Says whether anything went through.
class WatchedSink final : public ByteSink {
 public:
  explicit WatchedSink(ByteSink& sink) : sink_(sink) {}
  absl::Status Write(absl::string_view bytes) override {
    was_written_ = true;
    return sink_.Write(bytes);
  }
  bool was_written() const { return was_written_; }

 private:
  ByteSink& sink_;
  bool was_written_ = false;
};

}  // namespace

absl::Status CachingBlobStore::Put(const Digest& digest, ByteSource& source) {
  // Not kept: what a client uploads is seldom read back here.
  return remote_.Put(digest, source);
}

absl::Status CachingBlobStore::PutFile(const Digest& digest, const std::string& path) {
  return remote_.PutFile(digest, path);
}

absl::Status CachingBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  WatchedSink watched(sink);
  const absl::Status status = local_.Get(digest, offset, watched);
  const bool is_gone = absl::IsNotFound(status) || absl::IsDataLoss(status);
  if (!is_gone || watched.was_written()) return status;
  RETURN_IF_ERROR(Fetch(digest));
  return local_.Get(digest, offset, sink);
}

absl::StatusOr<UniqueFd> CachingBlobStore::OpenFile(const Digest& digest) {
  absl::StatusOr<UniqueFd> fd = local_.OpenFile(digest);
  if (!absl::IsNotFound(fd.status())) return fd;
  RETURN_IF_ERROR(Fetch(digest));
  return local_.OpenFile(digest);
}

absl::StatusOr<std::vector<Digest>> CachingBlobStore::FindMissing(
    absl::Span<const Digest> digests) {
  return remote_.FindMissing(digests);
}

absl::Status CachingBlobStore::Sync(absl::Span<const Digest> digests) {
  return remote_.Sync(digests);
}

absl::Status CachingBlobStore::Delete(const Digest& digest) {
  RETURN_IF_ERROR(remote_.Delete(digest));
  return local_.Delete(digest);
}

absl::Status CachingBlobStore::Fetch(const Digest& digest) {
  std::string path = options_.temporary_dir + "/fetch-XXXXXX";
  absl::Status status;
  {
    const UniqueFd fd(mkostemp(path.data(), O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, path);
    FdSink sink(fd.get());
    status = remote_.Get(digest, 0, sink);
  }
  if (status.ok()) status = local_.PutFile(digest, path);
  if (!status.ok()) unlink(path.c_str());
  return status;
}

}  // namespace farm
