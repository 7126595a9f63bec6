#include "cas/memory_blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {

absl::Status MemoryBlobStore::Put(const Digest& digest, ByteSource& source) {
  if (digest == EmptyBlobDigest() || Use(digest) != nullptr) return absl::OkStatus();
  RETURN_IF_ERROR(CheckBlobSize(digest, options_.blob_bytes_max));
  ASSIGN_OR_RETURN(std::string bytes, ReadBlob(digest, source));
  const absl::Time now = clock_.Now();
  MutexLock lock(mu_);
  blobs_[digest] = {std::make_shared<const std::string>(std::move(bytes)), now};
  return absl::OkStatus();
}

absl::Status MemoryBlobStore::PutFile(const Digest& digest, const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  FdSource source(fd.get());
  RETURN_IF_ERROR(Put(digest, source)) << path;
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status MemoryBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  const bool is_empty = digest == EmptyBlobDigest();
  const std::shared_ptr<const std::string> bytes = is_empty ? nullptr : Use(digest);
  if (bytes == nullptr && !is_empty) return BlobNotFound(digest);
  RETURN_IF_ERROR(CheckBlobOffset(digest, offset));
  if (is_empty) return absl::OkStatus();
  if (offset == 0 && DigestOf(*bytes) != digest) {
    RETURN_IF_ERROR(Delete(digest));
    return absl::DataLossError(
        absl::StrCat("the stored bytes of blob ", digest.oci(), " are damaged"));
  }
  return sink.Write(absl::string_view(*bytes).substr(static_cast<size_t>(offset)));
}

absl::StatusOr<UniqueFd> MemoryBlobStore::OpenFile(const Digest& digest) {
  return absl::NotFoundError(absl::StrCat("blob ", digest.oci(), " is in no file"));
}

absl::StatusOr<std::vector<Digest>> MemoryBlobStore::FindMissing(absl::Span<const Digest> digests) {
  std::vector<Digest> missing;
  std::set<Digest> seen;
  for (const Digest& digest : digests) {
    if (digest == EmptyBlobDigest() || Use(digest) != nullptr) continue;
    if (seen.insert(digest).second) missing.push_back(digest);
  }
  return missing;
}

absl::Status MemoryBlobStore::Sync(absl::Span<const Digest> digests) {
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, FindMissing(digests));
  if (!missing.empty()) return BlobNotFound(missing.front());
  return absl::OkStatus();
}

absl::Status MemoryBlobStore::Delete(const Digest& digest) {
  MutexLock lock(mu_);
  blobs_.erase(digest);
  return absl::OkStatus();
}

absl::Status MemoryBlobStore::ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) {
  Digest last;
  while (true) {
    BlobInfo info;
    {
      MutexLock lock(mu_);
      const auto it = blobs_.upper_bound(last);
      if (it == blobs_.end()) return absl::OkStatus();
      info = {it->first, it->second.last_use};
    }
    if (!visit(info)) return absl::OkStatus();
    last = info.digest;
  }
}

absl::StatusOr<bool> MemoryBlobStore::DeleteIfUnusedSince(const Digest& digest, absl::Time time) {
  MutexLock lock(mu_);
  const auto it = blobs_.find(digest);
  if (it == blobs_.end() || it->second.last_use >= time) return false;
  blobs_.erase(it);
  return true;
}

void MemoryBlobStore::Damage(const Digest& digest) {
  MutexLock lock(mu_);
  const auto it = blobs_.find(digest);
  FARM_CHECK(it != blobs_.end() && digest.size_bytes() > 0) << "no blob " << digest.oci();
  std::string bytes = *it->second.bytes;
  bytes[bytes.size() / 2] ^= 1;
  it->second.bytes = std::make_shared<const std::string>(std::move(bytes));
}

std::shared_ptr<const std::string> MemoryBlobStore::Use(const Digest& digest) {
  const absl::Time now = clock_.Now();
  MutexLock lock(mu_);
  const auto it = blobs_.find(digest);
  if (it == blobs_.end()) return nullptr;
  if (notes_.IsWanted(now, it->second.last_use)) it->second.last_use = now;
  return it->second.bytes;
}

}  // namespace farm
