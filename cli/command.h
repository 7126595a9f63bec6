// What every command of `farm` has in common.
#ifndef FARM_CLI_COMMAND_H_
#define FARM_CLI_COMMAND_H_

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/retried_error.h"
#include "cli/exit_code.h"
#include "cli/farm_client.h"
#include "cli/local_farm.h"

namespace CLI {
class App;
}  // namespace CLI

namespace farm {

// Flags that stand before or after any command.
struct GlobalOptions {
  std::string farm;        // address; "": $FARM_ADDR, the configuration's, the local farm
  std::string config;      // file; "": farm/config.yaml in $XDG_CONFIG_HOME, ~/.config or /etc
  std::string token_file;  // "": the configuration's
};

// Where a command runs: its streams and its farm. Not safe for concurrent calls.
class CommandContext {
 public:
  CommandContext(GlobalOptions global, std::ostream& out, std::ostream& err, Clock& clock);

  std::ostream& out() { return out_; }  // what was asked for
  std::ostream& err() { return err_; }  // everything else
  Clock& clock() { return clock_; }

  // The farm that flags, environment and configuration name; the local farm is started if need be.
  // The same client at each call.
  absl::StatusOr<FarmClient*> Farm();
  // `work(client)` with that client. If the local farm turns out to be stopping (UNAVAILABLE), the
  // farm is started anew and `work` done again, as long as `may_repeat()`.
  template <typename Work>
  auto OnFarm(
      Work work, const std::function<bool()>& may_repeat = [] { return true; })
      -> decltype(work(std::declval<FarmClient&>())) {
    for (int attempt = 1;; ++attempt) {
      const absl::StatusOr<FarmClient*> farm = Farm();
      if (!farm.ok()) return farm.status();
      auto result = work(**farm);
      if (!IsStopped(result) || attempt == kFarmStartsMax || !may_repeat()) return result;
      if (!ForgetLocalFarm()) return result;
    }
  }
  absl::StatusOr<std::unique_ptr<LocalFarm>> MakeLocalFarm();

  // A line for the person, from any thread: to where SetNote() says, else to err().
  void Note(absl::string_view line);
  // While a picture of a build is on the terminal, it alone writes there. Null: err() again. Not
  // while Farm() is under way.
  void SetNote(std::function<void(absl::string_view line)> note);

  // The configuration with what flags and the environment say. If the file names a farm, its token
  // and client certificate are for that one: with another address they are left out. A usage error
  // if the file says something wrong, a local one if it can't be read (cli/exit_code.h).
  absl::StatusOr<v1::ClientConfig> LoadConfig() const;

  // LoadConfig() as it will be used: the local farm's address, if no other is named.
  absl::StatusOr<v1::ClientConfig> EffectiveConfig();

  // For tests.
  void SetFarm(std::unique_ptr<FarmClient> client) {
    client_ = std::move(client);
    is_local_ = false;
  }

  // Prints the error for a person and returns the exit status for it.
  int Fail(const absl::Status& status);

 private:
  // A command that finds the local farm stopping so often gives up.
  static constexpr int kFarmStartsMax = 3;

  // Not if the farm has told of what it could not reach itself, a registry say.
  static bool IsStopped(const absl::Status& status) {
    return absl::IsUnavailable(status) && !WasRetried(status);
  }
  template <typename T>
  static bool IsStopped(const absl::StatusOr<T>& result) {
    return IsStopped(result.status());
  }
  // So that the next Farm() looks anew. False if the client is of another farm.
  bool ForgetLocalFarm();

  // What may be done about an error; "" if nothing is known.
  std::string HintAt(const absl::Status& status) const;

  const GlobalOptions global_;
  std::ostream& out_;
  std::ostream& err_;
  Clock& clock_;
  Mutex note_mu_;
  std::function<void(absl::string_view line)> note_ FARM_GUARDED_BY(note_mu_);
  std::unique_ptr<FarmClient> client_;
  bool is_local_ = false;
  bool is_plain_tcp_ = false;                           // what the client is connected by
  std::vector<std::unique_ptr<FarmClient>> forgotten_;  // others may still hold them
  std::unique_ptr<LocalWorkerGuard> worker_guard_;      // of the local farm; ends before the others
};

// An error as a person reads it: the message; if it is about a line of a file, that line too.
std::string ErrorText(const absl::Status& status);

// What the chosen command does; returns the exit status.
using CommandRunner = std::function<int(CommandContext&)>;

// Each adds commands to `app` that, when they are parsed, set `run`.
void AddBuildCommand(CLI::App& app, CommandRunner& run);
void AddImageCommands(CLI::App& app, CommandRunner& run);
void AddTransferCommands(CLI::App& app, CommandRunner& run);
void AddDockerfileCommands(CLI::App& app, CommandRunner& run);
void AddFarmCommands(CLI::App& app, CommandRunner& run);
void AddCompletionCommand(CLI::App& app, CommandRunner& run);

}  // namespace farm

#endif  // FARM_CLI_COMMAND_H_
