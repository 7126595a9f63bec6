#ifndef FARM_WORKER_SSH_AGENT_SOCKET_H_
#define FARM_WORKER_SSH_AGENT_SOCKET_H_

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace farm {

// A unix socket that is the ssh agent of a step's command. Requests to list keys or sign are passed
// on, all others refused. For the time of the step: the destructor ends what is under way, closes
// connections and removes the file.
class SshAgentSocket {
 public:
  // More connections wait until one is closed.
  static constexpr size_t kConnectionsMax = 16;
  // Passed on of one step; more are refused.
  static constexpr int kQuestionsMax = 10'000;
  // After a refusal, so that who asks on and on keeps nobody busy.
  static constexpr absl::Duration kRefusalPause = absl::Milliseconds(500);
  // A connection on which nothing is asked for so long is closed.
  static constexpr absl::Duration kIdleMax = absl::Minutes(10);

  struct Options {
    std::string path;  // in a directory that only this program may enter
    mode_t mode = 0600;
    uid_t uid = 0;
    gid_t gid = 0;
  };
  // Has the agent answer a message of its protocol (base/ssh_agent_protocol.h). Called on threads
  // of the socket's; returns soon once `cancel` is used.
  using Ask =
      std::function<absl::StatusOr<std::string>(absl::string_view question, CancelToken& cancel)>;

  static absl::StatusOr<std::unique_ptr<SshAgentSocket>> Open(Options options, Ask ask);
  ~SshAgentSocket();
  SshAgentSocket(const SshAgentSocket&) = delete;
  SshAgentSocket& operator=(const SshAgentSocket&) = delete;

  // The socket's file (O_PATH), to be mounted.
  int fd() const { return file_.get(); }

 private:
  struct Connection {
    UniqueFd fd;
    bool done = false;  // its thread ends, or has
    std::thread thread;
  };

  SshAgentSocket(std::string path, UniqueFd listener, UniqueFd file, Ask ask);

  void Listen();
  // Waits until one connection more may be there; false once the socket is closing.
  bool WaitForRoom();
  void Serve(Connection& connection);
  // The agent's answer, or its refusal.
  std::string AnswerTo(absl::string_view question);

  const std::string path_;
  const UniqueFd listener_;
  const UniqueFd file_;
  const Ask ask_;
  CancelToken closing_;
  std::atomic<int> questions_ = 0;
  std::atomic<bool> has_logged_ = false;

  Mutex mu_;
  std::condition_variable changed_;
  std::list<Connection> connections_ FARM_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace farm

#endif  // FARM_WORKER_SSH_AGENT_SOCKET_H_
