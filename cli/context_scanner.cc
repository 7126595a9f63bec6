#include "cli/context_scanner.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cli/stat_cache.h"

namespace farm {
namespace {

constexpr size_t kReadBufferBytes = 256 << 10;
// A file that changes each time it is read is being written; after so many tries that is an error.
constexpr int kReadAttemptsMax = 4;
// Files of one directory that one thread hashes before another may help with the rest.
constexpr size_t kFilesPerBatch = 64;

struct DirectoryCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};
using OwnedDir = std::unique_ptr<DIR, DirectoryCloser>;

std::string Join(absl::string_view directory, absl::string_view name) {
  return directory.empty() ? std::string(name) : absl::StrCat(directory, "/", name);
}

// A file whose digest is not known yet.
struct UnhashedFile {
  std::string name;
  TableEntry entry;
  FileIdentity identity;
  bool has_other_names = false;
};

// Work for one thread: read a directory, or hash some files of one.
struct Task {
  std::string path;                     // of the directory
  DockerIgnore::Verdict verdict;        // on it
  std::shared_ptr<OwnedDir> directory;  // set for hashing
  std::vector<UnhashedFile> files;
};

// A file that has other names, in the context or elsewhere.
struct LinkedFile {
  FileIdentity identity;
  size_t entry = 0;  // index
};

// What one thread found.
struct Findings {
  std::vector<TableEntry> entries;
  std::vector<LinkedFile> linked;
  // Excluded directories that were walked: they are in the context if something in them is.
  std::vector<TableEntry> excluded_directories;
  std::vector<StatCache::Entry> settled;
  int64_t files_hashed = 0;
};

class Scanner {
 public:
  Scanner(int root, const ScanOptions& options, const StatCache& cache)
      : root_(root), options_(options), cache_(cache), start_(absl::Now()) {}

  absl::Status Run(int thread_count) {
    Push({.path = "", .verdict = {}, .directory = nullptr, .files = {}});
    findings_.resize(thread_count);
    std::vector<std::thread> threads;
    for (int i = 1; i < thread_count; ++i) {
      threads.emplace_back([this, i] { Work(findings_[i]); });
    }
    Work(findings_[0]);
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(mu_);
    return error_;
  }

  std::vector<Findings>& findings() { return findings_; }

 private:
  // Last in, first out: few directories are open at a time.
  void Push(Task task) {
    {
      MutexLock lock(mu_);
      tasks_.push_back(std::move(task));
      ++unfinished_;
    }
    changed_.notify_one();
  }

  void Work(Findings& findings) {
    buffer_for_thread().resize(kReadBufferBytes);
    while (std::optional<Task> task = Take()) {
      Finish(task->directory == nullptr ? ReadDirectory(*task, findings)
                                        : HashFiles(*task, findings));
    }
  }

  std::optional<Task> Take() {
    MutexLock lock(mu_);
    while (tasks_.empty() && unfinished_ > 0 && error_.ok()) lock.Wait(changed_);
    if (tasks_.empty() || !error_.ok()) return std::nullopt;
    Task task = std::move(tasks_.back());
    tasks_.pop_back();
    return task;
  }

  void Finish(const absl::Status& status) {
    MutexLock lock(mu_);
    if (error_.ok()) error_ = status;
    if (--unfinished_ == 0 || !error_.ok()) changed_.notify_all();
  }

  absl::Status ReadDirectory(const Task& task, Findings& findings) {
    UniqueFd fd(openat(root_, task.path.empty() ? "." : task.path.c_str(),
                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    // Gone, or no directory any more: as if it had been so from the start.
    if (!fd.valid() && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) &&
        !task.path.empty()) {
      return absl::OkStatus();
    }
    if (!fd.valid())
      return ErrnoStatus(errno, absl::StrCat("context: directory '", task.path, "'"));
    auto directory = std::make_shared<OwnedDir>(fdopendir(fd.get()));
    if (*directory == nullptr) return ErrnoStatus(errno, "context: fdopendir");
    fd.Release();
    std::vector<UnhashedFile> unhashed;
    errno = 0;
    while (const dirent* found = readdir(directory->get())) {
      const absl::string_view name = found->d_name;
      if (name != "." && name != "..") {
        RETURN_IF_ERROR(Visit(task, directory, name, findings, unhashed));
      }
      errno = 0;
    }
    if (errno != 0) return ErrnoStatus(errno, absl::StrCat("context: directory '", task.path, "'"));
    if (!unhashed.empty()) PushFiles(task.path, directory, std::move(unhashed));
    return absl::OkStatus();
  }

  absl::Status Visit(const Task& parent, const std::shared_ptr<OwnedDir>& directory,
                     absl::string_view name, Findings& findings,
                     std::vector<UnhashedFile>& unhashed) {
    std::string path = Join(parent.path, name);
    const DockerIgnore::Verdict verdict = options_.ignore.Judge(path, parent.verdict);
    if (verdict.ignored && verdict.skip_beneath) return absl::OkStatus();
    struct stat info;
    if (fstatat(dirfd(directory->get()), name.data(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return absl::OkStatus();
      return ErrnoStatus(errno, absl::StrCat("context: '", path, "'"));
    }
    if (verdict.ignored && !S_ISDIR(info.st_mode)) return absl::OkStatus();
    if (entry_count_.fetch_add(1, std::memory_order_relaxed) >= options_.limits.entries_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the build context has more than ", options_.limits.entries_max,
                       " entries; add what the build does not need to .dockerignore"));
    }
    TableEntry entry;
    entry.path = std::move(path);
    entry.mode = info.st_mode & 07777;
    entry.mtime = absl::TimeFromTimespec(info.st_mtim);
    switch (info.st_mode & S_IFMT) {
      case S_IFDIR:
        entry.type = EntryType::kDirectory;
        if (!verdict.skip_beneath) {
          Push({.path = entry.path, .verdict = verdict, .directory = nullptr, .files = {}});
        }
        (verdict.ignored ? findings.excluded_directories : findings.entries)
            .push_back(std::move(entry));
        return absl::OkStatus();
      case S_IFREG:
        AddFile(std::move(entry), info, name, findings, unhashed);
        if (unhashed.size() >= kFilesPerBatch) {
          PushFiles(parent.path, directory, std::exchange(unhashed, {}));
        }
        return absl::OkStatus();
      case S_IFLNK:
        return AddSymlink(std::move(entry), directory, name, findings);
      case S_IFIFO:
        entry.type = EntryType::kFifo;
        break;
      case S_IFCHR:
      case S_IFBLK:
        entry.type = S_ISCHR(info.st_mode) ? EntryType::kCharDevice : EntryType::kBlockDevice;
        entry.device_major = major(info.st_rdev);
        entry.device_minor = minor(info.st_rdev);
        break;
      default:  // A socket means nothing without its process.
        return absl::OkStatus();
    }
    findings.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  void AddFile(TableEntry entry, const struct stat& info, absl::string_view name,
               Findings& findings, std::vector<UnhashedFile>& unhashed) {
    entry.type = EntryType::kFile;
    const FileIdentity identity = FileIdentity::Of(info);
    const bool has_other_names = info.st_nlink > 1;
    if (const std::optional<Digest> known = cache_.Find(identity)) {
      entry.content = *known;
      findings.settled.push_back({identity, *known});
      KeepFile(std::move(entry), identity, has_other_names, findings);
    } else {
      unhashed.push_back({std::string(name), std::move(entry), identity, has_other_names});
    }
  }

  static void KeepFile(TableEntry entry, const FileIdentity& identity, bool has_other_names,
                       Findings& findings) {
    if (has_other_names) findings.linked.push_back({identity, findings.entries.size()});
    findings.entries.push_back(std::move(entry));
  }

  absl::Status AddSymlink(TableEntry entry, const std::shared_ptr<OwnedDir>& directory,
                          absl::string_view name, Findings& findings) {
    char target[4096];
    const ssize_t length = readlinkat(dirfd(directory->get()), name.data(), target, sizeof(target));
    if (length < 0) {
      // Gone, or replaced by something else meanwhile.
      if (errno == ENOENT || errno == EINVAL) return absl::OkStatus();
      return ErrnoStatus(errno, absl::StrCat("context: symlink '", entry.path, "'"));
    }
    entry.type = EntryType::kSymlink;
    entry.mode = 0777;
    entry.link_target.assign(target, length);
    findings.entries.push_back(std::move(entry));
    return absl::OkStatus();
  }

  void PushFiles(const std::string& path, const std::shared_ptr<OwnedDir>& directory,
                 std::vector<UnhashedFile> files) {
    Push({.path = path, .verdict = {}, .directory = directory, .files = std::move(files)});
  }

  absl::Status HashFiles(Task& task, Findings& findings) {
    for (UnhashedFile& file : task.files) {
      ASSIGN_OR_RETURN(const bool exists, HashFile(dirfd(task.directory->get()), file));
      if (!exists) continue;
      ++findings.files_hashed;
      if (StatCache::IsSettled(file.identity, start_)) {
        findings.settled.push_back({file.identity, file.entry.content});
      }
      KeepFile(std::move(file.entry), file.identity, file.has_other_names, findings);
    }
    return absl::OkStatus();
  }

  // False if the file is gone, or no regular file any more.
  absl::StatusOr<bool> HashFile(int directory, UnhashedFile& file) {
    for (int attempt = 0; attempt < kReadAttemptsMax; ++attempt) {
      // Not blocking: the name may have become a fifo.
      const UniqueFd fd(
          openat(directory, file.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
      if (!fd.valid() && (errno == ENOENT || errno == ELOOP || errno == ENXIO)) return false;
      if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("context: '", file.entry.path, "'"));
      struct stat before, after;
      if (fstat(fd.get(), &before) != 0) return ErrnoStatus(errno, "context: fstat");
      if (!S_ISREG(before.st_mode)) return false;
      ASSIGN_OR_RETURN(file.entry.content, HashBytes(fd.get(), file.entry.path));
      if (fstat(fd.get(), &after) != 0) return ErrnoStatus(errno, "context: fstat");
      file.identity = FileIdentity::Of(after);
      if (file.identity == FileIdentity::Of(before) &&
          file.entry.content.size_bytes() == after.st_size) {
        file.entry.mode = after.st_mode & 07777;
        file.entry.mtime = absl::TimeFromTimespec(after.st_mtim);
        return true;
      }
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "context: '", file.entry.path,
        "' kept changing while it was read; stop what writes it, or add it to .dockerignore"));
  }

  absl::StatusOr<Digest> HashBytes(int fd, const std::string& path) {
    std::string& buffer = buffer_for_thread();
    Sha256 hash;
    while (true) {
      const ssize_t n = read(fd, buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, absl::StrCat("context: '", path, "'"));
      if (n == 0) return hash.Finish();
      hash.Update(absl::string_view(buffer.data(), n));
    }
  }

  static std::string& buffer_for_thread() {
    thread_local std::string buffer;
    return buffer;
  }

  const int root_;
  const ScanOptions& options_;
  const StatCache& cache_;
  const absl::Time start_;
  std::atomic<int64_t> entry_count_ = 0;
  std::vector<Findings> findings_;  // One for each thread.

  Mutex mu_;
  std::condition_variable changed_;
  std::deque<Task> tasks_ FARM_GUARDED_BY(mu_);
  int64_t unfinished_ FARM_GUARDED_BY(mu_) = 0;  // Tasks waiting or under way.
  absl::Status error_ FARM_GUARDED_BY(mu_);
};

// Names of one inode are hard links of the first of them that was found. Two that were read while
// the file changed stay separate.
void LinkNamesOfOneFile(const std::vector<LinkedFile>& linked, std::vector<TableEntry>& entries) {
  absl::flat_hash_map<FileIdentity, size_t> firsts;
  for (const LinkedFile& file : linked) {
    const TableEntry& first = entries[firsts.try_emplace(file.identity, file.entry).first->second];
    TableEntry& entry = entries[file.entry];
    if (&entry != &first && entry.mode == first.mode && entry.content == first.content) {
      entry.hard_link_to = first.path;
    }
  }
}

// Keeps those excluded directories that hold an entry.
void AddNeededParents(std::vector<TableEntry> excluded, std::vector<TableEntry>& entries) {
  if (excluded.empty()) return;
  std::set<std::string> needed;
  for (const TableEntry& entry : entries) {
    for (size_t slash = entry.path.rfind('/'); slash != std::string::npos && slash > 0;
         slash = entry.path.rfind('/', slash - 1)) {
      if (!needed.insert(entry.path.substr(0, slash)).second) break;
    }
  }
  for (TableEntry& directory : excluded) {
    if (needed.count(directory.path) > 0) entries.push_back(std::move(directory));
  }
}

}  // namespace

absl::StatusOr<ScannedContext> ScanContext(const std::string& directory,
                                           const ScanOptions& options) {
  ScannedContext context;
  context.root = UniqueFd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!context.root.valid()) {
    if (errno == ENOTDIR) {
      return absl::FailedPreconditionError(
          absl::StrCat("context must be a directory: ", directory));
    }
    return ErrnoStatus(errno, absl::StrCat("path \"", directory, "\""));
  }
  const StatCache cache =
      options.stat_cache_path.empty() ? StatCache() : StatCache::Load(options.stat_cache_path);
  Scanner scanner(context.root.get(), options, cache);
  const int threads = options.threads > 0
                          ? options.threads
                          : std::max(2u, std::min(8u, std::thread::hardware_concurrency()));
  RETURN_IF_ERROR(scanner.Run(threads));

  std::vector<TableEntry> entries;
  std::vector<TableEntry> excluded;
  std::vector<LinkedFile> linked;
  std::vector<StatCache::Entry> settled;
  for (Findings& found : scanner.findings()) {
    for (const LinkedFile& file : found.linked) {
      linked.push_back({file.identity, entries.size() + file.entry});
    }
    std::move(found.entries.begin(), found.entries.end(), std::back_inserter(entries));
    std::move(found.excluded_directories.begin(), found.excluded_directories.end(),
              std::back_inserter(excluded));
    settled.insert(settled.end(), found.settled.begin(), found.settled.end());
    context.files_hashed += found.files_hashed;
  }
  LinkNamesOfOneFile(linked, entries);
  AddNeededParents(std::move(excluded), entries);
  for (const TableEntry& entry : entries) {
    context.files += entry.type == EntryType::kFile;
    context.files_bytes += entry.size_bytes();
  }
  ASSIGN_OR_RETURN(context.table, Table::FromEntries(std::move(entries), options.limits),
                   _ << "context");
  context.table_bytes = context.table.Encode();
  context.table_digest = DigestOf(context.table_bytes);
  // Hard links give one identity several times, hence ">=".
  if (!options.stat_cache_path.empty() &&
      (context.files_hashed > 0 || settled.size() < cache.size())) {
    // Only the next scan's time is at stake.
    StatCache::Save(options.stat_cache_path, settled).IgnoreError();
  }
  return context;
}

std::string StatCachePath(const std::string& directory, absl::string_view ignore_text) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string base;
  if (cache != nullptr && cache[0] == '/') {
    base = cache;
  } else if (home != nullptr && home[0] == '/') {
    base = absl::StrCat(home, "/.cache");
  } else {
    return "";
  }
  std::unique_ptr<char, decltype(&std::free)> real(realpath(directory.c_str(), nullptr),
                                                   &std::free);
  if (real == nullptr) return "";
  const std::string key = absl::StrCat(real.get(), absl::string_view("\0", 1), ignore_text);
  return absl::StrCat(base, "/farm/contexts/", DigestOf(key).hex().substr(0, 32));
}

}  // namespace farm
