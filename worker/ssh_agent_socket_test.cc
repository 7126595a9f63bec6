#include "worker/ssh_agent_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/check.h"
#include "base/ssh_agent_protocol.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "layer/testing/scratch_directory.h"

namespace farm {
namespace {

using ::testing::ElementsAre;

const std::string kList(1, 11);
const std::string kSign = std::string(1, 13) + "data";
const std::string kAddIdentity = std::string(1, 17) + "key";

absl::Time Soon() { return absl::Now() + absl::Minutes(1); }

class SshAgentSocketTest : public ::testing::Test {
 protected:
  std::unique_ptr<SshAgentSocket> Open(SshAgentSocket::Ask ask) {
    auto socket = SshAgentSocket::Open({.path = path_, .mode = 0640}, std::move(ask));
    FARM_CHECK_OK(socket.status());
    return *std::move(socket);
  }
  // An agent that notes what it is asked.
  std::unique_ptr<SshAgentSocket> OpenNoted() {
    return Open([this](absl::string_view question, CancelToken&) -> absl::StatusOr<std::string> {
      asked_.push_back(std::string(question));
      return absl::StrCat("answer to ", question);
    });
  }
  UniqueFd Connect() {
    UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // By its directory's descriptor: a path of a test may be longer than an address.
    const UniqueFd dir = dir_.Open();
    const std::string name = absl::StrCat("/proc/self/fd/", dir.get(), "/agent");
    memcpy(address.sun_path, name.data(), name.size());
    FARM_CHECK(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) ==
               0);
    return fd;
  }
  static std::string Ask(const UniqueFd& fd, const std::string& question) {
    FARM_CHECK_OK(SendSshAgentMessage(fd.get(), question, Soon()));
    return ReceiveSshAgentMessage(fd.get(), Soon()).value().value_or("closed");
  }

  ScratchDirectory dir_;
  const std::string path_ = dir_.At("agent");
  std::vector<std::string> asked_;
};

TEST_F(SshAgentSocketTest, ListingAndSigningArePassedOn) {
  const auto socket = OpenNoted();
  const UniqueFd client = Connect();
  EXPECT_EQ(Ask(client, kList), "answer to " + kList);
  EXPECT_EQ(Ask(client, kSign), "answer to " + kSign);
  EXPECT_THAT(asked_, ElementsAre(kList, kSign));
}

TEST_F(SshAgentSocketTest, WhatWouldChangeTheAgentIsRefusedAndAskedOfNobody) {
  const auto socket = OpenNoted();
  const UniqueFd client = Connect();
  EXPECT_EQ(Ask(client, kAddIdentity), SshAgentFailure());
  EXPECT_EQ(Ask(client, kList), "answer to " + kList) << "the connection goes on";
  EXPECT_THAT(asked_, ElementsAre(kList));
}

TEST_F(SshAgentSocketTest, AnAgentThatDoesNotAnswerRefuses) {
  const auto socket = Open([](absl::string_view, CancelToken&) -> absl::StatusOr<std::string> {
    return absl::UnavailableError("gone");
  });
  EXPECT_EQ(Ask(Connect(), kSign), SshAgentFailure());
}

TEST_F(SshAgentSocketTest, QuestionsOfAStepAreBounded) {
  const auto socket = OpenNoted();
  const UniqueFd client = Connect();
  for (int i = 0; i < SshAgentSocket::kQuestionsMax; ++i) Ask(client, kList);
  EXPECT_EQ(Ask(client, kList), SshAgentFailure());
  EXPECT_EQ(Ask(Connect(), kList), SshAgentFailure());
  EXPECT_EQ(asked_.size(), static_cast<size_t>(SshAgentSocket::kQuestionsMax));
}

TEST_F(SshAgentSocketTest, AMessageThatIsTooLongClosesItsConnectionAlone) {
  const auto socket = OpenNoted();
  const UniqueFd client = Connect();
  ASSERT_EQ(write(client.get(), "\xff\xff\xff\xff", 4), 4);
  EXPECT_EQ(ReceiveSshAgentMessage(client.get(), Soon()).value(), std::nullopt);
  EXPECT_EQ(Ask(Connect(), kList), "answer to " + kList);
}

TEST_F(SshAgentSocketTest, OneConnectionTooManyWaitsUntilOneIsClosed) {
  const auto socket = OpenNoted();
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < SshAgentSocket::kConnectionsMax; ++i) {
    clients.push_back(Connect());
    Ask(clients.back(), kList);  // It is accepted now.
  }
  const UniqueFd late = Connect();
  ASSERT_OK(SendSshAgentMessage(late.get(), kSign, Soon()));
  EXPECT_THAT(ReceiveSshAgentMessage(late.get(), absl::Now() + absl::Milliseconds(50)).status(),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  clients.pop_back();
  EXPECT_EQ(ReceiveSshAgentMessage(late.get(), Soon()).value(), "answer to " + kSign);
}

TEST_F(SshAgentSocketTest, ItsEndCancelsWhatIsAskedAndLeavesNothing) {
  absl::Status seen;
  UniqueFd client;
  {
    CancelToken asked;
    const auto socket =
        Open([&](absl::string_view, CancelToken& cancel) -> absl::StatusOr<std::string> {
          asked.Cancel();
          seen = cancel.WaitFor(absl::Minutes(1)) ? absl::CancelledError("") : absl::OkStatus();
          return seen;
        });
    client = Connect();
    ASSERT_OK(SendSshAgentMessage(client.get(), kSign, Soon()));
    ASSERT_TRUE(asked.WaitFor(absl::Minutes(1)));
  }
  EXPECT_THAT(seen, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(access(path_.c_str(), F_OK), -1);
  EXPECT_EQ(ReceiveSshAgentMessage(client.get(), Soon()).value(), std::nullopt);
}

TEST_F(SshAgentSocketTest, TheFileHasTheModeThatIsAskedFor) {
  const auto socket = OpenNoted();
  struct stat info;
  ASSERT_EQ(fstat(socket->fd(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 07777, 0640u);
}

TEST_F(SshAgentSocketTest, APathLongerThanAnAddressServes) {
  std::string deep = dir_.path();
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&deep, "/", std::string(50, 'd'));
    ASSERT_EQ(mkdir(deep.c_str(), 0755), 0);
  }
  EXPECT_OK(SshAgentSocket::Open({.path = deep + "/agent"}, [](absl::string_view, CancelToken&) {
              return std::string("x");
            }).status());
}

}  // namespace
}  // namespace farm
