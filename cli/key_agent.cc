#include "cli/key_agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/child_process.h"
#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// Ends the agent once standard input, of which this process has the other end, is closed. The first
// line of its output comes when it listens.
constexpr char kAgentScript[] =
    "ssh-agent -D -a \"$1\" </dev/null & agent=$!; cat >/dev/null; kill $agent; wait $agent";
constexpr int kStartMs = 10'000;
constexpr size_t kWordsBytesMax = 4096;

bool IsInstalled(const std::string& program) {
  const char* path = getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t colon = rest.find(':');
    if (access(absl::StrCat(rest.substr(0, colon), "/", program).c_str(), X_OK) == 0) return true;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return false;
}

absl::StatusOr<UniqueFd> NewWords() {
  UniqueFd fd(memfd_create("ssh-words", MFD_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "memfd_create");
  return fd;
}

std::string WordsIn(int fd) {
  std::string words(kWordsBytesMax, 0);
  words.resize(static_cast<size_t>(std::max<ssize_t>(0, pread(fd, words.data(), words.size(), 0))));
  return std::string(absl::StripAsciiWhitespace(words));
}

// In a session of its own, without the terminal: it can ask nobody for a passphrase, and Ctrl-C is
// for the build to hear, which then ends it.
absl::StatusOr<pid_t> Spawn(std::vector<std::string> args, std::vector<std::string> env,
                            const UniqueFd& in, const UniqueFd& out, const UniqueFd& err) {
  std::vector<char*> arg_pointers, env_pointers;
  for (std::string& arg : args) arg_pointers.push_back(arg.data());
  arg_pointers.push_back(nullptr);
  for (std::string& variable : env) env_pointers.push_back(variable.data());
  env_pointers.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, err.get(), 2);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigmask(&attributes, &none);
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, args[0].c_str(), &actions, &attributes, arg_pointers.data(),
                                 env_pointers.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, args[0]);
  return pid;
}

// Nothing of this process' environment but where programs are: no agent of the person's, and
// nothing that would ask for a passphrase.
std::vector<std::string> CleanEnvironment() {
  const char* path = getenv("PATH");
  return {absl::StrCat("PATH=", path == nullptr ? "" : path), "LC_ALL=C",
          "SSH_ASKPASS_REQUIRE=never"};
}

}  // namespace

absl::StatusOr<std::unique_ptr<KeyAgent>> KeyAgent::Start(
    const std::vector<std::string>& key_files) {
  for (const char* program : {"ssh-agent", "ssh-add"}) {
    if (!IsInstalled(program)) {
      return absl::NotFoundError(absl::StrCat(
          "keys from files need the program ", program,
          " (package openssh-client); or add them to an agent that runs, and name its socket"));
    }
  }
  const char* runtime_dir = getenv("XDG_RUNTIME_DIR");
  const bool is_usable = runtime_dir != nullptr && access(runtime_dir, W_OK) == 0;
  std::string directory = absl::StrCat(is_usable ? runtime_dir : "/tmp", "/farm-ssh-XXXXXX");
  if (mkdtemp(directory.data()) == nullptr) return ErrnoStatus(errno, directory);
  auto agent = std::unique_ptr<KeyAgent>(new KeyAgent(std::move(directory)));
  RETURN_IF_ERROR(agent->Run());
  for (const std::string& file : key_files) RETURN_IF_ERROR(agent->AddKey(file)) << file;
  return agent;
}

KeyAgent::~KeyAgent() {
  lifeline_.Reset();
  if (pid_ > 0) ReapChild(pid_);
}

absl::Status KeyAgent::Run() {
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  ASSIGN_OR_RETURN(const UniqueFd words, NewWords());
  ASSIGN_OR_RETURN(pid_, Spawn({"sh", "-c", kAgentScript, "sh", socket()}, CleanEnvironment(),
                               in.read, out.write, words));
  lifeline_ = std::move(in.write);
  out.write.Reset();
  pollfd ready{.fd = out.read.get(), .events = POLLIN, .revents = 0};
  char first = 0;
  int polled;
  do {
    polled = poll(&ready, 1, kStartMs);
  } while (polled < 0 && errno == EINTR);
  if (polled > 0 && read(out.read.get(), &first, 1) == 1) return absl::OkStatus();
  const std::string said = WordsIn(words.get());
  return absl::UnavailableError(
      absl::StrCat("ssh-agent does not start", said.empty() ? "" : ": ", said));
}

absl::Status KeyAgent::AddKey(const std::string& file) {
  ASSIGN_OR_RETURN(const std::string key, ReadFile(file, kKeyBytesMax));
  // Through a pipe: ssh-add wants files to have certain modes.
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(const UniqueFd words, NewWords());
  std::vector<std::string> env = CleanEnvironment();
  env.push_back(absl::StrCat("SSH_AUTH_SOCK=", socket()));
  ASSIGN_OR_RETURN(const pid_t pid, Spawn({"ssh-add", "-q", "-"}, env, in.read, words, words));
  in.read.Reset();
  // It may end before it has read all: the exit code tells why.
  FdSink(in.write.get()).Write(key).IgnoreError();
  in.write.Reset();
  if (ReapChild(pid) == 0) return absl::OkStatus();
  const std::string said = WordsIn(words.get());
  if (absl::StrContains(key, "PRIVATE KEY-----") && !absl::StrContains(said, "Error loading key")) {
    return absl::InvalidArgumentError(
        "the key has a passphrase, which a build asks nobody for; add it to an agent by ssh-add, "
        "and "
        "name the agent's socket or leave it to $SSH_AUTH_SOCK");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("is no private key that ssh-add takes", said.empty() ? "" : ": ", said));
}

}  // namespace farm
