#ifndef FARM_COORDINATOR_EVENT_STREAM_H_
#define FARM_COORDINATOR_EVENT_STREAM_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// The events of one session, in order, for those who watch now and those who come back. Owned by
// the event loop.
class EventStream {
 public:
  using SharedEvent = std::shared_ptr<const v1::BuildEvent>;
  // Called for each event; the last one is `finished`.
  using Watcher = std::function<void(const SharedEvent&)>;

  // Keeps about `kept_bytes_max` of events for Watch(); the oldest logs go first.
  EventStream(Clock& clock, int64_t kept_bytes_max)
      : clock_(clock), kept_bytes_max_(kept_bytes_max) {}

  // Gives the event its sequence and time and shows it to all watchers.
  void Emit(v1::BuildEvent event);

  // Shows the kept events after `after_sequence` at once, then each new one. Returns an id.
  int Watch(int64_t after_sequence, Watcher watcher);
  // The first kept event after `after_sequence`; null if there is none yet. For who takes one at a
  // time: what was dropped meanwhile is skipped.
  SharedEvent Next(int64_t after_sequence) const;
  void Unwatch(int id) { watchers_.erase(id); }
  int watchers() const { return static_cast<int>(watchers_.size()); }
  bool finished() const { return finished_; }
  // `then` is called once, after the watchers have seen the last event. For the stream's owner.
  void OnFinished(std::function<void()> then) { on_finished_ = std::move(then); }

 private:
  Clock& clock_;
  const int64_t kept_bytes_max_;
  int64_t next_sequence_ = 1;
  int64_t kept_bytes_ = 0;
  bool finished_ = false;
  std::function<void()> on_finished_;
  std::deque<SharedEvent> kept_;
  int next_watcher_ = 1;
  std::map<int, Watcher> watchers_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_EVENT_STREAM_H_
