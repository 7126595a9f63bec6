#include "cas/small_blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// Two records for a blob, so that a look at what there is does not read the bytes, and noting a use
// does not write them. docs/formats/index.md describes both.
constexpr absl::string_view kBytesPrefix = "b";
constexpr absl::string_view kUsePrefix = "u";
constexpr size_t kUseRecordBytes = 8;

std::string BytesKey(const Digest& digest) { return absl::StrCat(kBytesPrefix, digest.raw()); }
std::string UseKey(const Digest& digest) { return absl::StrCat(kUsePrefix, digest.raw()); }

void AppendBigEndian32(uint32_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t BigEndian32(absl::string_view bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

struct UseRecord {
  int64_t size_bytes;
  absl::Time last_use;
};

std::string EncodeUse(const UseRecord& record) {
  std::string bytes;
  AppendBigEndian32(static_cast<uint32_t>(record.size_bytes), bytes);
  AppendBigEndian32(static_cast<uint32_t>(absl::ToUnixSeconds(record.last_use)), bytes);
  return bytes;
}

std::optional<UseRecord> DecodeUse(absl::string_view bytes) {
  if (bytes.size() != kUseRecordBytes) return std::nullopt;
  return UseRecord{BigEndian32(bytes), absl::FromUnixSeconds(BigEndian32(bytes.substr(4)))};
}

absl::Status Damaged(const Digest& digest, absl::string_view reason) {
  return absl::DataLossError(
      absl::StrCat("blob ", digest.oci(), " is damaged in the index: ", reason, "; removed"));
}

}  // namespace

absl::Status SmallBlobStore::Put(const Digest& digest, ByteSource& source) {
  if (!IsSmall(digest)) return large_.Put(digest, source);
  ASSIGN_OR_RETURN(const bool is_there, Use(digest));
  if (is_there) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string bytes, ReadBlob(digest, source));
  IndexBatch batch;
  batch.Put(IndexTable::kBlob, BytesKey(digest), bytes);
  batch.Put(IndexTable::kBlob, UseKey(digest), EncodeUse({digest.size_bytes(), clock_.Now()}));
  return index_.Apply(batch, Index::Durability::kOrdered);
}

absl::Status SmallBlobStore::PutFile(const Digest& digest, const std::string& path) {
  if (!IsSmall(digest)) return large_.PutFile(digest, path);
  {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, path);
    FdSource source(fd.get());
    RETURN_IF_ERROR(Put(digest, source)) << path;
  }
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status SmallBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  if (!IsSmall(digest)) return large_.Get(digest, offset, sink);
  ASSIGN_OR_RETURN(const bool is_there, Use(digest));
  if (!is_there) return BlobNotFound(digest);
  RETURN_IF_ERROR(CheckBlobOffset(digest, offset));
  if (digest == EmptyBlobDigest()) return absl::OkStatus();
  const absl::StatusOr<std::string> bytes = index_.Get(IndexTable::kBlob, BytesKey(digest));
  if (!bytes.ok() && !absl::IsNotFound(bytes.status()) && !absl::IsDataLoss(bytes.status())) {
    return bytes.status();
  }
  if (!bytes.ok() || DigestOf(*bytes) != digest) {
    // A record that RocksDB itself finds damaged can't be kept anywhere, and one that only does not
    // hash to its key says nothing by itself: neither is worth a quarantine.
    RETURN_IF_ERROR(Delete(digest));
    return Damaged(digest,
                   bytes.ok() ? "its bytes hash to something else" : bytes.status().message());
  }
  return sink.Write(absl::string_view(*bytes).substr(static_cast<size_t>(offset)));
}

absl::StatusOr<UniqueFd> SmallBlobStore::OpenFile(const Digest& digest) {
  if (!IsSmall(digest)) return large_.OpenFile(digest);
  return absl::NotFoundError(absl::StrCat("blob ", digest.oci(), " is in no file"));
}

absl::StatusOr<std::vector<Digest>> SmallBlobStore::FindMissing(absl::Span<const Digest> digests) {
  std::vector<Digest> large;
  for (const Digest& digest : digests) {
    if (!IsSmall(digest)) large.push_back(digest);
  }
  std::set<Digest> missing_large;
  if (!large.empty()) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, large_.FindMissing(large));
    missing_large.insert(missing.begin(), missing.end());
  }
  std::vector<Digest> missing;
  std::set<Digest> seen;
  for (const Digest& digest : digests) {
    bool is_missing = missing_large.count(digest) != 0;
    if (IsSmall(digest)) {
      ASSIGN_OR_RETURN(const bool is_there, Use(digest));
      is_missing = !is_there;
    }
    if (is_missing && seen.insert(digest).second) missing.push_back(digest);
  }
  return missing;
}

absl::Status SmallBlobStore::Sync(absl::Span<const Digest> digests) {
  std::vector<Digest> small;
  std::vector<Digest> large;
  for (const Digest& digest : digests) (IsSmall(digest) ? small : large).push_back(digest);
  if (!large.empty()) {
    RETURN_IF_ERROR(large_.Sync(large));
  }
  if (small.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, FindMissing(small));
  if (!missing.empty()) return BlobNotFound(missing.front());
  return index_.Apply(IndexBatch(), Index::Durability::kSynced);
}

absl::Status SmallBlobStore::Delete(const Digest& digest) {
  if (!IsSmall(digest)) return large_.Delete(digest);
  IndexBatch batch;
  batch.Delete(IndexTable::kBlob, BytesKey(digest)).Delete(IndexTable::kBlob, UseKey(digest));
  return index_.Apply(batch, Index::Durability::kOrdered);
}

absl::Status SmallBlobStore::ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) {
  bool go_on = true;
  RETURN_IF_ERROR(index_.Scan(
      IndexTable::kBlob, kUsePrefix, "", [&](absl::string_view key, absl::string_view value) {
        key.remove_prefix(kUsePrefix.size());
        const std::optional<UseRecord> use = DecodeUse(value);
        Digest::Hash hash;
        if (key.size() != hash.size() || !use.has_value()) return true;  // Not ours.
        std::memcpy(hash.data(), key.data(), hash.size());
        return go_on = visit({Digest(hash, use->size_bytes), use->last_use});
      }));
  return go_on ? large_.ForEachBlob(visit) : absl::OkStatus();
}

absl::StatusOr<bool> SmallBlobStore::DeleteIfUnusedSince(const Digest& digest, absl::Time time) {
  if (!IsSmall(digest)) return large_.DeleteIfUnusedSince(digest, time);
  const absl::StatusOr<std::string> record = index_.Get(IndexTable::kBlob, UseKey(digest));
  if (absl::IsNotFound(record.status())) return false;
  RETURN_IF_ERROR(record.status());
  const std::optional<UseRecord> use = DecodeUse(*record);
  if (use.has_value() && use->last_use >= time) return false;
  IndexBatch batch;
  batch.Expect(IndexTable::kBlob, UseKey(digest), *record);
  batch.Delete(IndexTable::kBlob, BytesKey(digest)).Delete(IndexTable::kBlob, UseKey(digest));
  const absl::Status status = index_.Apply(batch, Index::Durability::kOrdered);
  if (absl::IsAborted(status)) return false;  // Used meanwhile.
  RETURN_IF_ERROR(status);
  return true;
}

absl::StatusOr<bool> SmallBlobStore::Use(const Digest& digest) {
  if (digest == EmptyBlobDigest()) return true;
  const absl::StatusOr<std::string> record = index_.Get(IndexTable::kBlob, UseKey(digest));
  // A damaged record is as good as none: the next Put() writes it anew.
  if (absl::IsNotFound(record.status()) || absl::IsDataLoss(record.status())) return false;
  RETURN_IF_ERROR(record.status());
  const std::optional<UseRecord> use = DecodeUse(*record);
  if (!use.has_value() || use->size_bytes != digest.size_bytes()) return false;
  const absl::Time now = clock_.Now();
  if (!notes_.IsWanted(now, use->last_use)) return true;
  IndexBatch batch;
  batch.Expect(IndexTable::kBlob, UseKey(digest), *record);
  batch.Put(IndexTable::kBlob, UseKey(digest), EncodeUse({digest.size_bytes(), now}));
  const absl::Status status = index_.Apply(batch, Index::Durability::kOrdered);
  if (!absl::IsAborted(status)) {
    RETURN_IF_ERROR(status);
    return true;
  }
  // Somebody else noted a use, or removed the blob.
  const absl::Status again = index_.Get(IndexTable::kBlob, UseKey(digest)).status();
  if (absl::IsNotFound(again)) return false;
  RETURN_IF_ERROR(again);
  return true;
}

}  // namespace farm
