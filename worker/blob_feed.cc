#include "worker/blob_feed.h"

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr int kThreads = 2;
constexpr int64_t kAheadBytesMax = 32 << 20;
constexpr size_t kBatchItemsMax = 256;
constexpr int64_t kBatchBytesMax = 2 << 20;
// Larger blobs are not fetched ahead.
constexpr int64_t kSmallBytesMax = 1 << 20;
// A store has blobs above this as files, if at all: not worth asking for smaller ones.
constexpr int64_t kFileBytesMin = 64 << 10;
constexpr size_t kBufferBytes = 256 << 10;

absl::Status CopyFile(int from_fd, int to_fd) {
  std::string buffer(kBufferBytes, '\0');
  FdSource source(from_fd);
  FdSink sink(to_fd);
  while (true) {
    ASSIGN_OR_RETURN(const size_t size, source.Read(buffer.data(), buffer.size()));
    if (size == 0) return absl::OkStatus();
    RETURN_IF_ERROR(sink.Write(absl::string_view(buffer.data(), size)));
  }
}

absl::Status Missing(const Digest& digest, const absl::Status& status) {
  if (!absl::IsNotFound(status)) return status;
  return absl::FailedPreconditionError(absl::StrCat("blob ", digest.oci(), " is not in the CAS"));
}

}  // namespace

GetBlobs GetBlobsOneByOne(BlobStore& blobs) {
  return [&blobs](absl::Span<const Digest> digests,
                  const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive) {
    for (const Digest& digest : digests) {
      receive(digest, GetBytes(blobs, digest, digest.size_bytes()));
    }
    return absl::OkStatus();
  };
}

BlobFeed::BlobFeed(BlobStore& blobs, const GetBlobs& get_blobs, std::vector<Digest> in_order,
                   CancelToken& cancel, bool verify)
    : blobs_(blobs),
      get_blobs_(get_blobs),
      cancel_(cancel),
      digests_(std::move(in_order)),
      verify_(verify),
      items_(digests_.size()) {
  const size_t threads = std::min<size_t>(kThreads, digests_.size());
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Fetch(); });
}

BlobFeed::~BlobFeed() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

bool BlobFeed::IsSmall(size_t index) const {
  return digests_[index].size_bytes() <= kSmallBytesMax;
}

void BlobFeed::Fetch() {
  while (const std::optional<Batch> batch = TakeBatch()) {
    FetchBatch(*batch);
    MutexLock lock(mu_);
    for (size_t i = batch->begin; i < batch->end; ++i) items_[i].ready = true;
    changed_.notify_all();
  }
}

std::optional<BlobFeed::Batch> BlobFeed::TakeBatch() {
  MutexLock lock(mu_);
  while (!stopping_ && next_fetched_ < digests_.size() && ahead_bytes_ >= kAheadBytesMax) {
    lock.Wait(changed_);
  }
  if (stopping_ || next_fetched_ == digests_.size() || cancel_.cancelled()) return std::nullopt;
  Batch batch{.begin = next_fetched_, .end = next_fetched_};
  int64_t bytes = 0;
  while (batch.end < digests_.size() && batch.end - batch.begin < kBatchItemsMax &&
         bytes < kBatchBytesMax) {
    if (IsSmall(batch.end)) bytes += digests_[batch.end].size_bytes();
    ++batch.end;
  }
  next_fetched_ = batch.end;
  ahead_bytes_ += bytes;
  return batch;
}

void BlobFeed::FetchBatch(const Batch& batch) {
  absl::flat_hash_map<Digest, std::vector<Item*>> wanted;
  std::vector<Digest> digests;
  for (size_t i = batch.begin; i < batch.end; ++i) {
    if (!IsSmall(i)) continue;
    if (!verify_ && digests_[i].size_bytes() >= kFileBytesMin) {
      if (absl::StatusOr<UniqueFd> file = blobs_.OpenFile(digests_[i]); file.ok()) {
        items_[i].file = *std::move(file);
        continue;
      }
    }
    items_[i].status = absl::UnavailableError("the store did not answer for it");
    std::vector<Item*>& items = wanted[digests_[i]];
    if (items.empty()) digests.push_back(digests_[i]);
    items.push_back(&items_[i]);
  }
  if (digests.empty()) return;
  const absl::Status status =
      get_blobs_(digests, [&](const Digest& digest, absl::StatusOr<std::string> bytes) {
        const auto items = wanted.find(digest);
        if (items == wanted.end()) return;
        absl::Status problem = Missing(digest, bytes.status());
        if (problem.ok() && DigestOf(*bytes) != digest) {
          problem = absl::DataLossError(absl::StrCat("blob ", digest.oci(), " has other bytes"));
        }
        for (Item* item : items->second) {
          item->status = problem;
          if (!problem.ok()) continue;
          // The last one takes the bytes: a blob that is wanted once is not copied.
          item->bytes = item == items->second.back() ? *std::move(bytes) : *bytes;
        }
      });
  if (status.ok()) return;
  for (const auto& [digest, items] : wanted) {
    for (Item* item : items) {
      if (!item->status.ok()) item->status = status;
    }
  }
}

absl::StatusOr<BlobFeed::Written> BlobFeed::WriteNext(int fd) {
  size_t index;
  {
    MutexLock lock(mu_);
    index = next_written_;
    FARM_CHECK_LT(index, digests_.size());
    if (IsSmall(index)) {
      while (!items_[index].ready && !cancel_.cancelled()) {
        // Fetching threads end when the step is cancelled: nobody would wake us.
        lock.WaitFor(changed_, absl::Milliseconds(100));
      }
    }
    ++next_written_;
  }
  if (cancel_.cancelled()) return absl::CancelledError("while files were copied");
  const Digest& digest = digests_[index];
  Written written;
  if (IsSmall(index)) {
    Item& item = items_[index];
    RETURN_IF_ERROR(item.status);
    if (item.file.valid()) {
      RETURN_IF_ERROR(CopyFile(item.file.get(), fd));
      item.file.Reset();
      written.verified = false;
    } else {
      RETURN_IF_ERROR(FdSink(fd).Write(item.bytes));
      item.bytes = std::string();
    }
    MutexLock lock(mu_);
    ahead_bytes_ -= digest.size_bytes();
    changed_.notify_all();
    return written;
  }
  if (!verify_) {
    if (absl::StatusOr<UniqueFd> file = blobs_.OpenFile(digest); file.ok()) {
      RETURN_IF_ERROR(CopyFile(file->get(), fd));
      written.verified = false;
      return written;
    }
  }
  FdSink sink(fd);
  RETURN_IF_ERROR(Missing(digest, blobs_.Get(digest, 0, sink)));
  return written;
}

}  // namespace farm
