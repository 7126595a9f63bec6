#include "worker/log_streamer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace farm {
namespace {

constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kRetryFirst = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(5);

}  // namespace

LogStreamer::LogStreamer(LeaseClient& client, v1::LeaseEpoch epoch,
                         std::function<void()> on_lease_lost)
    : client_(client), epoch_(std::move(epoch)), on_lease_lost_(std::move(on_lease_lost)) {}

LogStreamer::~LogStreamer() { Finish(); }

void LogStreamer::Append(LogStream stream, absl::string_view bytes) {
  if (bytes.empty()) return;
  MutexLock lock(mu_);
  while (!closed_ && reachable_ && queued_bytes_ > kBufferBytesMax) lock.Wait(changed_);
  if (closed_) return;
  if (queued_bytes_ > kBufferBytesMax) {
    dropped_bytes_ += bytes.size();
    return;
  }
  const bool is_first = queue_.empty();
  NoteLoss(stream);
  queued_bytes_ += bytes.size();
  if (!queue_.empty() && queue_.back().stream == stream &&
      queue_.back().bytes.size() + bytes.size() <= kBatchBytesMax) {
    queue_.back().bytes.append(bytes.data(), bytes.size());
  } else {
    queue_.push_back({stream, std::string(bytes)});
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  // Begins the thread's flush delay; wakes it out of that only if a batch is full.
  if (is_first || queued_bytes_ >= kBatchBytesMax) changed_.notify_all();
}

// Says in the log what is missing from it.
void LogStreamer::NoteLoss(LogStream stream) {
  if (dropped_bytes_ == 0) return;
  const std::string note =
      absl::StrCat("\n[", dropped_bytes_, " bytes lost: the coordinator was not reachable]\n");
  queued_bytes_ += note.size();
  queue_.push_back({stream, note});
  dropped_bytes_ = 0;
}

void LogStreamer::Finish() {
  {
    MutexLock lock(mu_);
    if (!closed_) NoteLoss(LogStream::kStderr);
    finishing_ = true;
    give_up_ = absl::Now() + kFinishTimeout;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void LogStreamer::Run() {
  v1::AppendLogRequest request;
  *request.mutable_epoch() = epoch_;
  while (NextBatch(request)) {
    Send(request);
    request.set_offset(request.offset() + static_cast<int64_t>(request.bytes().size()));
  }
}

bool LogStreamer::NextBatch(v1::AppendLogRequest& request) {
  MutexLock lock(mu_);
  while (queue_.empty() && !finishing_ && !closed_) lock.Wait(changed_);
  if (closed_ || queue_.empty()) return false;
  const absl::Time flush = absl::Now() + kFlushDelay;
  while (!finishing_ && queued_bytes_ < kBatchBytesMax) {
    const absl::Duration left = flush - absl::Now();
    if (left <= absl::ZeroDuration()) break;
    lock.WaitFor(changed_, left);
  }
  Chunk& chunk = queue_.front();
  const size_t size = std::min(chunk.bytes.size(), kBatchBytesMax);
  request.set_is_stderr(chunk.stream == LogStream::kStderr);
  request.set_bytes(chunk.bytes.substr(0, size));
  chunk.bytes.erase(0, size);
  if (chunk.bytes.empty()) queue_.pop_front();
  queued_bytes_ -= size;
  changed_.notify_all();
  return true;
}

void LogStreamer::Send(const v1::AppendLogRequest& request) {
  absl::Duration retry = kRetryFirst;
  while (true) {
    const absl::StatusOr<v1::AppendLogResponse> response = client_.AppendLog(request, kCallTimeout);
    if (response.ok()) {
      {
        MutexLock lock(mu_);
        reachable_ = true;
      }
      if (response->truncated()) Close();
      return;
    }
    if (!absl::IsUnavailable(response.status()) && !absl::IsDeadlineExceeded(response.status())) {
      Close();
      // Anything but ABORTED would be a fault of one of us; the step may still be of use.
      if (!absl::IsAborted(response.status())) {
        LogWarning("log of a step cut off", {{"error", LogText(response.status())}});
        return;
      }
      on_lease_lost_();
      return;
    }
    MutexLock lock(mu_);
    reachable_ = false;
    changed_.notify_all();
    const absl::Time again = absl::Now() + retry;
    while (absl::Now() < std::min(again, give_up_)) {
      lock.WaitFor(changed_, std::min(again, give_up_) - absl::Now());
    }
    if (absl::Now() >= give_up_) {
      closed_ = true;
      return;
    }
    retry = std::min(retry * 2, kRetryMax);
  }
}

void LogStreamer::Close() {
  MutexLock lock(mu_);
  closed_ = true;
  queue_.clear();
  queued_bytes_ = 0;
  changed_.notify_all();
}

}  // namespace farm
