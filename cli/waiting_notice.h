#ifndef FARM_CLI_WAITING_NOTICE_H_
#define FARM_CLI_WAITING_NOTICE_H_

#include <condition_variable>
#include <map>
#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "cli/progress.h"

namespace farm {

// Passes everything on to another display, and notes there, once, that the build gets nowhere since
// every step that it could run waits for a worker.
class WaitingNotice final : public Progress {
 public:
  // Shorter waits are usual.
  static constexpr absl::Duration kWaitMin = absl::Seconds(5);
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  // Looks at `clock`, which must outlive it, every `interval`.
  WaitingNotice(std::unique_ptr<Progress> inner, Clock& clock, absl::Duration interval = kInterval);
  ~WaitingNotice() override;

  int BeginTask(absl::string_view name) override { return inner_->BeginTask(name); }
  void UpdateTask(int task, absl::string_view detail) override { inner_->UpdateTask(task, detail); }
  void EndTask(int task, const absl::Status& status) override { inner_->EndTask(task, status); }
  void OnEvent(const v1::BuildEvent& event) override;
  void Note(absl::string_view line) override { inner_->Note(line); }
  void Finish() override;

 private:
  void Watch();
  void StopWatching();

  const std::unique_ptr<Progress> inner_;
  Clock& clock_;
  const absl::Duration interval_;
  Mutex mu_;
  std::condition_variable finished_changed_;
  std::map<int, bool> waits_ FARM_GUARDED_BY(mu_);  // by id of what has begun and not ended
  absl::Time stalled_since_ FARM_GUARDED_BY(mu_) = absl::InfiniteFuture();
  bool finished_ FARM_GUARDED_BY(mu_) = false;
  std::thread watch_;
};

}  // namespace farm

#endif  // FARM_CLI_WAITING_NOTICE_H_
