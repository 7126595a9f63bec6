#ifndef FARM_WORKER_LEASE_SET_H_
#define FARM_WORKER_LEASE_SET_H_

#include <compare>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/farm/v1/lease.pb.h"

namespace farm {

// The leases that a worker holds: a state machine without threads, clock or network. Not safe for
// concurrent calls.
//
//   granted ──► running ──► done ──► (forgotten: acknowledged or revoked)
//                  │
//                  └──► stopping ──► (forgotten: its step has ended)
//
// A lease begins to stop when it is revoked, when its log is refused, or when the coordinator was
// not reached for the lease's time; its result is dropped. A result that is done is kept and
// reported until the coordinator has acknowledged or revoked it, however long that takes.
class LeaseSet {
 public:
  // Fencing number of a lease: the coordinator's incarnation, and a sequence within it.
  struct Epoch {
    int64_t incarnation = 0;
    int64_t sequence = 0;

    static Epoch FromProto(const v1::LeaseEpoch& proto) {
      return {proto.incarnation(), proto.sequence()};
    }
    friend auto operator<=>(const Epoch&, const Epoch&) = default;
  };

  struct Actions {
    std::vector<v1::Lease> start;
    std::vector<Epoch> stop;  // cancel their steps

    bool empty() const { return start.empty() && stop.empty(); }
  };

  // The coordinator's answer to a call that began at `called`. Answers may come out of order: one
  // to an older call than the last is ignored, as is one that says that it was superseded.
  Actions OnResponse(const v1::SynchronizeResponse& response, int64_t call_sequence,
                     absl::Time called);
  // Stops what is lost for want of contact.
  Actions OnTick(absl::Time now);
  // Stops one lease, or all: the coordinator does not want it, or the worker ends.
  Actions Stop(Epoch epoch);
  Actions StopAll();

  void OnPhase(Epoch epoch, v1::LeaseState::Phase phase);
  // The lease's step has ended. A stopping lease is forgotten.
  void OnFinished(Epoch epoch, absl::StatusOr<v1::StepResult> result);

  // What the worker reports: all but those that are stopping.
  void Report(v1::SynchronizeRequest& request) const;

  bool empty() const { return leases_.empty(); }
  // Steps under way, stopping ones included.
  int running() const;

 private:
  // Enough to meet any answer that is still on its way.
  static constexpr size_t kForgottenMax = 1024;

  enum class State { kRunning, kStopping, kDone };
  struct Held {
    State state = State::kRunning;
    v1::LeaseState report;
  };

  void Forget(Epoch epoch);

  std::map<Epoch, Held> leases_;
  std::set<Epoch> forgotten_;  // never to be started again
  std::deque<Epoch> forgotten_order_;
  int64_t answered_sequence_ = -1;
  absl::Time last_contact_ = absl::InfiniteFuture();
  absl::Duration lease_ttl_ = absl::Seconds(30);
};

}  // namespace farm

#endif  // FARM_WORKER_LEASE_SET_H_
