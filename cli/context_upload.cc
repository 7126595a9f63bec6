#include "cli/context_upload.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"

namespace farm {
namespace {

// Larger files are streamed one by one.
constexpr int64_t kBatchedFileBytesMax = 512 << 10;
// Of one batch: below gRPC's usual limit of 4 MiB a message, and few enough blobs for the store to
// answer soon.
constexpr int64_t kBatchBytesMax = 3 << 20;
constexpr size_t kBatchBlobsMax = 1000;
constexpr int kSenders = 3;

absl::Status Changed(const std::string& path) {
  return AsLocalError(
      absl::AbortedError(absl::StrCat("context: '", path, "' changed while it was sent")));
}

class Upload {
 public:
  Upload(const ScannedContext& context, FarmClient& client, const OnUploaded& on_uploaded)
      : context_(context), client_(client), on_uploaded_(on_uploaded) {}

  absl::StatusOr<UploadedContext> Run() {
    RETURN_IF_ERROR(FindWork());
    std::vector<std::thread> threads;
    for (int i = 1; i < kSenders && i < static_cast<int>(work_.size()); ++i) {
      threads.emplace_back([this] { Send(); });
    }
    Send();
    for (std::thread& thread : threads) thread.join();
    MutexLock lock(mu_);
    RETURN_IF_ERROR(error_);
    return uploaded_;
  }

 private:
  // Each file content once, packed into batches in the table's order.
  absl::Status FindWork() {
    absl::flat_hash_map<Digest, const TableEntry*> files;
    std::vector<Digest> digests;
    for (const TableEntry& entry : context_.table.entries()) {
      if (entry.type == EntryType::kFile && files.emplace(entry.content, &entry).second) {
        digests.push_back(entry.content);
      }
    }
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, client_.blobs().FindMissing(digests));
    std::vector<const TableEntry*> batch;
    int64_t batch_bytes = 0;
    for (const Digest& digest : missing) {
      const TableEntry* entry = files.at(digest);
      if (entry->size_bytes() > kBatchedFileBytesMax) {
        work_.push_back({entry});
        continue;
      }
      if (batch_bytes + entry->size_bytes() > kBatchBytesMax || batch.size() == kBatchBlobsMax) {
        work_.push_back(std::exchange(batch, {}));
        batch_bytes = 0;
      }
      batch.push_back(entry);
      batch_bytes += entry->size_bytes();
    }
    if (!batch.empty()) work_.push_back(std::move(batch));
    return absl::OkStatus();
  }

  void Send() {
    while (true) {
      const size_t at = next_.fetch_add(1);
      if (at >= work_.size()) return;
      const std::vector<const TableEntry*>& entries = work_[at];
      const bool large = entries.front()->size_bytes() > kBatchedFileBytesMax;
      const absl::Status status = large ? SendFile(*entries.front()) : SendBatch(entries);
      MutexLock lock(mu_);
      if (!status.ok()) {
        if (error_.ok()) error_ = status;
        next_ = work_.size();
        return;
      }
      for (const TableEntry* entry : entries) {
        ++uploaded_.blobs;
        uploaded_.bytes += entry->size_bytes();
      }
      on_uploaded_(uploaded_.bytes);
    }
  }

  absl::StatusOr<UniqueFd> OpenFile(const TableEntry& entry) const {
    UniqueFd fd(openat(context_.root.get(), entry.path.c_str(),
                       O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    struct stat info {};
    if (fd.valid() && (fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))) {
      return Changed(entry.path);
    }
    if (fd.valid()) return fd;
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return Changed(entry.path);
    return AsLocalError(ErrnoStatus(errno, absl::StrCat("context: '", entry.path, "'")));
  }

  absl::Status SendFile(const TableEntry& entry) {
    ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(entry));
    FdSource source(fd.get());
    const absl::Status status = client_.blobs().Put(entry.content, source);
    return absl::IsInvalidArgument(status) ? Changed(entry.path) : status;
  }

  absl::Status SendBatch(const std::vector<const TableEntry*>& entries) {
    std::vector<std::pair<Digest, std::string>> blobs;
    for (const TableEntry* entry : entries) {
      ASSIGN_OR_RETURN(const UniqueFd fd, OpenFile(*entry));
      std::string bytes(entry->size_bytes(), 0);
      FdSource source(fd.get());
      size_t length = 0;
      while (length < bytes.size()) {
        ASSIGN_OR_RETURN(const size_t n, source.Read(bytes.data() + length, bytes.size() - length));
        if (n == 0) return Changed(entry->path);
        length += n;
      }
      blobs.emplace_back(entry->content, std::move(bytes));
    }
    const absl::Status status = client_.PutBlobs(blobs);
    if (!absl::IsInvalidArgument(status)) return status;
    for (size_t i = 0; i < blobs.size(); ++i) {
      if (DigestOf(blobs[i].second) != blobs[i].first) return Changed(entries[i]->path);
    }
    return status;
  }

  const ScannedContext& context_;
  FarmClient& client_;
  const OnUploaded& on_uploaded_;
  std::vector<std::vector<const TableEntry*>> work_;
  std::atomic<size_t> next_ = 0;
  Mutex mu_;
  absl::Status error_ FARM_GUARDED_BY(mu_);
  UploadedContext uploaded_ FARM_GUARDED_BY(mu_);
};

}  // namespace

absl::StatusOr<UploadedContext> UploadContext(const ScannedContext& context, FarmClient& client,
                                              bool trust_table, const OnUploaded& on_uploaded) {
  if (trust_table) {
    ASSIGN_OR_RETURN(const std::vector<Digest> missing,
                     client.blobs().FindMissing({context.table_digest}));
    if (missing.empty()) return UploadedContext();
  }
  ASSIGN_OR_RETURN(UploadedContext uploaded, Upload(context, client, on_uploaded).Run());
  StringSource table(context.table_bytes);
  RETURN_IF_ERROR(client.blobs().Put(context.table_digest, table)) << "context table";
  return uploaded;
}

}  // namespace farm
