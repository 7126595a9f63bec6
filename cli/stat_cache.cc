#include "cli/stat_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kMagic = "farmstat";
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 8 + 4 + 8;
constexpr size_t kRecordBytes = 5 * 8 + 32;
constexpr size_t kHashBytes = 32;

int64_t Nanoseconds(const timespec& time) {
  // Wraps for times that no file has; the comparison for equality still holds.
  return static_cast<int64_t>(static_cast<uint64_t>(time.tv_sec) * 1'000'000'000u +
                              static_cast<uint64_t>(time.tv_nsec));
}

template <typename T>
void AppendLittleEndian(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(value >> (8 * i));
}

template <typename T>
T ReadLittleEndian(const char* bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

// Removes what is longest unused. Errors don't matter: another client may be doing the same.
void RemoveOldest(const fs::path& folder, size_t keep) {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code time_error;
    const fs::file_time_type time = it->last_write_time(time_error);
    if (!time_error) files.emplace_back(time, it->path());
  }
  if (files.size() <= keep) return;
  std::sort(files.begin(), files.end());
  for (size_t i = 0; i < files.size() - keep; ++i) fs::remove(files[i].second, error);
}

}  // namespace

FileIdentity FileIdentity::Of(const struct stat& info) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size_bytes = info.st_size,
          .mtime_ns = Nanoseconds(info.st_mtim),
          .ctime_ns = Nanoseconds(info.st_ctim)};
}

StatCache StatCache::Load(const std::string& path) {
  StatCache cache;
  const auto bytes = ReadFile(path, kHeaderBytes + kEntriesMax * kRecordBytes + kHashBytes);
  if (!bytes.ok() || bytes->size() < kHeaderBytes + kHashBytes) return cache;
  const absl::string_view body(bytes->data(), bytes->size() - kHashBytes);
  const uint64_t count = ReadLittleEndian<uint64_t>(body.data() + 12);
  if (body.substr(0, 8) != kMagic || ReadLittleEndian<uint32_t>(body.data() + 8) != kVersion ||
      count > kEntriesMax || body.size() != kHeaderBytes + count * kRecordBytes ||
      DigestOf(body).raw() != absl::string_view(*bytes).substr(body.size())) {
    return cache;
  }
  cache.digests_.reserve(count);
  for (const char* at = body.data() + kHeaderBytes; at < body.data() + body.size();
       at += kRecordBytes) {
    const FileIdentity identity = {.device = ReadLittleEndian<uint64_t>(at),
                                   .inode = ReadLittleEndian<uint64_t>(at + 8),
                                   .size_bytes = ReadLittleEndian<int64_t>(at + 16),
                                   .mtime_ns = ReadLittleEndian<int64_t>(at + 24),
                                   .ctime_ns = ReadLittleEndian<int64_t>(at + 32)};
    Digest::Hash hash;
    std::memcpy(hash.data(), at + 40, hash.size());
    cache.digests_.emplace(identity, Digest(hash, identity.size_bytes));
  }
  return cache;
}

std::optional<Digest> StatCache::Find(const FileIdentity& identity) const {
  const auto found = digests_.find(identity);
  if (found == digests_.end()) return std::nullopt;
  return found->second;
}

bool StatCache::IsSettled(const FileIdentity& identity, absl::Time scan_start) {
  const int64_t newest = std::max(identity.mtime_ns, identity.ctime_ns);
  return absl::FromUnixNanos(newest) + kSettled < scan_start;
}

absl::Status StatCache::Save(const std::string& path, const std::vector<Entry>& entries) {
  const size_t count = std::min(entries.size(), kEntriesMax);
  std::string bytes(kMagic);
  bytes.reserve(kHeaderBytes + count * kRecordBytes + kHashBytes);
  AppendLittleEndian(bytes, kVersion);
  AppendLittleEndian<uint64_t>(bytes, count);
  for (size_t i = 0; i < count; ++i) {
    const FileIdentity& identity = entries[i].identity;
    AppendLittleEndian(bytes, identity.device);
    AppendLittleEndian(bytes, identity.inode);
    AppendLittleEndian<uint64_t>(bytes, identity.size_bytes);
    AppendLittleEndian<uint64_t>(bytes, identity.mtime_ns);
    AppendLittleEndian<uint64_t>(bytes, identity.ctime_ns);
    bytes.append(entries[i].digest.raw().data(), kHashBytes);
  }
  const Digest digest = DigestOf(bytes);
  bytes.append(digest.raw().data(), kHashBytes);
  const fs::path folder = fs::path(path).parent_path();
  std::error_code error;
  fs::create_directories(folder, error);  // The write below says what is wrong.
  RETURN_IF_ERROR(WriteFileAtomically(path, bytes, 0600));
  RemoveOldest(folder, kContextsMax);
  return absl::OkStatus();
}

}  // namespace farm
