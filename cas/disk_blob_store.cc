#include "cas/disk_blob_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;
// From so many blobs on, one syncfs() is cheaper than a journal commit for each directory.
constexpr size_t kSyncFilesMax = 64;
// Attempts to make a temporary directory, each lost to a process that cleans up at that moment.
constexpr int kTemporaryDirAttemptsMax = 10;

// Room to read a blob through. One for each call, not each thread: a sink may itself use a store.
class Buffer {
 public:
  explicit Buffer(int64_t blob_bytes)
      : size_(static_cast<size_t>(std::clamp<int64_t>(blob_bytes + 1, 1, kBufferBytes))),
        bytes_(new char[size_]) {}

  char* get() const { return bytes_.get(); }
  size_t size() const { return size_; }

 private:
  const size_t size_;
  const std::unique_ptr<char[]> bytes_;
};

// Gives a file that this process made as root to the owner of DIR, so that a program of that user
// can go on with it.
absl::Status GiveTo(const DiskBlobStore::Owner& owner, int fd) {
  if (geteuid() != 0 || owner.uid == 0) return absl::OkStatus();
  if (fchown(fd, owner.uid, owner.gid) != 0) return ErrnoStatus(errno, "give a file to its owner");
  return absl::OkStatus();
}

absl::Status MakeDir(const std::string& path, const DiskBlobStore::Owner& owner) {
  if (mkdir(path.c_str(), 0700) != 0) {
    return errno == EEXIST ? absl::OkStatus() : ErrnoStatus(errno, path);
  }
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  return GiveTo(owner, fd.get());
}

// Calls `visit` with the names in a directory, in no order, until it returns false.
absl::Status ForEachName(const std::string& path, const std::function<bool(const char*)>& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(path.c_str()), closedir);
  if (dir == nullptr) return ErrnoStatus(errno, path);
  while (const dirent* entry = readdir(dir.get())) {
    if (entry->d_name[0] == '.') continue;
    if (!visit(entry->d_name)) break;
  }
  return absl::OkStatus();
}

// Removes a directory of files. What can't be removed stays for the next one to try.
void RemoveFlatDir(const std::string& path) {
  ForEachName(path, [&](const char* name) {
    unlink(absl::StrCat(path, "/", name).c_str());
    return true;
  }).IgnoreError();  // It may be gone already.
  rmdir(path.c_str());
}

// Removes temporary directories whose store is gone, which is where nobody holds the lock.
void RemoveStaleDirs(const std::string& parent) {
  ForEachName(parent, [&](const char* name) {
    const std::string path = absl::StrCat(parent, "/", name);
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd.valid() && flock(fd.get(), LOCK_EX | LOCK_NB) == 0) RemoveFlatDir(path);
    return true;
  }).IgnoreError();  // Tidying is not worth failing for.
}

struct LockedDir {
  std::string path;
  UniqueFd lock;
};

// A new directory below `parent`, locked. Another process may take it for stale and remove it
// before the lock is held; then the next one is tried.
absl::StatusOr<LockedDir> MakeLockedDir(const std::string& parent,
                                        const DiskBlobStore::Owner& owner) {
  for (int attempt = 0; attempt < kTemporaryDirAttemptsMax; ++attempt) {
    std::string path = absl::StrCat(parent, "/XXXXXX");
    if (mkdtemp(path.data()) == nullptr) return ErrnoStatus(errno, path);
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid() && errno != ENOENT) return ErrnoStatus(errno, path);
    struct stat info;
    if (fd.valid() && flock(fd.get(), LOCK_EX | LOCK_NB) == 0 && fstat(fd.get(), &info) == 0 &&
        info.st_nlink > 0) {
      RETURN_IF_ERROR(GiveTo(owner, fd.get()));
      return LockedDir{std::move(path), std::move(fd)};
    }
  }
  return absl::AbortedError(absl::StrCat(parent, ": no directory could be locked"));
}

// Removes a temporary file that did not become a blob.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path)
      : path_(std::move(path)),
        fd_(open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444)) {
    if (!fd_.valid()) error_ = errno;
  }
  ~TemporaryFile() {
    if (fd_.valid() && !moved_) unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  absl::Status status() const {
    return fd_.valid() ? absl::OkStatus() : ErrnoStatus(error_, path_);
  }
  void set_moved() { moved_ = true; }

 private:
  const std::string path_;
  const UniqueFd fd_;
  int error_ = 0;
  bool moved_ = false;
};

// What the rest of an open file hashes to. At most `bytes_max` bytes are read, and one more.
absl::StatusOr<Digest> HashFile(int fd, int64_t bytes_max) {
  const Buffer buffer(bytes_max);
  FdSource source(fd);
  Sha256 sha256;
  int64_t total = 0;
  while (total <= bytes_max) {
    ASSIGN_OR_RETURN(const size_t count, source.Read(buffer.get(), buffer.size()));
    if (count == 0) break;
    sha256.Update({buffer.get(), count});
    total += static_cast<int64_t>(count);
  }
  return sha256.Finish();
}

// Copies `source` to `fd`, no more than the digest says, and checks it.
absl::Status WriteBlob(const Digest& digest, ByteSource& source, int fd) {
  const Buffer buffer(digest.size_bytes());
  FdSink sink(fd);
  Sha256 sha256;
  int64_t total = 0;
  while (true) {
    ASSIGN_OR_RETURN(const size_t count, source.Read(buffer.get(), buffer.size()));
    if (count == 0) break;
    total += static_cast<int64_t>(count);
    if (total > digest.size_bytes()) {
      return absl::InvalidArgumentError(absl::StrCat("blob ", digest.oci(), " has more than its ",
                                                     digest.size_bytes(), " bytes"));
    }
    sha256.Update({buffer.get(), count});
    RETURN_IF_ERROR(sink.Write({buffer.get(), count})) << "blob " << digest.oci();
  }
  return CheckBlobDigest(digest, sha256.Finish());
}

absl::Status SetLastUse(int fd, absl::Time now) {
  const timespec time = absl::ToTimespec(now);
  const timespec times[2] = {time, time};
  if (futimens(fd, times) != 0) return ErrnoStatus(errno, "set the time of a blob's file");
  return absl::OkStatus();
}

absl::Status SyncDir(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DiskBlobStore>> DiskBlobStore::Open(Clock& clock, Options options) {
  Owner owner;
  const auto open = [&]() -> absl::StatusOr<LockedDir> {
    RETURN_IF_ERROR(MakeDir(options.dir, owner));
    struct stat info;
    if (stat(options.dir.c_str(), &info) != 0) return ErrnoStatus(errno, options.dir);
    owner = {info.st_uid, info.st_gid};
    for (const char* name : {"/blobs", "/blobs/sha256", "/tmp", "/quarantine"}) {
      RETURN_IF_ERROR(MakeDir(options.dir + name, owner));
    }
    RemoveStaleDirs(options.dir + "/tmp");
    return MakeLockedDir(options.dir + "/tmp", owner);
  };
  absl::StatusOr<LockedDir> temporary = open();
  if (!temporary.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("blob directory can't be used: ", temporary.status().message()));
  }
  return std::unique_ptr<DiskBlobStore>(new DiskBlobStore(
      clock, std::move(options), owner, std::move(temporary->path), std::move(temporary->lock)));
}

DiskBlobStore::DiskBlobStore(Clock& clock, Options options, Owner owner, std::string temporary_dir,
                             UniqueFd temporary_lock)
    : clock_(clock),
      options_(std::move(options)),
      owner_(owner),
      temporary_dir_(std::move(temporary_dir)),
      temporary_lock_(std::move(temporary_lock)) {}

DiskBlobStore::~DiskBlobStore() { RemoveFlatDir(temporary_dir_); }

absl::Status DiskBlobStore::Put(const Digest& digest, ByteSource& source) {
  if (digest == EmptyBlobDigest() || Use(digest)) return absl::OkStatus();
  RETURN_IF_ERROR(CheckBlobSize(digest, options_.blob_bytes_max));
  static std::atomic<uint64_t> serial = 0;
  TemporaryFile file(absl::StrCat(temporary_dir_, "/put-", serial++));
  RETURN_IF_ERROR(file.status());
  RETURN_IF_ERROR(WriteBlob(digest, source, file.fd()));
  RETURN_IF_ERROR(GiveTo(owner_, file.fd()));
  RETURN_IF_ERROR(SetLastUse(file.fd(), clock_.Now()));
  if (const int error = Rename(file.path(), digest); error != 0) {
    return ErrnoStatus(error, BlobPath(digest));
  }
  file.set_moved();
  return absl::OkStatus();
}

absl::Status DiskBlobStore::PutFile(const Digest& digest, const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no regular file"));
  }
  if (info.st_size != digest.size_bytes()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", info.st_size, " bytes, but blob ",
                                                   digest.oci(), " has ", digest.size_bytes()));
  }
  if (digest == EmptyBlobDigest() || Use(digest)) {
    if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckBlobSize(digest, options_.blob_bytes_max));
  if (!options_.trust_files) {
    ASSIGN_OR_RETURN(const Digest actual, HashFile(fd.get(), digest.size_bytes()), _ << path);
    RETURN_IF_ERROR(CheckBlobDigest(digest, actual)) << path;
  }
  if (fchmod(fd.get(), 0444) != 0) return ErrnoStatus(errno, path);
  RETURN_IF_ERROR(GiveTo(owner_, fd.get())) << path;
  RETURN_IF_ERROR(SetLastUse(fd.get(), clock_.Now())) << path;
  const int error = Rename(path, digest);
  if (error == 0) return absl::OkStatus();
  if (error != EXDEV) return ErrnoStatus(error, path);
  if (lseek(fd.get(), 0, SEEK_SET) != 0) return ErrnoStatus(errno, path);
  FdSource source(fd.get());
  RETURN_IF_ERROR(Put(digest, source)) << path;
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status DiskBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  if (digest == EmptyBlobDigest()) return CheckBlobOffset(digest, offset);
  absl::StatusOr<UniqueFd> fd = OpenBlob(digest);
  if (absl::IsDataLoss(fd.status())) return Quarantine(digest, fd.status().message());
  RETURN_IF_ERROR(fd.status());
  RETURN_IF_ERROR(CheckBlobOffset(digest, offset));
  if (lseek(fd->get(), offset, SEEK_SET) < 0) return ErrnoStatus(errno, BlobPath(digest));
  FdSource source(fd->get());
  const Buffer buffer(digest.size_bytes() - offset);
  Sha256 sha256;
  for (int64_t left = digest.size_bytes() - offset; left > 0;) {
    const absl::StatusOr<size_t> count =
        source.Read(buffer.get(), std::min(static_cast<size_t>(left), buffer.size()));
    if (!count.ok()) return Quarantine(digest, count.status().message());
    if (*count == 0) return Quarantine(digest, "it became shorter while it was read");
    if (offset == 0) sha256.Update({buffer.get(), *count});
    // The hash is checked after the last byte has gone out, as the contract permits: the
    // alternative is to read everything twice.
    RETURN_IF_ERROR(sink.Write({buffer.get(), *count}));
    left -= static_cast<int64_t>(*count);
  }
  if (offset != 0) return absl::OkStatus();
  if (const Digest actual = sha256.Finish(); actual != digest) {
    return Quarantine(digest, absl::StrCat("its bytes hash to ", actual.oci()));
  }
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> DiskBlobStore::OpenFile(const Digest& digest) {
  absl::StatusOr<UniqueFd> fd = OpenBlob(digest);
  if (absl::IsDataLoss(fd.status())) return BlobNotFound(digest);
  return fd;
}

absl::StatusOr<std::vector<Digest>> DiskBlobStore::FindMissing(absl::Span<const Digest> digests) {
  std::vector<Digest> missing;
  std::set<Digest> seen;
  for (const Digest& digest : digests) {
    if (digest == EmptyBlobDigest() || Use(digest)) continue;
    if (seen.insert(digest).second) missing.push_back(digest);
  }
  return missing;
}

absl::Status DiskBlobStore::Sync(absl::Span<const Digest> digests) {
  if (digests.size() > kSyncFilesMax) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, FindMissing(digests));
    if (!missing.empty()) return BlobNotFound(missing.front());
    if (syncfs(temporary_lock_.get()) != 0) return ErrnoStatus(errno, options_.dir);
    return absl::OkStatus();
  }
  std::vector<UniqueFd> files;
  std::set<std::string> dirs;
  for (const Digest& digest : digests) {
    if (digest == EmptyBlobDigest()) continue;
    ASSIGN_OR_RETURN(UniqueFd fd, OpenFile(digest));
    // Starts to write all of them before waiting for the first.
    sync_file_range(fd.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    dirs.insert(BlobPath(digest).substr(0, BlobPath(digest).rfind('/')));
    files.push_back(std::move(fd));
  }
  for (const UniqueFd& file : files) {
    if (fdatasync(file.get()) != 0) return ErrnoStatus(errno, options_.dir);
  }
  for (const std::string& dir : dirs) RETURN_IF_ERROR(SyncDir(dir));
  if (!dirs.empty()) return SyncDir(options_.dir + "/blobs/sha256");
  return absl::OkStatus();
}

absl::Status DiskBlobStore::Delete(const Digest& digest) {
  if (unlink(BlobPath(digest).c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, BlobPath(digest));
}

absl::Status DiskBlobStore::ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) {
  bool go_on = true;
  for (int byte = 0; byte < 256 && go_on; ++byte) {
    const std::string dir =
        absl::StrCat(options_.dir, "/blobs/sha256/", absl::Hex(byte, absl::kZeroPad2));
    const absl::Status status = ForEachName(dir, [&](const char* name) {
      struct stat info;
      if (stat(absl::StrCat(dir, "/", name).c_str(), &info) != 0) return true;  // Deleted just now.
      const absl::StatusOr<Digest> digest = Digest::FromHex(name, info.st_size);
      if (!digest.ok()) return true;  // Not ours.
      return go_on = visit({*digest, absl::TimeFromTimespec(info.st_mtim)});
    });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> DiskBlobStore::DeleteIfUnusedSince(const Digest& digest, absl::Time time) {
  const auto unused = [&](const std::string& path) {
    struct stat info;
    return stat(path.c_str(), &info) == 0 && absl::TimeFromTimespec(info.st_mtim) < time;
  };
  const std::string path = BlobPath(digest);
  if (!unused(path)) return false;
  // Out of the others' way first: a use that comes before the rename has left its time on the file,
  // and the file goes back; one that comes after it finds no blob.
  const std::string aside = absl::StrCat(temporary_dir_, "/condemned-", digest.hex());
  if (rename(path.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return false;
    return ErrnoStatus(errno, path);
  }
  if (!unused(aside)) {
    if (const int error = Rename(aside, digest); error != 0) return ErrnoStatus(error, path);
    return false;
  }
  if (unlink(aside.c_str()) != 0) return ErrnoStatus(errno, aside);
  return true;
}

std::string DiskBlobStore::BlobPath(const Digest& digest) const {
  const std::string hex = digest.hex();
  return absl::StrCat(options_.dir, "/blobs/sha256/", hex.substr(0, 2), "/", hex);
}

absl::StatusOr<UniqueFd> DiskBlobStore::OpenBlob(const Digest& digest) {
  const std::string path = BlobPath(digest);
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid() && errno == ENOENT) return BlobNotFound(digest);
  struct stat info;
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, path);
  if (info.st_size != digest.size_bytes()) {
    // Either the file is damaged, or the caller has the size wrong. The bytes say which.
    ASSIGN_OR_RETURN(const Digest actual, HashFile(fd.get(), info.st_size), _ << path);
    if (actual.hash() == digest.hash()) return BlobNotFound(digest);
    return absl::DataLossError(
        absl::StrCat("it has ", info.st_size, " bytes instead of ", digest.size_bytes()));
  }
  const absl::Time now = clock_.Now();
  if (notes_.IsWanted(now, absl::TimeFromTimespec(info.st_mtim))) {
    RETURN_IF_ERROR(SetLastUse(fd.get(), now)) << path;
  }
  return fd;
}

bool DiskBlobStore::Use(const Digest& digest) {
  const std::string path = BlobPath(digest);
  struct stat info;
  if (stat(path.c_str(), &info) != 0 || info.st_size != digest.size_bytes()) return false;
  const absl::Time now = clock_.Now();
  if (!notes_.IsWanted(now, absl::TimeFromTimespec(info.st_mtim))) return true;
  const timespec time = absl::ToTimespec(now);
  const timespec times[2] = {time, time};
  return utimensat(AT_FDCWD, path.c_str(), times, 0) == 0;
}

int DiskBlobStore::Rename(const std::string& path, const Digest& digest) {
  const std::string target = BlobPath(digest);
  if (rename(path.c_str(), target.c_str()) == 0) return 0;
  if (errno != ENOENT) return errno;
  if (!MakeDir(target.substr(0, target.rfind('/')), owner_).ok()) return errno;
  return rename(path.c_str(), target.c_str()) == 0 ? 0 : errno;
}

absl::Status DiskBlobStore::Quarantine(const Digest& digest, absl::string_view reason) {
  const std::string aside = absl::StrCat(options_.dir, "/quarantine/", digest.hex());
  const std::string fate = rename(BlobPath(digest).c_str(), aside.c_str()) == 0
                               ? absl::StrCat("moved to ", aside)
                               : std::string("its file could not be moved away");
  return absl::DataLossError(
      absl::StrCat("blob ", digest.oci(), " is damaged on disk: ", reason, "; ", fate));
}

}  // namespace farm
