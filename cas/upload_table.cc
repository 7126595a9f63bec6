#include "cas/upload_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// Larger uploads wait in a file.
constexpr int64_t kMemoryBytesMax = 64 * 1024;
constexpr absl::Duration kSweepInterval = absl::Minutes(1);

}  // namespace

absl::Status SpoolBudget::Take(int64_t bytes) {
  if (left_.fetch_sub(bytes) >= bytes) return absl::OkStatus();
  left_ += bytes;
  return absl::ResourceExhaustedError(absl::StrCat("the uploads under way have ", bytes_max_,
                                                   " bytes, which is the limit "
                                                   "(spool_bytes_max): try again later"));
}

Upload::~Upload() {
  if (file_.valid()) unlink(path_.c_str());
  budget_->GiveBack(committed_bytes_);
}

int64_t Upload::TakeOver() {
  MutexLock lock(mu_);
  return ++writer_;
}

int64_t Upload::committed_bytes() {
  MutexLock lock(mu_);
  return committed_bytes_;
}

absl::Status Upload::Append(int64_t writer, int64_t offset, absl::string_view bytes) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckWriter(writer));
  if (offset < 0 || offset > committed_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("bytes of blob ", digest_.oci(),
                                                   " come at offset ", offset, ", but only ",
                                                   committed_bytes_, " bytes are there before it"));
  }
  const int64_t known = committed_bytes_ - offset;
  if (known >= static_cast<int64_t>(bytes.size())) return absl::OkStatus();
  bytes.remove_prefix(static_cast<size_t>(known));
  if (static_cast<int64_t>(bytes.size()) > digest_.size_bytes() - committed_bytes_) {
    return absl::InvalidArgumentError(absl::StrCat("blob ", digest_.oci(), " has more than its ",
                                                   digest_.size_bytes(), " bytes"));
  }
  const int64_t count = static_cast<int64_t>(bytes.size());
  RETURN_IF_ERROR(budget_->Take(count));
  if (absl::Status status = Write(bytes); !status.ok()) {
    budget_->GiveBack(count);
    return status;
  }
  sha256_.Update(bytes);
  committed_bytes_ += count;
  return absl::OkStatus();
}

absl::Status Upload::CheckWriter(int64_t writer) {
  if (finished_) {
    return absl::AbortedError(absl::StrCat("the upload of blob ", digest_.oci(), " is over"));
  }
  if (writer == writer_) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("a newer call goes on with the upload of blob ", digest_.oci()));
}

absl::Status Upload::Write(absl::string_view bytes) {
  if (digest_.size_bytes() <= kMemoryBytesMax) {
    memory_.append(bytes.data(), bytes.size());
    return absl::OkStatus();
  }
  if (!file_.valid()) {
    file_.Reset(open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!file_.valid()) return ErrnoStatus(errno, path_);
  }
  // After a part of a write the offset is wrong: begin where the last whole one ended.
  if (lseek(file_.get(), committed_bytes_, SEEK_SET) < 0) return ErrnoStatus(errno, path_);
  RETURN_IF_ERROR(FdSink(file_.get()).Write(bytes)) << "upload of blob " << digest_.oci();
  return absl::OkStatus();
}

absl::Status Upload::Finish(int64_t writer, BlobStore& store) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(CheckWriter(writer));
  finished_ = true;
  RETURN_IF_ERROR(CheckBlobDigest(digest_, sha256_.Finish()));
  if (!file_.valid()) {
    StringSource source(memory_);
    return store.Put(digest_, source);
  }
  // A write that failed half-way may have left bytes behind the end.
  if (ftruncate(file_.get(), committed_bytes_) != 0) return ErrnoStatus(errno, path_);
  RETURN_IF_ERROR(store.PutFile(digest_, path_));
  file_.Reset();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<Upload>> UploadTable::Open(const std::string& name,
                                                          const Digest& digest) {
  const absl::Time now = clock_.Now();
  MutexLock lock(mu_);
  DropIdle(now);
  const auto it = uploads_.find(name);
  if (it != uploads_.end()) {
    it->second.last_use = now;
    return it->second.upload;
  }
  if (static_cast<int>(uploads_.size()) >= options_.uploads_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        options_.uploads_max, " uploads are under way, which is the limit (uploads_max)"));
  }
  auto upload = std::make_shared<Upload>(
      digest, absl::StrCat(options_.dir, "/upload-", getpid(), "-", next_file_++), budget_);
  uploads_[name] = {upload, now};
  return upload;
}

std::shared_ptr<Upload> UploadTable::Find(const std::string& name) {
  MutexLock lock(mu_);
  const auto it = uploads_.find(name);
  return it == uploads_.end() ? nullptr : it->second.upload;
}

void UploadTable::Remove(const std::string& name, const std::shared_ptr<Upload>& upload) {
  MutexLock lock(mu_);
  const auto it = uploads_.find(name);
  if (it != uploads_.end() && it->second.upload == upload) uploads_.erase(it);
}

void UploadTable::DropIdle(absl::Time now) {
  if (now < next_sweep_) return;
  next_sweep_ = now + kSweepInterval;
  for (auto it = uploads_.begin(); it != uploads_.end();) {
    // One that a call still holds is not idle, however long its last message is ago.
    if (it->second.upload.use_count() > 1) it->second.last_use = now;
    const bool is_idle = now - it->second.last_use >= options_.idle_max;
    it = is_idle ? uploads_.erase(it) : std::next(it);
  }
}

}  // namespace farm
