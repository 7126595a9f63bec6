#include "cli/waiting_notice.h"

#include <algorithm>
#include <utility>

namespace farm {

WaitingNotice::WaitingNotice(std::unique_ptr<Progress> inner, Clock& clock, absl::Duration interval)
    : inner_(std::move(inner)), clock_(clock), interval_(interval), watch_([this] { Watch(); }) {}

WaitingNotice::~WaitingNotice() { StopWatching(); }

void WaitingNotice::OnEvent(const v1::BuildEvent& event) {
  inner_->OnEvent(event);
  if (!event.has_step_started() && !event.has_step_finished()) return;
  MutexLock lock(mu_);
  if (event.has_step_started()) {
    waits_[event.step_started().id()] = event.step_started().phase() == "waiting";
  } else {
    waits_.erase(event.step_finished().id());
  }
  const bool is_stalled =
      !waits_.empty() &&
      std::all_of(waits_.begin(), waits_.end(), [](const auto& step) { return step.second; });
  stalled_since_ = is_stalled ? std::min(stalled_since_, clock_.Now()) : absl::InfiniteFuture();
}

void WaitingNotice::Finish() {
  StopWatching();
  inner_->Finish();
}

void WaitingNotice::Watch() {
  {
    MutexLock lock(mu_);
    while (!finished_ && clock_.Now() - stalled_since_ < kWaitMin) {
      lock.WaitFor(finished_changed_, interval_);
    }
    if (finished_) return;
  }
  inner_->Note(
      "what has to run waits for a worker: none is there, or none is free; "
      "'farm workers' lists them");
}

void WaitingNotice::StopWatching() {
  {
    MutexLock lock(mu_);
    finished_ = true;
  }
  finished_changed_.notify_all();
  if (watch_.joinable()) watch_.join();
}

}  // namespace farm
