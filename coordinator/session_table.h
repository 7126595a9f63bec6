#ifndef FARM_COORDINATOR_SESSION_TABLE_H_
#define FARM_COORDINATOR_SESSION_TABLE_H_

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "coordinator/session.h"

namespace farm {

// All sessions of the coordinator. Owned by the event loop, but for open_sessions() and
// idle_since().
class SessionTable {
 public:
  struct Options {
    int sessions_max = 256;                           // open at once
    absl::Duration attach_grace = absl::Seconds(60);  // open without a watcher
    absl::Duration finished_kept = absl::Minutes(5);  // for a client that comes back
  };

  SessionTable(Options options, Clock& clock) : options_(options), clock_(clock) {}

  // A name for a session that no other has had: "b" and random letters.
  std::string NewId();
  // Takes the session and starts it. RESOURCE_EXHAUSTED if sessions_max are open, UNAVAILABLE once
  // the table is closed: then nothing of the session has happened, and the client may ask the next
  // coordinator.
  absl::Status Start(std::shared_ptr<Session> session);
  // Null if there is none of that id in the domain, or it is forgotten.
  std::shared_ptr<Session> Find(const std::string& domain, const std::string& id) const;
  // Ends sessions that nobody watches, forgets finished ones. Call it about each second.
  void OnTick();
  // Takes no more sessions from now on. Those that are open go on.
  void Close() { closed_ = true; }
  // Closes if nothing was asked of the farm for so long. True if it is closed now.
  bool CloseIfIdle(absl::Duration idle_for);
  void CancelAll(const absl::Status& why);
  // Of all sessions, open and finished.
  Session::LiveBlobs LiveBlobs() const;
  // When the oldest of those that are open was started; InfiniteFuture if none is.
  absl::Time BusySince() const;

  // Safe from any thread.
  int open_sessions() const { return open_; }
  bool closed() const { return closed_; }
  absl::Duration idle() const;
  void Touch();  // Something was asked of the farm.

 private:
  struct Entry {
    std::shared_ptr<Session> session;
    absl::Time started;
    absl::Time since;  // without watchers, or finished
  };

  const Options options_;
  Clock& clock_;
  std::map<std::string, Entry> sessions_;
  std::atomic<int> open_{0};
  std::atomic<bool> closed_{false};
  std::atomic<int64_t> last_use_ns_{0};
};

}  // namespace farm

#endif  // FARM_COORDINATOR_SESSION_TABLE_H_
