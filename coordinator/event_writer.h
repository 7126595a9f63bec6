#ifndef FARM_COORDINATOR_EVENT_WRITER_H_
#define FARM_COORDINATOR_EVENT_WRITER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "base/executor.h"
#include "base/log.h"
#include "coordinator/event_stream.h"
#include "coordinator/session.h"
#include "grpcpp/grpcpp.h"
#include "rpc/status.h"

namespace farm {

// Sends a session's events to one client, as fast as it takes them. Has one event at a time and
// takes the next from the session's stream, so that a client that is slow, or reads nothing, costs
// no memory: it misses the logs that the stream drops meanwhile. Owns itself until gRPC is done
// with it. All but End() is of the loop; gRPC's calls are handed to it.
class EventWriter final : public grpc::ServerWriteReactor<v1::BuildEvent> {
 public:
  explicit EventWriter(Executor& loop) : loop_(loop) {}

  // On the loop: sends the events after `after_sequence` and all that come.
  void Attach(const std::shared_ptr<Session>& session, int64_t after_sequence) {
    session_ = session;
    sent_ = after_sequence;
    watch_ = session->events().Watch(after_sequence,
                                     [this](const EventStream::SharedEvent&) { WriteNext(); });
  }

  // Ends the call, unless it has ended already. Not while an event is being written.
  void End(const grpc::Status& status) {
    if (!ending_.exchange(true)) Finish(status);
  }

  void OnWriteDone(bool ok) override {
    const bool posted = loop_.Post([this, ok] {
      const EventStream::SharedEvent written = std::exchange(writing_, nullptr);
      if (!ok || cancelled_ || written->has_finished()) return End(grpc::Status::OK);
      WriteNext();
    });
    if (!posted) End(ToGrpcStatus(absl::ResourceExhaustedError("the event loop is full")));
  }

  // The client is gone; the session goes on for a while, since it may come back. A write under way
  // may still succeed: what comes after it ends the call.
  void OnCancel() override {
    const bool posted = loop_.Post([this] {
      cancelled_ = true;
      if (writing_ == nullptr) End(grpc::Status::CANCELLED);
    });
    if (!posted) LogWarning("a client's leaving is not noticed: the event loop is full");
  }

  void OnDone() override {
    const bool posted = loop_.Post([this] {
      if (const auto session = session_.lock()) session->events().Unwatch(watch_);
      delete this;
    });
    // Not deleted, since the session may still call it.
    if (!posted) LogWarning("an event writer is left over: the event loop is full");
  }

 private:
  void WriteNext() {
    if (ending_ || writing_ != nullptr) return;
    const std::shared_ptr<Session> session = session_.lock();
    if (session == nullptr) {
      return End(ToGrpcStatus(absl::NotFoundError("the build is not kept any more")));
    }
    writing_ = session->events().Next(sent_);
    if (writing_ == nullptr) return;
    sent_ = writing_->sequence();
    StartWrite(writing_.get());
  }

  Executor& loop_;
  std::weak_ptr<Session> session_;
  int watch_ = 0;
  int64_t sent_ = 0;                  // sequence of the last event that was given to gRPC
  EventStream::SharedEvent writing_;  // null: none
  bool cancelled_ = false;
  std::atomic<bool> ending_{false};
};

}  // namespace farm

#endif  // FARM_COORDINATOR_EVENT_WRITER_H_
