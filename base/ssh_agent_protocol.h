// What farm knows of the protocol between ssh clients and their agent: messages of a length (four
// bytes, most significant first) and as many bytes, of which the first tells the kind. Each request
// has one answer. No key and no signature is looked into.
#ifndef FARM_BASE_SSH_AGENT_PROTOCOL_H_
#define FARM_BASE_SSH_AGENT_PROTOCOL_H_

#include <cstddef>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace farm {

// Mounts of type ssh of one RUN: each has threads on the worker.
inline constexpr size_t kSshMountsMax = 8;

// Of one message without its length. OpenSSH's own limit.
inline constexpr size_t kSshAgentMessageBytesMax = 256 << 10;

// True for the requests that a step may make: list the keys, sign with one. All others change the
// agent, or are extensions whose meaning is not known here.
bool IsSshAgentRequestPassedOn(absl::string_view message);

// What an agent answers to a request that it does not grant.
absl::string_view SshAgentFailure();

// Receives one message from a socket, without its length. None: the peer has closed it.
//   INVALID_ARGUMENT   a message that is empty, or over kSshAgentMessageBytesMax
//   DATA_LOSS          the socket was closed within a message
//   DEADLINE_EXCEEDED  it is not whole at `deadline`
//   and errors of reading
absl::StatusOr<std::optional<std::string>> ReceiveSshAgentMessage(int socket_fd,
                                                                  absl::Time deadline);

// Sends one message, given without its length. INVALID_ARGUMENT and DEADLINE_EXCEEDED as above, and
// errors of writing.
absl::Status SendSshAgentMessage(int socket_fd, absl::string_view message, absl::Time deadline);

}  // namespace farm

#endif  // FARM_BASE_SSH_AGENT_PROTOCOL_H_
