#ifndef FARM_CLI_LOCAL_FARM_H_
#define FARM_CLI_LOCAL_FARM_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cli/farm_client.h"

namespace farm {

struct LocalFarmOptions {
  std::string runtime_dir;                // of the socket
  std::string state_dir;                  // index, blobs, layers and logs
  std::vector<std::string> program_dirs;  // where farm-coordinator and farm-worker are; first wins
  std::vector<std::string> config_dirs;   // of local-coordinator.yaml and local-worker.yaml
  absl::Duration start_timeout = absl::Seconds(30);

  // For root /run/farm and /var/lib/farm, else $XDG_RUNTIME_DIR/farm and ~/.local/share/farm; with
  // $FARM_LOCAL_DIR both are in there. Programs: $FARM_PROGRAMS_DIR (several with ':'), beside this
  // program, /usr/libexec/farm, /usr/sbin. FAILED_PRECONDITION if there is no home.
  static absl::StatusOr<LocalFarmOptions> Default();
};

// The farm on this machine that `farm` starts when no other is configured: a coordinator and a
// worker with a unix socket between, left running until idle. Clients that start it at the same
// time agree by a lock file. Each program holds a lock of its own while it lives
// (STATE/coordinator.alive, STATE/worker.alive), so that nobody needs to trust process ids.
class LocalFarm {
 public:
  using Connect =
      std::function<absl::StatusOr<std::unique_ptr<FarmClient>>(const std::string& address)>;
  using Note = std::function<void(absl::string_view line)>;

  LocalFarm(LocalFarmOptions options, Connect connect, Note note);

  std::string address() const;  // "unix:/run/farm/farm.sock"
  // A line for the person, by the Note that the constructor got.
  void Tell(absl::string_view line) const { note_(line); }

  // A client of the running farm, started if need be. A farm of another version that is idle is
  // replaced by ours; one that is stopping is waited for and started again.
  //   UNAVAILABLE        a program ended at start (the message has its last words), or did not get
  //                      ready in time
  //   NOT_FOUND          a program is not installed
  //   PERMISSION_DENIED  the socket or a directory is not ours
  absl::StatusOr<std::unique_ptr<FarmClient>> Ensure();

  // A client if the farm runs, null if it does not.
  absl::StatusOr<std::unique_ptr<FarmClient>> IfRunning();

  // Starts the worker anew if it is gone, killed say, while the coordinator runs and is not about
  // to stop. Else nothing. Errors as of Ensure().
  absl::Status ReplaceLostWorker();

  // Stops both programs once the builds under way are done, and waits until they are gone, or
  // another client has started the farm anew. OK if none ran.
  absl::Status Stop();

 private:
  enum class Program { kCoordinator, kWorker };

  absl::StatusOr<std::unique_ptr<FarmClient>> StartUnderLock();
  absl::StatusOr<std::unique_ptr<FarmClient>> StartCoordinator();
  absl::Status EnsureWorker(FarmClient& client);
  void AwaitEnd(FarmClient& client, const v1::InfoResponse& info);
  bool IsAnotherNow(FarmClient& client, const v1::InfoResponse& info);
  absl::StatusOr<UniqueFd> TakeLock();
  absl::Status MakeDirectories();
  absl::StatusOr<std::string> WriteConfig(Program program);
  // The new process' id.
  absl::StatusOr<int> Spawn(Program program, const std::string& config_path);
  bool IsAlive(Program program) const;
  absl::StatusOr<std::string> FindProgram(absl::string_view name) const;
  absl::Status StartError(Program program, absl::string_view what) const;
  std::string StatePath(Program program, absl::string_view ending) const;

  const LocalFarmOptions options_;
  const Connect connect_;
  const Note note_;
};

// Looks now and then, on a thread of its own, whether the worker of a local farm is still there,
// and replaces it if it is not: who waits for a build would wait for ever. Until it is destroyed.
class LocalWorkerGuard {
 public:
  static constexpr absl::Duration kInterval = absl::Seconds(1);

  explicit LocalWorkerGuard(std::unique_ptr<LocalFarm> farm, absl::Duration interval = kInterval);
  ~LocalWorkerGuard();
  LocalWorkerGuard(const LocalWorkerGuard&) = delete;
  LocalWorkerGuard& operator=(const LocalWorkerGuard&) = delete;

 private:
  void Run();

  const std::unique_ptr<LocalFarm> farm_;
  const absl::Duration interval_;
  Mutex mu_;
  std::condition_variable changed_;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

// What connecting to a unix socket would give now: OK, NOT_FOUND (no socket), UNAVAILABLE (nobody
// listens), PERMISSION_DENIED with the command that gives access.
absl::Status ProbeSocket(const std::string& path);

}  // namespace farm

#endif  // FARM_CLI_LOCAL_FARM_H_
