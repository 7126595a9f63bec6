#ifndef FARM_WORKER_LOG_STREAMER_H_
#define FARM_WORKER_LOG_STREAMER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "proto/farm/v1/lease.pb.h"
#include "worker/lease_client.h"
#include "worker/sandbox.h"

namespace farm {

// Sends what a step's command writes to the coordinator: in batches, at most kFlushDelay after it
// was written. A lost call is repeated at the same offset. While the coordinator keeps up, who
// writes faster waits; while it can't be reached, the command goes on and what does not fit into
// the buffer is left out, which the log then says.
//
// Append() may be called from any thread, the rest from the one that runs the step.
class LogStreamer final : public LogSink {
 public:
  static constexpr absl::Duration kFlushDelay = absl::Milliseconds(50);
  static constexpr size_t kBatchBytesMax = 64 << 10;
  static constexpr size_t kBufferBytesMax = 2 << 20;
  // How long Finish() tries to reach a coordinator that does not answer.
  static constexpr absl::Duration kFinishTimeout = absl::Seconds(10);

  // `on_lease_lost` is called if the coordinator says that the lease is not held any more.
  LogStreamer(LeaseClient& client, v1::LeaseEpoch epoch, std::function<void()> on_lease_lost);
  ~LogStreamer() override;

  void Append(LogStream stream, absl::string_view bytes) override;

  // Returns once all is sent, or given up. Nothing may be appended after.
  void Finish();

 private:
  struct Chunk {
    LogStream stream;
    std::string bytes;
  };

  void Run();
  // Waits for bytes and lets a batch gather; false at the end.
  bool NextBatch(v1::AppendLogRequest& request);
  // Repeats the call until it is answered or given up.
  void Send(const v1::AppendLogRequest& request);
  void Close();
  void NoteLoss(LogStream stream) FARM_REQUIRES(mu_);

  LeaseClient& client_;
  const v1::LeaseEpoch epoch_;
  const std::function<void()> on_lease_lost_;

  Mutex mu_;
  std::condition_variable changed_;
  std::deque<Chunk> queue_ FARM_GUARDED_BY(mu_);
  size_t queued_bytes_ FARM_GUARDED_BY(mu_) = 0;
  size_t dropped_bytes_ FARM_GUARDED_BY(mu_) = 0;  // since the last batch
  bool reachable_ FARM_GUARDED_BY(mu_) = true;
  bool closed_ FARM_GUARDED_BY(mu_) = false;  // nobody wants more
  bool finishing_ FARM_GUARDED_BY(mu_) = false;
  absl::Time give_up_ FARM_GUARDED_BY(mu_) = absl::InfiniteFuture();
  std::thread thread_;  // started by the first bytes: most steps write none
};

}  // namespace farm

#endif  // FARM_WORKER_LOG_STREAMER_H_
