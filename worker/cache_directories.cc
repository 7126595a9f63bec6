#include "worker/cache_directories.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/directory.h"
#include "worker/disk_usage.h"

namespace farm {
namespace {

constexpr char kMarkSuffix[] = ".ok";
constexpr char kMarkVersion[] = "farm-cache 1";
constexpr char kSynced[] = "synced";
constexpr char kNotMeasured[] = "in-use";
constexpr int64_t kMarkBytesMax = 1024;
constexpr size_t kHexDigits = 64;

absl::StatusOr<UniqueFd> OpenDirectory(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  return fd;
}

bool IsName(const std::string& name) {
  return name.size() > kHexDigits + 1 && name[kHexDigits] == '-' &&
         Digest::FromHex(name.substr(0, kHexDigits), 0).ok();
}

}  // namespace

CacheDirectories::Handle& CacheDirectories::Handle::operator=(Handle&& other) noexcept {
  std::swap(owner_, other.owner_);
  std::swap(name_, other.name_);
  std::swap(fd_, other.fd_);
  return *this;
}

CacheDirectories::Handle::~Handle() {
  if (owner_ == nullptr) return;
  fd_.Reset();
  owner_->Release(name_);
}

std::string CacheDirectories::NameOf(const Key& key) {
  std::string text = "farm cache 1";
  for (const std::string* part : {&key.scope, &key.id, &key.start}) {
    absl::StrAppend(&text, " ", part->size(), ":", *part);
  }
  return DigestOf(text).hex();
}

absl::StatusOr<std::unique_ptr<CacheDirectories>> CacheDirectories::Open(Options options,
                                                                         Clock& clock,
                                                                         Trash& trash) {
  if (mkdir(options.dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, options.dir);
  }
  struct statvfs disk;
  if (statvfs(options.dir.c_str(), &disk) != 0) return ErrnoStatus(errno, options.dir);
  if (disk.f_blocks > 0) {  // Some file systems do not say.
    options.bytes_max =
        std::min(options.bytes_max, static_cast<int64_t>(disk.f_blocks * disk.f_frsize / 10));
  }
  auto caches =
      std::unique_ptr<CacheDirectories>(new CacheDirectories(std::move(options), clock, trash));
  RETURN_IF_ERROR(caches->Load());
  caches->measurer_ = std::thread([caches = caches.get()] { caches->MeasureLoop(); });
  return caches;
}

absl::Status CacheDirectories::Load() {
  ASSIGN_OR_RETURN(const UniqueFd dir, OpenDirectory(options_.dir));
  ASSIGN_OR_RETURN(const std::vector<DirectoryItem> items, ListDirectory(dir.get()));
  std::set<std::string> present;
  for (const DirectoryItem& item : items) present.insert(item.name);
  MutexLock lock(mu_);
  for (const std::string& name : present) {
    if (absl::EndsWith(name, kMarkSuffix)) {
      if (!present.contains(name.substr(0, name.size() - (sizeof(kMarkSuffix) - 1)))) {
        unlink(Path(name).c_str());
      }
      continue;
    }
    if (const absl::Status loaded = LoadOne(name); !loaded.ok()) {
      LogInfo("cache of steps dropped", {{"cache", name}, {"reason", LogText(loaded)}});
      unlink((Path(name) + kMarkSuffix).c_str());
      trash_.Throw(Path(name)).IgnoreError();  // It logs.
    }
  }
  Evict();
  return absl::OkStatus();
}

absl::Status CacheDirectories::LoadOne(const std::string& name) {
  if (!IsName(name)) return absl::DataLossError("not the name of a cache");
  const std::string mark_path = Path(name) + kMarkSuffix;
  ASSIGN_OR_RETURN(const std::string mark, ReadFile(mark_path, kMarkBytesMax));
  const std::vector<std::string> lines = absl::StrSplit(mark, '\n');
  Entry entry;
  if (lines.size() != 4 || lines[0] != kMarkVersion) {
    return absl::DataLossError("not a mark of this version");
  }
  entry.measured = lines[2] != kNotMeasured;
  if (entry.measured && (!absl::SimpleAtoi(lines[2], &entry.size_bytes) || entry.size_bytes < 0)) {
    return absl::DataLossError("not a mark of this version");
  }
  if (lines[1] != kSynced && lines[1] != options_.boot_id) {
    return absl::DataLossError("written before the host was started, and not synced");
  }
  struct stat info;
  if (stat(mark_path.c_str(), &info) != 0) return ErrnoStatus(errno, mark_path);
  entry.last_use = absl::TimeFromTimespec(info.st_mtim);
  size_bytes_ += entry.size_bytes;
  if (!entry.measured) unmeasured_.insert(name);
  entries_[name] = entry;
  return absl::OkStatus();
}

CacheDirectories::~CacheDirectories() {
  stop_.Cancel();
  {
    MutexLock lock(mu_);
    changed_.notify_all();
  }
  if (measurer_.joinable()) measurer_.join();
  MutexLock lock(mu_);
  const absl::StatusOr<UniqueFd> dir = OpenDirectory(options_.dir);
  if (entries_.empty()) return;
  if (!dir.ok() || syncfs(dir->get()) != 0) {
    LogWarning("caches of steps not synced", {{"error", LogText(ErrnoStatus(errno, "syncfs"))}});
    return;
  }
  for (const auto& [name, entry] : entries_) {
    FARM_CHECK_EQ(entry.users, 0) << "a step still has a cache";
    WriteMark(name, entry, kSynced);
  }
}

absl::StatusOr<CacheDirectories::Handle> CacheDirectories::Acquire(
    const Key& key, Sharing sharing, CancelToken& cancel, const std::function<void()>& on_wait,
    const Fill& fill) {
  const std::string hex = NameOf(key);
  // Wakes the wait below. Made before the lock is taken: it takes the lock itself.
  const CancelToken::Callback wake(cancel, [this] {
    MutexLock lock(mu_);
    changed_.notify_all();
  });
  std::optional<Claim> claim;
  for (bool told = false; !claim.has_value();) {
    {
      MutexLock lock(mu_);
      claim = Take(hex, sharing);
      if (claim.has_value()) break;
      if (told) {
        if (cancel.cancelled()) return absl::CancelledError("while another step had a cache");
        lock.Wait(changed_);
        continue;
      }
    }
    on_wait();
    told = true;
  }
  if (claim->is_new) {
    LogInfo("cache of steps made", {{"cache", claim->name}, {"id", key.id}});
    if (absl::Status made = Make(claim->name, fill); !made.ok()) {
      Abandon(claim->name);
      return made;
    }
  }
  Handle handle(this, claim->name);
  ASSIGN_OR_RETURN(handle.fd_, OpenDirectory(Path(claim->name)));
  return handle;
}

std::optional<CacheDirectories::Claim> CacheDirectories::Take(const std::string& hex,
                                                              Sharing sharing) {
  const std::string prefix = hex + "-";
  bool is_known = false;
  auto unused = entries_.end();
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && absl::StartsWith(it->first, prefix); ++it) {
    is_known = true;
    Entry& entry = it->second;
    if (entry.users == 0) {
      if (unused == entries_.end() || unused->second.last_use < entry.last_use) unused = it;
    } else if (sharing == Sharing::kShared && !entry.exclusive) {
      if (!entry.ready) return std::nullopt;
      ++entry.users;
      return Claim{.name = it->first};
    }
  }
  if (unused != entries_.end()) {
    Entry& entry = unused->second;
    entry.users = 1;
    entry.exclusive = sharing != Sharing::kShared;
    entry.measured = false;
    entry.last_use = clock_.Now();
    unmeasured_.erase(unused->first);
    WriteMark(unused->first, entry, options_.boot_id);
    return Claim{.name = unused->first};
  }
  if (is_known && sharing == Sharing::kLocked) return std::nullopt;
  return TakeNew(hex, sharing);
}

CacheDirectories::Claim CacheDirectories::TakeNew(const std::string& hex, Sharing sharing) {
  std::string name;
  for (int number = 0; name.empty() || entries_.contains(name); ++number) {
    name = absl::StrCat(hex, "-", number);
  }
  entries_[name] = {.users = 1,
                    .exclusive = sharing != Sharing::kShared,
                    .ready = false,
                    .last_use = clock_.Now()};
  return {.name = name, .is_new = true};
}

absl::Status CacheDirectories::Make(const std::string& name, const Fill& fill) {
  const std::string path = Path(name);
  if (mkdir(path.c_str(), 0700) != 0) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const UniqueFd dir, OpenDirectory(path));
  RETURN_IF_ERROR(fill(dir.get())) << "a new cache";
  MutexLock lock(mu_);
  Entry& entry = entries_.at(name);
  entry.ready = true;
  WriteMark(name, entry, options_.boot_id);
  changed_.notify_all();
  return absl::OkStatus();
}

void CacheDirectories::Abandon(const std::string& name) {
  MutexLock lock(mu_);
  Drop(name);
  changed_.notify_all();
}

void CacheDirectories::Release(const std::string& name) {
  MutexLock lock(mu_);
  Entry& entry = entries_.at(name);
  --entry.users;
  FARM_CHECK_GE(entry.users, 0);
  entry.last_use = clock_.Now();
  if (entry.users == 0) unmeasured_.insert(name);
  changed_.notify_all();
}

void CacheDirectories::MeasureLoop() {
  while (true) {
    std::string name;
    {
      MutexLock lock(mu_);
      measuring_ = false;
      changed_.notify_all();
      while (!stop_.cancelled() && unmeasured_.empty()) lock.Wait(changed_);
      if (stop_.cancelled()) return;
      name = *unmeasured_.begin();
      unmeasured_.erase(unmeasured_.begin());
      measuring_ = true;
    }
    const absl::StatusOr<UniqueFd> dir = OpenDirectory(Path(name));
    const absl::StatusOr<int64_t> bytes =
        dir.ok() ? DiskUsage(dir->get(), stop_) : absl::StatusOr<int64_t>(dir.status());
    MutexLock lock(mu_);
    TakeMeasure(name, bytes);
    Evict();
  }
}

void CacheDirectories::TakeMeasure(const std::string& name, const absl::StatusOr<int64_t>& bytes) {
  const auto it = entries_.find(name);
  if (it == entries_.end()) return;
  Entry& entry = it->second;
  // A step has it, or had it meanwhile: then it is measured again.
  if (entry.users > 0 || unmeasured_.contains(name)) return;
  if (bytes.ok()) {
    size_bytes_ += *bytes - entry.size_bytes;
    entry.size_bytes = *bytes;
    entry.measured = true;
    return WriteMark(name, entry, options_.boot_id);
  }
  if (absl::IsCancelled(bytes.status())) return;
  // What cannot be measured cannot be bounded.
  LogWarning("cache of steps dropped", {{"cache", name}, {"reason", LogText(bytes.status())}});
  Drop(name);
}

void CacheDirectories::Evict() {
  if (size_bytes_ <= options_.bytes_max && entries_.size() <= kCacheDirectoriesMax) return;
  std::vector<std::pair<absl::Time, std::string>> unused;
  for (const auto& [name, entry] : entries_) {
    if (entry.users == 0) unused.emplace_back(entry.last_use, name);
  }
  std::sort(unused.begin(), unused.end());
  for (const auto& [last_use, name] : unused) {
    if (size_bytes_ <= options_.bytes_max && entries_.size() <= kCacheDirectoriesMax) return;
    LogInfo("cache of steps evicted", {{"cache", name}});
    Drop(name);
  }
}

void CacheDirectories::Drop(const std::string& name) {
  size_bytes_ -= entries_.at(name).size_bytes;
  entries_.erase(name);
  unmeasured_.erase(name);
  // Mark before directory: a mark must not stand for one that is not complete.
  unlink((Path(name) + kMarkSuffix).c_str());
  trash_.Throw(Path(name)).IgnoreError();  // It logs.
}

void CacheDirectories::WriteMark(const std::string& name, const Entry& entry,
                                 const std::string& state) {
  const std::string path = Path(name) + kMarkSuffix;
  absl::Status status = WriteFileAtomically(
      path,
      absl::StrCat(kMarkVersion, "\n", state, "\n",
                   entry.measured ? absl::StrCat(entry.size_bytes) : kNotMeasured, "\n"),
      0600);
  // Its time is the last use, so that the order of eviction outlives this process.
  const timespec use = absl::ToTimespec(entry.last_use);
  const timespec times[2] = {use, use};
  if (status.ok() && utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) {
    status = ErrnoStatus(errno, path);
  }
  if (status.ok()) return;
  // Without it the cache serves this process alone.
  LogWarning("mark of a cache not written", {{"cache", name}, {"error", LogText(status)}});
}

void CacheDirectories::WaitUntilMeasured() {
  MutexLock lock(mu_);
  while (measuring_ || !unmeasured_.empty()) lock.Wait(changed_);
}

int64_t CacheDirectories::size_bytes() const {
  MutexLock lock(mu_);
  return size_bytes_;
}

}  // namespace farm
