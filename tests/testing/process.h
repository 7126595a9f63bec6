#ifndef FARM_TESTS_TESTING_PROCESS_H_
#define FARM_TESTS_TESTING_PROCESS_H_

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace farm {

struct CommandResult {
  int exit_code = -1;  // 128 + N if signal N ended it; -1 if it could not be started or timed out
  std::string out;
  std::string err;
  absl::Duration took;

  std::string all() const { return out + err; }
};

struct CommandOptions {
  std::string dir;                         // "" is the test's own
  std::map<std::string, std::string> env;  // beside the test's own
  std::string input;
  absl::Duration timeout = absl::Minutes(5);
};

// Runs a program to its end. What it leaves running keeps neither this call nor its pipes.
CommandResult RunCommand(const std::vector<std::string>& args, const CommandOptions& options = {});

// `sh -c script`.
CommandResult RunShell(const std::string& script, const CommandOptions& options = {});

// True if a program of this name is in PATH.
bool HasProgram(const std::string& name);

// A program that runs until it is destroyed. Its output goes into a file.
class BackgroundProcess {
 public:
  BackgroundProcess() = default;
  BackgroundProcess(const std::vector<std::string>& args, const std::string& log_path,
                    const CommandOptions& options = {});
  ~BackgroundProcess();  // SIGTERM, and SIGKILL if that takes more than 10 s.
  BackgroundProcess(BackgroundProcess&& other) noexcept;
  BackgroundProcess& operator=(BackgroundProcess&& other) noexcept;

  pid_t pid() const { return pid_; }
  bool running();
  void Kill(int signal);  // and reaps it
  void Stop();

 private:
  pid_t pid_ = -1;
};

// Calls `ready` until it is true, with short pauses. False after `timeout`.
template <typename Ready>
bool WaitUntil(Ready ready, absl::Duration timeout = absl::Seconds(30));

// A directory of the test's own, removed at the end.
class ScratchDir {
 public:
  ScratchDir();
  ~ScratchDir();
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file below, with the directories that lead to it. Returns its path.
  std::string Write(const std::string& name, const std::string& content, int mode = 0644) const;

 private:
  std::string path_;
};

// A TCP port of loopback that was free a moment ago.
int FreePort();

void PauseBriefly();

template <typename Ready>
bool WaitUntil(Ready ready, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!ready()) {
    if (absl::Now() > deadline) return false;
    PauseBriefly();
  }
  return true;
}

}  // namespace farm

#endif  // FARM_TESTS_TESTING_PROCESS_H_
