#include "worker/ssh_agent_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/ssh_agent_protocol.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// After an error of accept(2) that passes, such as a want of descriptors.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
// For an answer that a command does not read.
constexpr absl::Duration kSendMax = absl::Seconds(30);

// A socket at `path`, which may be longer than an address holds: its directory is named by
// descriptor.
absl::StatusOr<UniqueFd> Bind(const std::string& path) {
  const size_t slash = path.rfind('/');
  FARM_CHECK(slash != std::string::npos) << path;
  const UniqueFd dir(open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return ErrnoStatus(errno, path);
  const std::string name = absl::StrCat("/proc/self/fd/", dir.get(), path.substr(slash));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  FARM_CHECK(name.size() < sizeof(address.sun_path)) << name;
  memcpy(address.sun_path, name.data(), name.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, path);
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SshAgentSocket>> SshAgentSocket::Open(Options options, Ask ask) {
  ASSIGN_OR_RETURN(UniqueFd listener, Bind(options.path));
  // From here on the destructor removes it.
  UniqueFd file(open(options.path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const bool is_open = file.valid() && chown(options.path.c_str(), options.uid, options.gid) == 0 &&
                       chmod(options.path.c_str(), options.mode) == 0 &&
                       listen(listener.get(), kConnectionsMax) == 0;
  if (!is_open) {
    const absl::Status error = ErrnoStatus(errno, options.path);
    unlink(options.path.c_str());
    return error;
  }
  return std::unique_ptr<SshAgentSocket>(new SshAgentSocket(
      std::move(options.path), std::move(listener), std::move(file), std::move(ask)));
}

SshAgentSocket::SshAgentSocket(std::string path, UniqueFd listener, UniqueFd file, Ask ask)
    : path_(std::move(path)),
      listener_(std::move(listener)),
      file_(std::move(file)),
      ask_(std::move(ask)),
      thread_([this] { Listen(); }) {}

SshAgentSocket::~SshAgentSocket() {
  closing_.Cancel();
  shutdown(listener_.get(), SHUT_RDWR);  // Wakes accept(2).
  {
    MutexLock lock(mu_);
    for (Connection& connection : connections_) shutdown(connection.fd.get(), SHUT_RDWR);
  }
  changed_.notify_all();
  thread_.join();  // It adds no more from here on.
  std::list<Connection> connections;
  {
    MutexLock lock(mu_);
    connections.swap(connections_);
  }
  for (Connection& connection : connections) connection.thread.join();
  unlink(path_.c_str());
}

void SshAgentSocket::Listen() {
  while (WaitForRoom()) {
    UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno != EINTR && errno != ECONNABORTED) closing_.WaitFor(kAcceptPause);
      continue;
    }
    MutexLock lock(mu_);
    if (closing_.cancelled()) return;
    Connection& connection = connections_.emplace_back();
    connection.fd = std::move(fd);
    connection.thread = std::thread([this, &connection] { Serve(connection); });
  }
}

bool SshAgentSocket::WaitForRoom() {
  std::list<Connection> ended;
  bool has_room = false;
  while (!has_room) {
    MutexLock lock(mu_);
    for (auto it = connections_.begin(); it != connections_.end();) {
      const auto next = std::next(it);
      if (it->done) ended.splice(ended.end(), connections_, it);
      it = next;
    }
    if (closing_.cancelled()) break;
    has_room = connections_.size() < kConnectionsMax;
    if (!has_room) lock.Wait(changed_);
  }
  for (Connection& connection : ended) connection.thread.join();
  return has_room;
}

std::string SshAgentSocket::AnswerTo(absl::string_view question) {
  if (questions_ < kQuestionsMax) {
    ++questions_;
    absl::StatusOr<std::string> answer = ask_(question, closing_);
    if (answer.ok() && *answer != SshAgentFailure()) return *std::move(answer);
    if (!answer.ok() && !has_logged_.exchange(true)) {
      LogInfo("ssh agent does not answer", {{"error", LogText(answer.status())}});
    }
  }
  closing_.WaitFor(kRefusalPause);
  return std::string(SshAgentFailure());
}

void SshAgentSocket::Serve(Connection& connection) {
  while (true) {
    const absl::StatusOr<std::optional<std::string>> question =
        ReceiveSshAgentMessage(connection.fd.get(), absl::Now() + kIdleMax);
    if (!question.ok() || !question->has_value()) break;
    const std::string answer = IsSshAgentRequestPassedOn(**question)
                                   ? AnswerTo(**question)
                                   : std::string(SshAgentFailure());
    if (closing_.cancelled()) break;  // The step is over: an answer would be none of the agent's.
    if (!SendSshAgentMessage(connection.fd.get(), answer, absl::Now() + kSendMax).ok()) break;
  }
  MutexLock lock(mu_);
  shutdown(connection.fd.get(), SHUT_RDWR);  // The peer learns of it before the thread is joined.
  connection.done = true;
  changed_.notify_all();
}

}  // namespace farm
