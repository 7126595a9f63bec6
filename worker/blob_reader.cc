#include "worker/blob_reader.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "base/status_macros.h"

namespace farm {
namespace {

constexpr size_t kBufferBytesMax = 4 << 20;

class ProducedSource final : public ByteSource, private ByteSink {
 public:
  explicit ProducedSource(std::function<absl::Status(ByteSink&)> produce)
      : thread_([this, produce = std::move(produce)] {
          absl::Status status = produce(*this);
          MutexLock lock(mu_);
          result_ = std::move(status);
          changed_.notify_all();
        }) {}

  ~ProducedSource() override {
    {
      MutexLock lock(mu_);
      abandoned_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    if (offset_ == current_.size()) {
      MutexLock lock(mu_);
      while (queue_.empty() && !result_.has_value()) lock.Wait(changed_);
      if (queue_.empty()) {
        RETURN_IF_ERROR(*result_);
        return 0;
      }
      current_ = std::move(queue_.front());
      queue_.pop_front();
      offset_ = 0;
      queued_bytes_ -= current_.size();
      changed_.notify_all();
    }
    const size_t count = std::min(size, current_.size() - offset_);
    memcpy(buffer, current_.data() + offset_, count);
    offset_ += count;
    return count;
  }

 private:
  absl::Status Write(absl::string_view bytes) override {
    if (bytes.empty()) return absl::OkStatus();
    MutexLock lock(mu_);
    while (queued_bytes_ >= kBufferBytesMax && !abandoned_) lock.Wait(changed_);
    if (abandoned_) return absl::CancelledError("nobody reads any more");
    queued_bytes_ += bytes.size();
    queue_.emplace_back(bytes);
    changed_.notify_all();
    return absl::OkStatus();
  }

  // Of the reader's thread.
  std::string current_;
  size_t offset_ = 0;

  Mutex mu_;
  std::condition_variable changed_;
  std::deque<std::string> queue_ FARM_GUARDED_BY(mu_);
  size_t queued_bytes_ FARM_GUARDED_BY(mu_) = 0;
  bool abandoned_ FARM_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> result_ FARM_GUARDED_BY(mu_);
  std::thread thread_;  // Last: it uses all of the above.
};

}  // namespace

std::unique_ptr<ByteSource> ReadWhileProduced(std::function<absl::Status(ByteSink&)> produce) {
  return std::make_unique<ProducedSource>(std::move(produce));
}

}  // namespace farm
