#include "cas/host_blob_store.h"

#include <set>

#include "base/status_macros.h"

namespace farm {

absl::Status HostBlobStore::Put(const Digest& digest, ByteSource& source) {
  return HomeOf(digest).Put(digest, source);
}

absl::Status HostBlobStore::PutFile(const Digest& digest, const std::string& path) {
  return HomeOf(digest).PutFile(digest, path);
}

absl::Status HostBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  return HomeOf(digest).Get(digest, offset, sink);
}

absl::StatusOr<UniqueFd> HostBlobStore::OpenFile(const Digest& digest) {
  return HomeOf(digest).OpenFile(digest);
}

absl::StatusOr<std::vector<Digest>> HostBlobStore::FindMissing(absl::Span<const Digest> digests) {
  std::vector<Digest> small;
  std::vector<Digest> large;
  for (const Digest& digest : digests) {
    (&HomeOf(digest) == &remote_ ? small : large).push_back(digest);
  }
  std::set<Digest> absent;
  if (!small.empty()) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, remote_.FindMissing(small));
    absent.insert(missing.begin(), missing.end());
  }
  if (!large.empty()) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, shared_.FindMissing(large));
    absent.insert(missing.begin(), missing.end());
  }
  std::vector<Digest> result;
  for (const Digest& digest : digests) {
    if (absent.erase(digest) != 0) result.push_back(digest);
  }
  return result;
}

absl::Status HostBlobStore::Sync(absl::Span<const Digest> digests) {
  std::vector<Digest> small;
  std::vector<Digest> large;
  for (const Digest& digest : digests) {
    (&HomeOf(digest) == &remote_ ? small : large).push_back(digest);
  }
  if (!small.empty()) {
    RETURN_IF_ERROR(remote_.Sync(small));
  }
  return large.empty() ? absl::OkStatus() : shared_.Sync(large);
}

absl::Status HostBlobStore::Delete(const Digest& digest) { return HomeOf(digest).Delete(digest); }

}  // namespace farm
