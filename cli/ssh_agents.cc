#include "cli/ssh_agents.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/ssh_agent_protocol.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "cli/build_arguments.h"
#include "cli/exit_code.h"

namespace farm {
namespace {

constexpr size_t kIdBytesMax = 256;
// A person may have to confirm or to touch something. The farm gives up a little later.
constexpr absl::Duration kAnswerMax = absl::Seconds(100);
constexpr absl::Duration kRetryFirst = absl::Milliseconds(100);
constexpr absl::Duration kRetryMax = absl::Seconds(5);

absl::StatusOr<UniqueFd> Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": longer than ",
                                                   sizeof(address.sun_path) - 1,
                                                   " bytes, which no address of a socket is"));
  }
  memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("ssh agent at ", path));
  }
  return fd;
}

absl::StatusOr<bool> IsSocket(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, path);
  return S_ISSOCK(info.st_mode);
}

bool IsWorthAnotherCall(const absl::Status& error) {
  return absl::IsUnavailable(error) || absl::IsDeadlineExceeded(error) ||
         absl::IsResourceExhausted(error);
}

}  // namespace

absl::StatusOr<SshAgentFlag> ParseSshAgentFlag(absl::string_view text) {
  const auto error = [text](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--ssh ", text, ": ", what, " (expected default, ID, ID=SOCKET or ID=KEY[,KEY...])"));
  };
  SshAgentFlag flag;
  const size_t equals = text.find('=');
  flag.id = std::string(text.substr(0, equals));
  const bool is_text =
      std::all_of(flag.id.begin(), flag.id.end(), [](char c) { return absl::ascii_isgraph(c); });
  if (flag.id.empty()) return error("the id is missing");
  if (!is_text || flag.id.size() > kIdBytesMax) return error("the id has bytes that no id has");
  if (equals == absl::string_view::npos) return flag;
  flag.paths = absl::StrSplit(text.substr(equals + 1), ',');
  for (const std::string& path : flag.paths) {
    if (path.empty()) return error("a path is empty");
  }
  return flag;
}

absl::StatusOr<std::unique_ptr<SshAgents>> SshAgents::Open(const std::vector<SshAgentFlag>& flags) {
  auto agents = std::make_unique<SshAgents>();
  for (const SshAgentFlag& flag : flags) {
    const std::string named = absl::StrCat("--ssh ", flag.id);
    Agent& agent = agents->agents_[flag.id];
    if (!agent.socket.empty()) {
      return AsUsageError(
          absl::InvalidArgumentError(absl::StrCat(named, ": the id is given twice")));
    }
    std::vector<std::string> keys;
    if (flag.paths.empty()) {
      const char* path = EnvironmentVariable("SSH_AUTH_SOCK");
      if (path == nullptr || *path == '\0') {
        return AsLocalError(absl::NotFoundError(
            absl::StrCat(named,
                         ": no ssh agent is running, $SSH_AUTH_SOCK is not set (start one: "
                         "eval $(ssh-agent) && ssh-add; or name a key: --ssh ",
                         flag.id, "=FILE)")));
      }
      agent.socket = path;
    }
    for (const std::string& path : flag.paths) {
      ASSIGN_OR_RETURN(const bool is_socket, IsSocket(path), AsLocalError(_ << named));
      if (!is_socket) {
        keys.push_back(path);
      } else if (flag.paths.size() > 1) {
        return AsUsageError(absl::InvalidArgumentError(
            absl::StrCat(named, ": ", path, " is a socket, which must be the only path")));
      } else {
        agent.socket = path;
      }
    }
    if (!keys.empty()) {
      ASSIGN_OR_RETURN(agent.keys, KeyAgent::Start(keys), AsLocalError(_ << named));
      agent.socket = agent.keys->socket();
    }
    // Who forgot to start it learns of it before the build runs.
    RETURN_IF_ERROR(AsLocalError(Connect(agent.socket).status())) << named;
  }
  return agents;
}

std::vector<std::string> SshAgents::ids() const {
  std::vector<std::string> ids;
  for (const auto& [id, agent] : agents_) ids.push_back(id);
  return ids;
}

absl::StatusOr<std::string> SshAgents::Answer(const std::string& id, absl::string_view question,
                                              CancelToken& cancel) const {
  const auto agent = agents_.find(id);
  if (agent == agents_.end()) return absl::NotFoundError(absl::StrCat("no ssh agent ", id));
  if (!IsSshAgentRequestPassedOn(question)) return std::string(SshAgentFailure());
  // A connection each: what one leaves behind in the agent, another does not find.
  ASSIGN_OR_RETURN(const UniqueFd fd, Connect(agent->second.socket));
  const CancelToken::Callback on_cancel(cancel, [&fd] { shutdown(fd.get(), SHUT_RDWR); });
  const absl::Time deadline = absl::Now() + kAnswerMax;
  RETURN_IF_ERROR(SendSshAgentMessage(fd.get(), question, deadline));
  ASSIGN_OR_RETURN(std::optional<std::string> answer, ReceiveSshAgentMessage(fd.get(), deadline));
  if (!answer.has_value()) {
    return absl::UnavailableError(absl::StrCat("ssh agent ", id, " closed the connection"));
  }
  return *std::move(answer);
}

SshAgentServer::SshAgentServer(FarmClient& client, const std::string& build_id,
                               const SshAgents& agents,
                               std::function<void(const std::string& line)> note)
    : client_(client),
      agents_(agents),
      note_(std::move(note)),
      thread_([this, build_id] { Run(build_id); }) {}

SshAgentServer::~SshAgentServer() {
  ending_.Cancel();
  thread_.join();
}

void SshAgentServer::Run(const std::string& build_id) {
  v1::AnswerSshAgentRequest request;
  request.set_build_id(build_id);
  absl::Duration retry = kRetryFirst;
  while (!ending_.cancelled()) {
    const absl::StatusOr<v1::AnswerSshAgentResponse> response =
        client_.AnswerSshAgent(request, ending_);
    if (!response.ok()) {
      if (!IsWorthAnotherCall(response.status())) {
        if (!absl::IsNotFound(response.status()) && !ending_.cancelled()) {
          note_(absl::StrCat("ssh agents are not offered any more: ", response.status().message()));
        }
        return;
      }
      ending_.WaitFor(retry);
      retry = std::min(retry * 2, kRetryMax);
      continue;
    }
    retry = kRetryFirst;
    request.set_number(response->number());
    request.clear_answer();
    if (response->number() == 0) continue;
    absl::StatusOr<std::string> answer =
        agents_.Answer(response->agent(), response->question(), ending_);
    if (!answer.ok()) {
      if (!ending_.cancelled()) note_(std::string(answer.status().message()));
      answer = std::string(SshAgentFailure());
    }
    request.set_answer(*std::move(answer));
  }
}

}  // namespace farm
