#include "worker/layer_cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr char kMarkSuffix[] = ".ok";
constexpr char kTemporaryPrefix[] = "tmp-";
constexpr char kMarkVersion[] = "farm-layer 1";
constexpr char kSynced[] = "synced";
constexpr int64_t kMarkBytesMax = 1024;
constexpr int64_t kBlockBytes = 4096;
constexpr size_t kHexDigits = 64;
// So many digits of a chainID are in a directory's name.
constexpr size_t kChainDigits = 32;

std::string UnboundName(const LayerCache::Key& key) { return key.diff_id.hex(); }
std::string BoundName(const LayerCache::Key& key) {
  return absl::StrCat(key.diff_id.hex(), "-", key.below.hex().substr(0, kChainDigits));
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  DIR* dir = opendir(path.c_str());
  if (dir == nullptr) return ErrnoStatus(errno, path);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir)) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  closedir(dir);
  return names;
}

}  // namespace

int64_t UnpackedBytes(absl::Span<const TableEntry> entries) {
  int64_t bytes = 0;
  for (const TableEntry& entry : entries) {
    const int64_t data = entry.hard_link_to.empty() ? entry.size_bytes() : 0;
    bytes += kBlockBytes / 4 + (data + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    if (entry.type == EntryType::kDirectory) bytes += kBlockBytes;
  }
  return bytes;
}

LayerCache::Handle& LayerCache::Handle::operator=(Handle&& other) noexcept {
  std::swap(cache_, other.cache_);
  std::swap(name_, other.name_);
  std::swap(path_, other.path_);
  return *this;
}

LayerCache::Handle::~Handle() {
  if (cache_ != nullptr) cache_->Release(name_);
}

absl::StatusOr<std::unique_ptr<LayerCache>> LayerCache::Open(Options options, Clock& clock,
                                                             Trash& trash) {
  if (mkdir(options.dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, options.dir);
  }
  struct statvfs disk;
  if (statvfs(options.dir.c_str(), &disk) != 0) return ErrnoStatus(errno, options.dir);
  if (disk.f_blocks > 0) {  // Some file systems do not say.
    options.bytes_max =
        std::min(options.bytes_max, static_cast<int64_t>(disk.f_blocks * disk.f_frsize / 5 * 4));
  }
  auto cache = std::unique_ptr<LayerCache>(new LayerCache(std::move(options), clock, trash));
  RETURN_IF_ERROR(cache->Load());
  return cache;
}

absl::Status LayerCache::Load() {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(options_.dir));
  const std::set<std::string> present(names.begin(), names.end());
  int kept = 0;
  int dropped = 0;
  for (const std::string& name : names) {
    if (absl::EndsWith(name, kMarkSuffix)) {
      const std::string layer = name.substr(0, name.size() - (sizeof(kMarkSuffix) - 1));
      if (!present.contains(layer)) unlink(absl::StrCat(options_.dir, "/", name).c_str());
      continue;
    }
    if (const absl::Status loaded = LoadOne(name); loaded.ok()) {
      ++kept;
    } else {
      LogDebug("layer dropped", {{"layer", name}, {"reason", LogText(loaded)}});
      Throw(name);
      ++dropped;
    }
  }
  LogInfo("layers found", {{"kept", absl::StrCat(kept)},
                           {"dropped", absl::StrCat(dropped)},
                           {"bytes", absl::StrCat(size_bytes())}});
  MutexLock lock(mu_);
  Evict(options_.bytes_max);
  return absl::OkStatus();
}

absl::Status LayerCache::LoadOne(const std::string& name) {
  const std::string mark_path = absl::StrCat(options_.dir, "/", name, kMarkSuffix);
  ASSIGN_OR_RETURN(const std::string mark, ReadFile(mark_path, kMarkBytesMax));
  const std::vector<std::string> lines = absl::StrSplit(mark, '\n');
  Entry entry;
  if (lines.size() != 4 || lines[0] != kMarkVersion ||
      !absl::SimpleAtoi(lines[2], &entry.size_bytes) || entry.size_bytes < 0) {
    return absl::DataLossError("not a mark of this version");
  }
  if (lines[1] != kSynced && lines[1] != options_.boot_id) {
    return absl::DataLossError("written before the host was started, and not synced");
  }
  entry.diff_id_hex = name.substr(0, kHexDigits);
  RETURN_IF_ERROR(Digest::FromHex(entry.diff_id_hex, 0).status());
  struct stat info;
  if (stat(mark_path.c_str(), &info) != 0) return ErrnoStatus(errno, mark_path);
  entry.last_use = absl::TimeFromTimespec(info.st_mtim);
  MutexLock lock(mu_);
  size_bytes_ += entry.size_bytes;
  entries_[name] = std::move(entry);
  return absl::OkStatus();
}

LayerCache::~LayerCache() {
  MutexLock lock(mu_);
  FARM_CHECK(being_made_.empty()) << "a layer is still being made";
  UniqueFd dir(open(options_.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid() || syncfs(dir.get()) != 0) {
    LogWarning("layers not synced", {{"error", ErrnoStatus(errno, options_.dir).ToString()}});
    return;
  }
  for (const auto& [name, entry] : entries_) {
    if (const absl::Status status = WriteMark(name, entry, kSynced); !status.ok()) {
      LogWarning("mark of a layer not written", {{"layer", name}, {"error", LogText(status)}});
    }
  }
}

absl::Status LayerCache::WriteMark(const std::string& name, const Entry& entry,
                                   absl::string_view state) {
  const std::string path = absl::StrCat(options_.dir, "/", name, kMarkSuffix);
  RETURN_IF_ERROR(WriteFileAtomically(
      path, absl::StrCat(kMarkVersion, "\n", state, "\n", entry.size_bytes, "\n"), 0600));
  // Its time is the layer's last use, so that the order of eviction outlives this process.
  const timespec use = absl::ToTimespec(entry.last_use);
  const timespec times[2] = {use, use};
  if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::StatusOr<LayerCache::Handle> LayerCache::Acquire(const Key& key, CancelToken& cancel,
                                                       const Maker& make) {
  const std::string hex = key.diff_id.hex();
  std::string temporary;
  {
    // Wakes the wait below. Made before the lock is taken: it takes the lock itself.
    const CancelToken::Callback wake(cancel, [this] {
      MutexLock lock(mu_);
      changed_.notify_all();
    });
    MutexLock lock(mu_);
    while (true) {
      for (const std::string& name : {UnboundName(key), BoundName(key)}) {
        if (entries_.contains(name)) return Use(name);
      }
      if (!being_made_.contains(hex)) break;
      if (cancel.cancelled()) return absl::CancelledError("while another step fetched a layer");
      lock.Wait(changed_);
    }
    being_made_.insert(hex);
    temporary = absl::StrCat(options_.dir, "/", kTemporaryPrefix, ++next_temporary_);
  }

  absl::StatusOr<Made> made = make(temporary);
  if (absl::IsResourceExhausted(made.status()) && MakeRoom(temporary)) made = make(temporary);
  std::string name;
  Entry entry;
  absl::Status status = made.status();
  if (made.ok()) {
    name = made->bound ? BoundName(key) : UnboundName(key);
    entry = {.diff_id_hex = hex, .size_bytes = made->size_bytes, .last_use = clock_.Now()};
    const std::string path = absl::StrCat(options_.dir, "/", name);
    if (rename(temporary.c_str(), path.c_str()) != 0) {
      status = ErrnoStatus(errno, path);
    } else if (const absl::Status marked = WriteMark(name, entry, options_.boot_id); !marked.ok()) {
      // After the directory, since a mark must not stand for one that is not complete. Without it
      // the layer serves this process alone.
      LogWarning("mark of a layer not written", {{"layer", name}, {"error", LogText(marked)}});
    }
  }
  if (!status.ok()) trash_.Throw(temporary).IgnoreError();  // It logs.

  MutexLock lock(mu_);
  being_made_.erase(hex);
  changed_.notify_all();
  RETURN_IF_ERROR(status) << "layer sha256:" << hex;
  size_bytes_ += entry.size_bytes;
  entries_[name] = std::move(entry);
  Handle handle = Use(name);
  Evict(options_.bytes_max);
  return handle;
}

LayerCache::Handle LayerCache::Use(const std::string& name) {
  Entry& entry = entries_.at(name);
  ++entry.users;
  entry.last_use = clock_.Now();
  return Handle(this, name, absl::StrCat(options_.dir, "/", name));
}

void LayerCache::Release(const std::string& name) {
  MutexLock lock(mu_);
  Entry& entry = entries_.at(name);
  --entry.users;
  FARM_CHECK_GE(entry.users, 0);
  entry.last_use = clock_.Now();
  Evict(options_.bytes_max);
}

bool LayerCache::MakeRoom(const std::string& half_made) {
  struct statvfs disk;
  if (statvfs(options_.dir.c_str(), &disk) != 0) return false;
  const bool has_inodes = disk.f_files == 0 || disk.f_favail > 0;
  if (has_inodes &&
      static_cast<int64_t>(disk.f_bavail * disk.f_frsize) >= options_.disk_free_bytes_min) {
    return false;
  }
  {
    MutexLock lock(mu_);
    if (!Evict(0)) return false;
  }
  LogWarning("disk full: unused layers evicted", {{"directory", options_.dir}});
  trash_.Throw(half_made).IgnoreError();  // It logs.
  trash_.WaitUntilEmpty();
  return true;
}

bool LayerCache::Evict(int64_t bytes_max) {
  if (size_bytes_ <= bytes_max) return false;
  std::vector<std::pair<absl::Time, std::string>> unused;
  for (const auto& [name, entry] : entries_) {
    if (entry.users == 0) unused.emplace_back(entry.last_use, name);
  }
  std::sort(unused.begin(), unused.end());
  for (const auto& [last_use, name] : unused) {
    if (size_bytes_ <= bytes_max) break;
    size_bytes_ -= entries_.at(name).size_bytes;
    entries_.erase(name);
    Throw(name);
  }
  return !unused.empty();
}

void LayerCache::Throw(const std::string& name) {
  const std::string path = absl::StrCat(options_.dir, "/", name);
  // Mark before directory, for the same reason as above.
  unlink((path + kMarkSuffix).c_str());
  trash_.Throw(path).IgnoreError();  // It logs.
}

bool LayerCache::HasDiffId(const std::string& hex) const {
  const auto it = entries_.lower_bound(hex);
  return it != entries_.end() && absl::StartsWith(it->first, hex);
}

LayerCache::Changes LayerCache::TakeChanges() {
  MutexLock lock(mu_);
  Changes changes;
  for (auto it = reported_.begin(); it != reported_.end();) {
    if (HasDiffId(*it)) {
      ++it;
    } else {
      changes.removed.push_back(*it);
      it = reported_.erase(it);
    }
  }
  for (const auto& [name, entry] : entries_) {
    if (reported_.insert(entry.diff_id_hex).second) changes.added.push_back(entry.diff_id_hex);
  }
  return changes;
}

std::vector<std::string> LayerCache::TakeAll() {
  MutexLock lock(mu_);
  reported_.clear();
  for (const auto& [name, entry] : entries_) reported_.insert(entry.diff_id_hex);
  return {reported_.begin(), reported_.end()};
}

int64_t LayerCache::size_bytes() const {
  MutexLock lock(mu_);
  return size_bytes_;
}

}  // namespace farm
