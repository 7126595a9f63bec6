#include "base/ssh_agent_protocol.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/errno_status.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// Kinds of messages (draft-ietf-sshm-ssh-agent).
constexpr char kFailure = 5;
constexpr char kRequestIdentities = 11;
constexpr char kSignRequest = 13;

constexpr size_t kLengthBytes = 4;
constexpr size_t kPieceBytes = 16 << 10;  // that are received at once

absl::Status CheckSize(size_t size) {
  if (size > 0 && size <= kSshAgentMessageBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a message of ", size,
                                                 " bytes to or from an ssh agent, expected 1 to ",
                                                 kSshAgentMessageBytesMax));
}

absl::Status WaitFor(int fd, short events, absl::Time deadline) {
  for (;;) {
    // At most a day at once, as poll() counts in an int.
    const absl::Duration left = std::min(deadline - absl::Now(), absl::Hours(24));
    if (left <= absl::ZeroDuration()) return absl::DeadlineExceededError("ssh agent: too slow");
    pollfd wanted{.fd = fd, .events = events, .revents = 0};
    const int64_t ms = absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)));
    const int ready = poll(&wanted, 1, static_cast<int>(ms));
    if (ready > 0) return absl::OkStatus();
    if (ready < 0 && errno != EINTR) return ErrnoStatus(errno, "ssh agent");
  }
}

bool IsWorthWaiting(int error) { return error == EINTR || error == EAGAIN; }

// Fewer bytes than asked for: the peer has closed the socket. Memory is taken for what comes, not
// for what is announced.
absl::StatusOr<std::string> ReceiveBytes(int fd, size_t size, absl::Time deadline) {
  std::string bytes;
  size_t received = 0;
  while (received < size) {
    bytes.resize(std::min(size, received + kPieceBytes));
    const ssize_t n = recv(fd, bytes.data() + received, bytes.size() - received, MSG_DONTWAIT);
    if (n == 0) break;
    if (n > 0) {
      received += static_cast<size_t>(n);
    } else if (IsWorthWaiting(errno)) {
      RETURN_IF_ERROR(WaitFor(fd, POLLIN, deadline));
    } else {
      return ErrnoStatus(errno, "ssh agent");
    }
  }
  bytes.resize(received);
  return bytes;
}

}  // namespace

bool IsSshAgentRequestPassedOn(absl::string_view message) {
  if (message.empty()) return false;
  return message[0] == kRequestIdentities || message[0] == kSignRequest;
}

absl::string_view SshAgentFailure() { return {&kFailure, 1}; }

absl::StatusOr<std::optional<std::string>> ReceiveSshAgentMessage(int socket_fd,
                                                                  absl::Time deadline) {
  ASSIGN_OR_RETURN(const std::string length, ReceiveBytes(socket_fd, kLengthBytes, deadline));
  if (length.empty()) return std::nullopt;
  const auto ended = absl::DataLossError("ssh agent: the connection ended within a message");
  if (length.size() < kLengthBytes) return ended;
  size_t size = 0;
  for (const char byte : length) size = size << 8 | static_cast<uint8_t>(byte);
  RETURN_IF_ERROR(CheckSize(size));
  ASSIGN_OR_RETURN(std::string message, ReceiveBytes(socket_fd, size, deadline));
  if (message.size() < size) return ended;
  return message;
}

absl::Status SendSshAgentMessage(int socket_fd, absl::string_view message, absl::Time deadline) {
  RETURN_IF_ERROR(CheckSize(message.size()));
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<char>(message.size() >> shift));
  }
  absl::StrAppend(&bytes, message);
  absl::string_view left = bytes;
  while (!left.empty()) {
    const ssize_t n = send(socket_fd, left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      left.remove_prefix(static_cast<size_t>(n));
    } else if (IsWorthWaiting(errno)) {
      RETURN_IF_ERROR(WaitFor(socket_fd, POLLOUT, deadline));
    } else {
      return ErrnoStatus(errno, "ssh agent");
    }
  }
  return absl::OkStatus();
}

}  // namespace farm
