#include "base/ssh_agent_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

#include "absl/time/clock.h"
#include "base/check.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

using ::testing::Eq;
using ::testing::Optional;

class SshAgentProtocolTest : public ::testing::Test {
 protected:
  SshAgentProtocolTest() {
    int ends[2];
    FARM_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ours_.Reset(ends[0]);
    peers_.Reset(ends[1]);
  }

  void PeerWrites(const std::string& bytes) {
    FARM_CHECK(write(peers_.get(), bytes.data(), bytes.size()) ==
               static_cast<ssize_t>(bytes.size()));
  }
  absl::StatusOr<std::optional<std::string>> Receive(absl::Duration patience = absl::Minutes(1)) {
    return ReceiveSshAgentMessage(ours_.get(), absl::Now() + patience);
  }

  UniqueFd ours_, peers_;
};

TEST_F(SshAgentProtocolTest, AMessageIsReceivedByItsLengthAndTheNextAfterIt) {
  PeerWrites(std::string("\0\0\0\3abc\0\0\0\1d", 12));
  EXPECT_THAT(Receive(), IsOkAndHolds(Optional(std::string("abc"))));
  EXPECT_THAT(Receive(), IsOkAndHolds(Optional(std::string("d"))));
}

TEST_F(SshAgentProtocolTest, AMessageMayComeInPieces) {
  std::thread peer([&] {
    for (const char byte : std::string("\0\0\0\2ab", 6)) PeerWrites(std::string(1, byte));
  });
  EXPECT_THAT(Receive(), IsOkAndHolds(Optional(std::string("ab"))));
  peer.join();
}

TEST_F(SshAgentProtocolTest, ThePeersEndIsNoMessageAndWithinOneAnError) {
  PeerWrites(std::string("\0\0\0\2a", 5));
  peers_.Reset();
  EXPECT_THAT(Receive(), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Receive(), IsOkAndHolds(Eq(std::nullopt)));
}

TEST_F(SshAgentProtocolTest, AMessageOfNoOrTooManyBytesIsRefusedByItsLengthAlone) {
  PeerWrites(std::string("\0\0\0\0", 4));
  EXPECT_THAT(Receive(), StatusIs(absl::StatusCode::kInvalidArgument));
  PeerWrites(std::string("\0\4\0\1", 4));  // One more than there may be.
  EXPECT_THAT(Receive(), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(SendSshAgentMessage(ours_.get(), std::string(kSshAgentMessageBytesMax + 1, 'x'),
                                  absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SshAgentProtocolTest, ASilentPeerIsWaitedForUntilTheDeadline) {
  PeerWrites(std::string("\0\0", 2));
  EXPECT_THAT(Receive(absl::Milliseconds(20)), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST_F(SshAgentProtocolTest, TheLargestMessageArrivesAsItWasSent) {
  const std::string message(kSshAgentMessageBytesMax, 'x');
  std::thread peer([&] {
    EXPECT_OK(SendSshAgentMessage(peers_.get(), message, absl::Now() + absl::Minutes(1)));
  });
  EXPECT_THAT(Receive(), IsOkAndHolds(Optional(message)));
  peer.join();
}

TEST_F(SshAgentProtocolTest, OnlyListingAndSigningArePassedOn) {
  for (int kind = 0; kind < 256; ++kind) {
    const std::string message(1, static_cast<char>(kind));
    EXPECT_EQ(IsSshAgentRequestPassedOn(message), kind == 11 || kind == 13) << kind;
  }
  EXPECT_FALSE(IsSshAgentRequestPassedOn(""));
}

}  // namespace
}  // namespace farm
