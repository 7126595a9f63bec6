#include "oci/docker_credentials.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/child_process.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "oci/json_reader.h"

extern char** environ;

namespace farm {
namespace {

constexpr char kHubHost[] = "docker.io";
constexpr char kHubServer[] = "https://index.docker.io/v1/";
// What a helper answers as the user name if its secret is an identity token.
constexpr char kTokenUser[] = "<token>";
// How helpers say that they have nothing; it is no failure.
constexpr char kNotFound[] = "credentials not found";

// It becomes part of a program's name.
bool IsHelperName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

absl::StatusOr<std::string> ReadHelperName(const JsonReader& json) {
  ASSIGN_OR_RETURN(std::string name, json.String());
  if (!name.empty() && !IsHelperName(name)) {
    return json.Error("expected the end of a docker-credential program's name");
  }
  return name;
}

// How well a key of "auths" names its host: 0 as docker writes it, then a bare URL, then any other.
// Empty for what `docker login` keeps of the Hub beside its credentials (".../v1/access-token").
std::optional<int> RankOf(absl::string_view server) {
  const std::string host = CanonicalRegistryHost(server);
  if (server == (host == kHubHost ? kHubServer : absl::string_view(host))) return 0;
  absl::string_view rest = server;
  if (!absl::ConsumePrefix(&rest, "https://")) absl::ConsumePrefix(&rest, "http://");
  const size_t slash = rest.find('/');
  const absl::string_view path = slash == absl::string_view::npos ? "" : rest.substr(slash);
  if (path.empty() || path == "/") return 1;
  if (host == kHubHost && path != "/v1/" && path != "/v1") return std::nullopt;
  return 2;
}

// An entry of "auths"; empty if it holds none (a credentials store has it then).
absl::StatusOr<std::optional<RegistryCredential>> ReadAuth(const JsonReader& json) {
  RETURN_IF_ERROR(json.ExpectObject());
  RegistryCredential credential;
  ASSIGN_OR_RETURN(credential.username, json["username"].String());
  ASSIGN_OR_RETURN(credential.password, json["password"].String());
  ASSIGN_OR_RETURN(credential.identity_token, json["identitytoken"].String());
  ASSIGN_OR_RETURN(const std::string auth, json["auth"].String());
  if (!auth.empty()) {
    std::string decoded;
    const bool valid = absl::Base64Unescape(auth, &decoded);
    const size_t colon = decoded.find(':');
    if (!valid || colon == std::string::npos) {
      return json["auth"].Error("expected USER:PASSWORD in base64");
    }
    credential.username = decoded.substr(0, colon);
    credential.password = decoded.substr(colon + 1);
    // Some writers pad with zero bytes.
    while (!credential.password.empty() && credential.password.back() == '\0') {
      credential.password.pop_back();
    }
  }
  if (credential.username.empty() && credential.identity_token.empty()) return std::nullopt;
  return credential;
}

struct ProgramResult {
  int exit_code = 0;
  std::string output;
};

// A started program; killed if it still runs at the end.
class Child {
 public:
  Child(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  ~Child() {
    if (pid_ < 0) return;
    kill(pid_, SIGKILL);
    Reap();
  }

  int pidfd() const { return pidfd_.get(); }

  int Reap() { return ReapChild(std::exchange(pid_, -1)); }

 private:
  pid_t pid_;
  UniqueFd pidfd_;
};

absl::StatusOr<std::unique_ptr<Child>> Spawn(const std::string& program, int stdin_fd,
                                             int stdout_fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, stdin_fd, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, stdout_fd, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::string verb = "get";
  std::string name = program;
  char* argv[] = {name.data(), verb.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, program.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return absl::UnavailableError(ErrnoStatus(error, program).message());
  UniqueFd pidfd(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  auto child = std::make_unique<Child>(pid, std::move(pidfd));
  if (child->pidfd() < 0) return ErrnoStatus(errno, "pidfd_open");
  return child;
}

absl::Status WaitUntilReadable(int fd, absl::Time deadline) {
  pollfd poller = {.fd = fd, .events = POLLIN, .revents = 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  const int ready = poll(&poller, 1, static_cast<int>(std::max<int64_t>(0, left)));
  if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "poll");
  if (ready == 0) return absl::UnavailableError("no answer in time");
  return absl::OkStatus();
}

// Runs `program get` with `input` (shorter than a pipe's buffer) on its standard input.
absl::StatusOr<ProgramResult> RunHelper(const std::string& program, const std::string& input) {
  const absl::Time deadline = absl::Now() + DockerCredentials::kHelperTimeout;
  ASSIGN_OR_RETURN(Pipe in, MakePipe());
  ASSIGN_OR_RETURN(Pipe out, MakePipe());
  // Written before the program starts, so that one which does not read gives no SIGPIPE.
  RETURN_IF_ERROR(FdSink(in.write.get()).Write(input));
  in.write.Reset();
  ASSIGN_OR_RETURN(const std::unique_ptr<Child> child,
                   Spawn(program, in.read.get(), out.write.get()));
  out.write.Reset();

  ProgramResult result;
  char buffer[4096];
  while (true) {
    RETURN_IF_ERROR(WaitUntilReadable(out.read.get(), deadline)) << program;
    const ssize_t bytes = read(out.read.get(), buffer, sizeof(buffer));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes < 0) return ErrnoStatus(errno, program);
    if (bytes == 0) break;
    result.output.append(buffer, bytes);
    if (static_cast<int64_t>(result.output.size()) > DockerCredentials::kHelperOutputBytesMax) {
      return absl::UnavailableError(absl::StrCat(
          program, ": its answer is over ", DockerCredentials::kHelperOutputBytesMax, " bytes"));
    }
  }
  RETURN_IF_ERROR(WaitUntilReadable(child->pidfd(), deadline)) << program;
  result.exit_code = child->Reap();
  return result;
}

absl::StatusOr<std::optional<RegistryCredential>> AskHelper(const std::string& name,
                                                            const std::string& server) {
  const std::string program = absl::StrCat("docker-credential-", name);
  ASSIGN_OR_RETURN(const ProgramResult result, RunHelper(program, server));
  if (result.exit_code != 0) {
    if (absl::StrContains(result.output, kNotFound)) return std::nullopt;
    return absl::UnavailableError(
        absl::StrCat(program, " get: exit code ", result.exit_code, ", asked for ", server));
  }
  ASSIGN_OR_RETURN(const JsonReader json,
                   JsonReader::Parse(result.output, DockerCredentials::kHelperOutputBytesMax,
                                     absl::StrCat("answer of ", program)));
  RETURN_IF_ERROR(json.ExpectObject());
  RegistryCredential credential;
  ASSIGN_OR_RETURN(credential.username, json["Username"].String());
  ASSIGN_OR_RETURN(std::string secret, json["Secret"].String());
  if (credential.username.empty() && secret.empty()) return std::nullopt;
  if (credential.username == kTokenUser) {
    credential.username.clear();
    credential.identity_token = std::move(secret);
  } else {
    credential.password = std::move(secret);
  }
  return credential;
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

absl::StatusOr<DockerCredentials> DockerCredentials::Load() {
  std::string directory = Environment("DOCKER_CONFIG");
  if (directory.empty()) {
    const std::string home = Environment("HOME");
    if (home.empty()) return DockerCredentials();
    directory = absl::StrCat(home, "/.docker");
  }
  return LoadFile(absl::StrCat(directory, "/config.json"));
}

absl::StatusOr<DockerCredentials> DockerCredentials::LoadFile(const std::string& path) {
  const absl::StatusOr<std::string> json = ReadFile(path, kConfigBytesMax);
  if (absl::IsNotFound(json.status())) return DockerCredentials();
  RETURN_IF_ERROR(json.status());
  ASSIGN_OR_RETURN(DockerCredentials credentials, Parse(*json), _ << path);
  return credentials;
}

absl::StatusOr<DockerCredentials> DockerCredentials::Parse(absl::string_view text) {
  DockerCredentials result;
  if (absl::StripAsciiWhitespace(text).empty()) return result;
  ASSIGN_OR_RETURN(const JsonReader json,
                   JsonReader::Parse(text, kConfigBytesMax, "docker's configuration"));
  RETURN_IF_ERROR(json.ExpectObject());
  ASSIGN_OR_RETURN(result.store_, ReadHelperName(json["credsStore"]));
  ASSIGN_OR_RETURN(const auto helpers, json["credHelpers"].Members());
  for (const auto& [server, helper] : helpers) {
    ASSIGN_OR_RETURN(std::string name, ReadHelperName(helper));
    if (!name.empty()) result.helpers_[CanonicalRegistryHost(server)] = std::move(name);
  }
  ASSIGN_OR_RETURN(const auto auths, json["auths"].Members());
  for (const auto& [server, entry] : auths) {
    const std::optional<int> rank = RankOf(server);
    if (!rank.has_value()) continue;
    const auto [known, is_new] = result.auths_.try_emplace(CanonicalRegistryHost(server));
    if (!is_new && known->second.rank <= *rank) continue;
    known->second = {.rank = *rank, .server = server, .credential = std::nullopt};
    ASSIGN_OR_RETURN(known->second.credential, ReadAuth(entry));
  }
  return result;
}

std::set<std::string> DockerCredentials::Hosts() const {
  std::set<std::string> hosts;
  for (const auto& [host, auth] : auths_) hosts.insert(host);
  return hosts;
}

absl::StatusOr<std::optional<RegistryCredential>> DockerCredentials::Find(
    absl::string_view registry_host) const {
  const std::string host = CanonicalRegistryHost(registry_host);
  const auto helper = helpers_.find(host);
  const auto found = auths_.find(host);
  const std::string& program = helper == helpers_.end() ? store_ : helper->second;
  if (!program.empty()) {
    std::string server = found == auths_.end() ? host : found->second.server;
    if (host == kHubHost) server = kHubServer;
    return AskHelper(program, server);
  }
  if (found == auths_.end()) return std::nullopt;
  return found->second.credential;
}

}  // namespace farm
