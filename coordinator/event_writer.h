#ifndef FARM_COORDINATOR_EVENT_WRITER_H_
#define FARM_COORDINATOR_EVENT_WRITER_H_

#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "base/executor.h"
#include "base/mutex.h"
#include "coordinator/event_stream.h"
#include "coordinator/session.h"
#include "grpcpp/grpcpp.h"

namespace farm {

// Sends a session's events to one client, as fast as it takes them. Owns itself until gRPC is done
// with it.
class EventWriter final : public grpc::ServerWriteReactor<v1::BuildEvent> {
 public:
  explicit EventWriter(Executor& loop) : loop_(loop) {}

  // On the loop: shows the events after `after_sequence` and all that come.
  void Attach(const std::shared_ptr<Session>& session, int64_t after_sequence) {
    session_ = session;
    watch_ = session->events().Watch(
        after_sequence, [this](const EventStream::SharedEvent& event) { Push(event); });
  }

  // Ends the call without events, unless it has ended already.
  void End(const grpc::Status& status) {
    {
      MutexLock lock(mu_);
      if (std::exchange(finishing_, true)) return;
    }
    Finish(status);
  }

  void OnWriteDone(bool ok) override {
    EventStream::SharedEvent next;
    bool end;
    {
      MutexLock lock(mu_);
      end = !ok || cancelled_ || queue_.front()->has_finished();
      queue_.pop_front();
      if (!end && !queue_.empty()) next = queue_.front();
      finishing_ = end;
    }
    if (end) {
      Finish(grpc::Status::OK);
    } else if (next != nullptr) {
      StartWrite(next.get());
    }
  }

  // The client is gone; the session goes on for a while, since it may come back.
  void OnCancel() override {
    {
      MutexLock lock(mu_);
      cancelled_ = true;
      // A write under way may still succeed; OnWriteDone() ends the call.
      if (finishing_ || !queue_.empty()) return;
      finishing_ = true;
    }
    Finish(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    const bool posted = loop_.Post([this] {
      if (const auto session = session_.lock()) session->events().Unwatch(watch_);
      delete this;
    });
    if (!posted) delete this;
  }

 private:
  void Push(const EventStream::SharedEvent& event) {
    {
      MutexLock lock(mu_);
      if (finishing_) return;
      queue_.push_back(event);
      if (queue_.size() > 1) return;  // OnWriteDone() goes on with it.
    }
    StartWrite(event.get());
  }

  Executor& loop_;
  std::weak_ptr<Session> session_;
  int watch_ = 0;
  Mutex mu_;
  std::deque<EventStream::SharedEvent> queue_ FARM_GUARDED_BY(mu_);  // its front is being written
  bool finishing_ FARM_GUARDED_BY(mu_) = false;
  bool cancelled_ FARM_GUARDED_BY(mu_) = false;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_EVENT_WRITER_H_
