#include "worker/git_command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/child_process.h"
#include "base/errno_status.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr int kLookMilliseconds = 100;  // How soon a wish to stop is seen.
constexpr size_t kErrorBytesMax = 16 << 10;
constexpr int kExitNotFound = 127;  // Of a shell.
constexpr int64_t kUlimitBlockBytes = 512;

// The limits hold for all that git starts, before it has started anything. Memory: 8 GiB, in KiB.
constexpr char kScript[] = "umask 022 && ulimit -f \"$0\" && ulimit -v 8388608 && exec git \"$@\"";

// Since then http.curloptResolve is known, by which git gets to the address that was checked.
constexpr int kGitMajorMin = 2, kGitMinorMin = 37;

constexpr std::pair<const char*, const char*> kConfig[] = {
    {"core.hooksPath", "/dev/null"},
    {"core.fsmonitor", "false"},
    {"core.logAllRefUpdates", "false"},
    {"core.autocrlf", "false"},
    // Packs are not mapped whole, which would take from its memory.
    {"core.packedGitWindowSize", "32m"},
    {"core.packedGitLimit", "512m"},
    {"credential.helper", ""},
    {"gc.auto", "0"},
    {"maintenance.auto", "false"},
    {"advice.detachedHead", "false"},
    {"init.defaultBranch", "master"},
    {"protocol.allow", "never"},
    {"protocol.http.allow", "always"},
    {"protocol.https.allow", "always"},
    // Neither elsewhere by a redirect, nor by what a repository says of where more of it is.
    {"http.followRedirects", "false"},
    {"transfer.bundleURI", "false"},
    {"http.lowSpeedLimit", "16"},
    {"http.lowSpeedTime", "60"},
    {"submodule.recurse", "false"},
};

constexpr const char* kPassedOn[] = {"PATH",      "http_proxy", "https_proxy", "HTTPS_PROXY",
                                     "all_proxy", "ALL_PROXY",  "no_proxy",    "NO_PROXY"};

std::vector<std::string> Environment(const GitOptions& options) {
  std::vector<std::string> env = {
      "HOME=/dev/null",
      "GIT_CONFIG_NOSYSTEM=1",
      "GIT_CONFIG_GLOBAL=/dev/null",
      "GIT_ATTR_NOSYSTEM=1",
      "GIT_TERMINAL_PROMPT=0",
      "GIT_ASKPASS=/bin/false",
      "GIT_OPTIONAL_LOCKS=0",
      "GIT_LFS_SKIP_SMUDGE=1",
      "GIT_LITERAL_PATHSPECS=1",
      "GIT_ALLOW_PROTOCOL=http:https",
      "GIT_NO_REPLACE_OBJECTS=1",
      "LC_ALL=C",
  };
  for (const char* name : kPassedOn) {
    if (const char* value = std::getenv(name); value != nullptr) {
      env.push_back(absl::StrCat(name, "=", value));
    }
  }
  if (!options.ca_file.empty()) env.push_back(absl::StrCat("GIT_SSL_CAINFO=", options.ca_file));
  int count = 0;
  const auto add = [&](absl::string_view key, absl::string_view value) {
    env.push_back(absl::StrCat("GIT_CONFIG_KEY_", count, "=", key));
    env.push_back(absl::StrCat("GIT_CONFIG_VALUE_", count, "=", value));
    ++count;
  };
  for (const auto& [key, value] : kConfig) add(key, value);
  for (const auto& [key, value] : options.config) add(key, value);
  env.push_back(absl::StrCat("GIT_CONFIG_COUNT=", count));
  return env;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// A program and all that it started, in a process group of its own; killed with this.
class Group {
 public:
  explicit Group(pid_t pid) : pid_(pid) {}
  ~Group() {
    if (pid_ > 0) Reap();
  }
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Ends what still runs, unless it has Ended(). The exit status as a shell gives it.
  int Reap() {
    // Until it is reaped, the group's number is still its own.
    if (!ended_) kill(-pid_, SIGKILL);
    return ReapChild(std::exchange(pid_, -1));
  }
  // Its output has ended: it ends by itself.
  void Ended() { ended_ = true; }

 private:
  pid_t pid_;
  bool ended_ = false;
};

absl::StatusOr<pid_t> Spawn(std::vector<std::string> args, const GitOptions& options, int out,
                            int err) {
  std::vector<std::string> argv = {"sh", "-c", kScript,
                                   absl::StrCat(options.file_bytes_max / kUlimitBlockBytes)};
  argv.insert(argv.end(), args.begin(), args.end());
  std::vector<std::string> env = Environment(options);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
  // Also what libraries opened, as nftables' socket, which keeps the rules.
  posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // What this program blocks and ignores must not be so for others.
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error = posix_spawn(&pid, "/bin/sh", &actions, &attributes, Pointers(argv).data(),
                                Pointers(env).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "/bin/sh");
  return pid;
}

// Reads what is there. False at the end.
absl::StatusOr<bool> ReadSome(int fd, std::string& text) {
  char buffer[64 << 10];
  const ssize_t got = read(fd, buffer, sizeof(buffer));
  if (got < 0) return errno == EINTR ? absl::StatusOr<bool>(true) : ErrnoStatus(errno, "git");
  text.append(buffer, static_cast<size_t>(got));
  return got > 0;
}

// The line that tells most: the last "fatal:", else the last one.
std::string LastError(absl::string_view text) {
  std::string last;
  for (const absl::string_view line : absl::StrSplit(text, absl::ByAnyChar("\n\r"))) {
    const absl::string_view stripped = absl::StripAsciiWhitespace(line);
    if (stripped.empty()) continue;
    if (absl::StartsWith(last, "fatal:") && !absl::StartsWith(stripped, "fatal:")) continue;
    last = std::string(stripped);
  }
  return RedactUrls(last);
}

// All output of a program that runs, until both pipes end.
absl::Status Collect(Pipe& out, Pipe& err, const GitOptions& options, std::string& printed,
                     std::string& errors) {
  while (out.read.valid() || err.read.valid()) {
    if (options.cancel.cancelled()) return absl::CancelledError("git was stopped");
    if (absl::Now() >= options.deadline) return absl::DeadlineExceededError("git took too long");
    pollfd polled[] = {{.fd = out.read.get(), .events = POLLIN, .revents = 0},
                       {.fd = err.read.get(), .events = POLLIN, .revents = 0}};
    if (poll(polled, 2, kLookMilliseconds) < 0 && errno != EINTR) return ErrnoStatus(errno, "poll");
    if (polled[0].revents != 0) {
      ASSIGN_OR_RETURN(const bool more, ReadSome(out.read.get(), printed));
      if (!more) out.read.Reset();
    }
    if (polled[1].revents != 0) {
      ASSIGN_OR_RETURN(const bool more, ReadSome(err.read.get(), errors));
      if (!more) err.read.Reset();
      if (errors.size() > kErrorBytesMax) errors.erase(0, errors.size() - kErrorBytesMax);
    }
    if (static_cast<int64_t>(printed.size()) > kGitOutputBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("git prints more than ", kGitOutputBytesMax, " bytes"));
    }
  }
  return absl::OkStatus();
}

// Of what `git version` prints: "git version 2.39.5".
absl::Status CheckVersion(absl::string_view printed) {
  absl::ConsumePrefix(&printed, "git version ");
  const absl::string_view version = absl::StripAsciiWhitespace(printed);
  const std::vector<absl::string_view> numbers = absl::StrSplit(version, '.');
  int major = 0, minor = 0;
  if (numbers.size() >= 2 && absl::SimpleAtoi(numbers[0], &major) &&
      absl::SimpleAtoi(numbers[1], &minor) &&
      std::pair(major, minor) >= std::pair(kGitMajorMin, kGitMinorMin)) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("the worker's git is ", version, ", at least ",
                                             kGitMajorMin, ".", kGitMinorMin, " is needed"));
}

absl::StatusOr<std::string> Run(const std::vector<std::string>& args, const GitOptions& options) {
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(Pipe err, MakePipe());
  ASSIGN_OR_RETURN(const pid_t pid, Spawn(args, options, out.write.get(), err.write.get()));
  Group group(pid);
  out.write.Reset();
  err.write.Reset();
  std::string printed, errors;
  RETURN_IF_ERROR(Collect(out, err, options, printed, errors));
  group.Ended();
  const int exit_code = group.Reap();
  if (exit_code == 0) return printed;
  if (exit_code == kExitNotFound) {
    return absl::UnavailableError(
        "the worker has no program git: install the package git on its host");
  }
  // Of git itself, or of what it ran.
  if (exit_code == 128 + SIGXFSZ ||
      absl::StrContains(errors, absl::StrCat("died of signal ", SIGXFSZ))) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is over sources.bytes_max = ", options.file_bytes_max, " bytes"));
  }
  const std::string said = LastError(errors);
  return absl::InvalidArgumentError(
      said.empty() ? absl::StrCat("git ", args[0], " ends with ", exit_code) : said);
}

}  // namespace

absl::StatusOr<std::string> RunGit(const std::vector<std::string>& args,
                                   const GitOptions& options) {
  static std::atomic<bool> is_new_enough = false;
  if (!is_new_enough) {
    ASSIGN_OR_RETURN(const std::string version, Run({"version"}, options));
    RETURN_IF_ERROR(CheckVersion(version));
    is_new_enough = true;
  }
  return Run(args, options);
}

}  // namespace farm
