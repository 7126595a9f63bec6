#include "coordinator/event_stream.h"

#include <algorithm>
#include <utility>

#include "base/time_proto.h"

namespace farm {

void EventStream::Emit(v1::BuildEvent event) {
  event.set_sequence(next_sequence_++);
  *event.mutable_time() = TimeToProto(clock_.Now());
  if (event.has_finished()) finished_ = true;
  const auto shared = std::make_shared<const v1::BuildEvent>(std::move(event));
  kept_bytes_ += static_cast<int64_t>(shared->ByteSizeLong());
  kept_.push_back(shared);
  while (kept_bytes_ > kept_bytes_max_) {
    const auto log = std::find_if(kept_.begin(), kept_.end(),
                                  [](const SharedEvent& kept) { return kept->has_log(); });
    if (log == kept_.end()) break;
    kept_bytes_ -= static_cast<int64_t>((*log)->ByteSizeLong());
    kept_.erase(log);
  }
  const std::map<int, Watcher> watchers = watchers_;  // One may leave while it is called.
  for (const auto& [id, watcher] : watchers) watcher(shared);
  if (finished_ && on_finished_ != nullptr) std::exchange(on_finished_, nullptr)();
}

int EventStream::Watch(int64_t after_sequence, Watcher watcher) {
  for (const SharedEvent& event : kept_) {
    if (event->sequence() > after_sequence) watcher(event);
  }
  const int id = next_watcher_++;
  watchers_.emplace(id, std::move(watcher));
  return id;
}

EventStream::SharedEvent EventStream::Next(int64_t after_sequence) const {
  const auto next = std::upper_bound(
      kept_.begin(), kept_.end(), after_sequence,
      [](int64_t sequence, const SharedEvent& event) { return sequence < event->sequence(); });
  return next == kept_.end() ? nullptr : *next;
}

}  // namespace farm
