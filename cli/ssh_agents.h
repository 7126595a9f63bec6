#ifndef FARM_CLI_SSH_AGENTS_H_
#define FARM_CLI_SSH_AGENTS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel_token.h"
#include "cli/farm_client.h"
#include "cli/key_agent.h"

namespace farm {

// One value of --ssh.
struct SshAgentFlag {
  std::string id;
  std::vector<std::string> paths;  // of one socket, or of keys; none: $SSH_AUTH_SOCK
};

// Reads "ID" or "ID=SOCKET|KEY[,KEY...]". INVALID_ARGUMENT: an empty id or path.
absl::StatusOr<SshAgentFlag> ParseSshAgentFlag(absl::string_view text);

// The ssh agents that a build may ask, for RUN --mount=type=ssh. Safe for concurrent calls.
class SshAgents {
 public:
  // Flags that do not go together are an error of use, what is wrong with sockets and keys is a
  // local one (exit_code.h):
  //   NOT_FOUND    a path is not there, or $SSH_AUTH_SOCK is not set
  //   UNAVAILABLE  nobody listens on a socket
  //   and errors of KeyAgent::Start()
  static absl::StatusOr<std::unique_ptr<SshAgents>> Open(const std::vector<SshAgentFlag>& flags);

  std::vector<std::string> ids() const;

  // What agent `id` answers to a message of its protocol. Only requests to list keys and to sign
  // reach it; the answer to others is that it refuses. Ends early once `cancel` is used.
  //   NOT_FOUND    there is no such agent
  //   and what keeps it from answering
  absl::StatusOr<std::string> Answer(const std::string& id, absl::string_view question,
                                     CancelToken& cancel) const;

 private:
  struct Agent {
    std::string socket;
    std::unique_ptr<KeyAgent> keys;  // whose socket it is; null: the person's own agent
  };

  std::map<std::string, Agent> agents_;
};

// Answers what the steps of one build ask, on a thread of its own, until it is destroyed or the
// build is over. Borrows all.
class SshAgentServer {
 public:
  // `note` is told why an agent did not answer; called on the thread.
  SshAgentServer(FarmClient& client, const std::string& build_id, const SshAgents& agents,
                 std::function<void(const std::string& line)> note);
  ~SshAgentServer();
  SshAgentServer(const SshAgentServer&) = delete;
  SshAgentServer& operator=(const SshAgentServer&) = delete;

 private:
  void Run(const std::string& build_id);

  FarmClient& client_;
  const SshAgents& agents_;
  const std::function<void(const std::string& line)> note_;
  CancelToken ending_;
  std::thread thread_;
};

}  // namespace farm

#endif  // FARM_CLI_SSH_AGENTS_H_
