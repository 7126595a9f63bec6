#include "cli/ssh_agents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/mutex.h"
#include "base/ssh_agent_protocol.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "cli/testing/fake_farm_client.h"
#include "tests/testing/process.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const std::string kList(1, 11);
const std::string kRemoveAll(1, 19);

// An agent that answers "answer to QUESTION", and notes what it is asked.
class FakeAgent {
 public:
  explicit FakeAgent(const std::string& path)
      : listener_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    FARM_CHECK(path.size() < sizeof(address.sun_path));
    memcpy(address.sun_path, path.data(), path.size());
    FARM_CHECK(
        bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    FARM_CHECK(listen(listener_.get(), 8) == 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeAgent() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::vector<std::string> asked() {
    MutexLock lock(mu_);
    return asked_;
  }

 private:
  void Serve() {
    while (true) {
      const UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.valid()) return;
      while (true) {
        const auto question = ReceiveSshAgentMessage(fd.get(), absl::InfiniteFuture());
        if (!question.ok() || !question->has_value()) break;
        {
          MutexLock lock(mu_);
          asked_.push_back(**question);
        }
        if (**question ==
            "\x0b"
            "hang up")
          break;
        SendSshAgentMessage(fd.get(), "answer to " + **question, absl::InfiniteFuture())
            .IgnoreError();
      }
    }
  }

  const UniqueFd listener_;
  Mutex mu_;
  std::vector<std::string> asked_ FARM_GUARDED_BY(mu_);
  std::thread thread_;
};

class SshAgentsTest : public ::testing::Test {
 protected:
  SshAgentsTest() { unsetenv("SSH_AUTH_SOCK"); }

  static absl::StatusOr<std::unique_ptr<SshAgents>> Open(const std::vector<std::string>& texts) {
    std::vector<SshAgentFlag> flags;
    for (const std::string& text : texts) flags.push_back(ParseSshAgentFlag(text).value());
    return SshAgents::Open(flags);
  }
  // A key made by ssh-keygen.
  std::string NewKey(const std::string& name, const std::string& passphrase = "") {
    const std::string path = dir_ / name;
    const CommandResult made =
        RunCommand({"ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", name, "-f", path});
    EXPECT_EQ(made.exit_code, 0) << made.all();
    return path;
  }

  ScratchDir dir_;
  CancelToken never_;
};

TEST_F(SshAgentsTest, AFlagNamesAnIdAndASocketOrKeys) {
  EXPECT_THAT(ParseSshAgentFlag("default")->paths, IsEmpty());
  EXPECT_EQ(ParseSshAgentFlag("github=/a,/b=c")->id, "github");
  EXPECT_THAT(ParseSshAgentFlag("github=/a,/b=c")->paths, ElementsAre("/a", "/b=c"));
  for (const char* wrong : {"", "=x", "a=", "a=x,", "a b", "a\xff"}) {
    EXPECT_THAT(ParseSshAgentFlag(wrong).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("expected default")))
        << wrong;
  }
}

TEST_F(SshAgentsTest, TheDefaultAgentIsThatOfTheEnvironment) {
  FakeAgent agent(dir_ / "agent");
  setenv("SSH_AUTH_SOCK", (dir_ / "agent").c_str(), 1);
  const auto agents = Open({"default"});
  ASSERT_OK(agents.status());
  EXPECT_THAT((*agents)->ids(), ElementsAre("default"));
  EXPECT_THAT((*agents)->Answer("default", kList, never_), IsOkAndHolds("answer to " + kList));
  EXPECT_THAT((*agents)->Answer("other", kList, never_), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(SshAgentsTest, WhatWouldChangeTheAgentDoesNotReachIt) {
  FakeAgent agent(dir_ / "agent");
  const auto agents = Open({"a=" + (dir_ / "agent")});
  ASSERT_OK(agents.status());
  EXPECT_THAT((*agents)->Answer("a", kRemoveAll, never_),
              IsOkAndHolds(std::string(SshAgentFailure())));
  EXPECT_THAT(agent.asked(), IsEmpty());
}

TEST_F(SshAgentsTest, AnAgentThatIsNotThereIsALocalErrorThatSaysWhatToDo) {
  const absl::Status unset = Open({"default"}).status();
  EXPECT_TRUE(IsLocalError(unset));
  EXPECT_THAT(unset.message(),
              AllOf(HasSubstr("--ssh default"), HasSubstr("$SSH_AUTH_SOCK"), HasSubstr("ssh-add")));
  const absl::Status missing = Open({"a=/no/such"}).status();
  EXPECT_TRUE(IsLocalError(missing));
  EXPECT_THAT(missing.message(), HasSubstr("--ssh a: /no/such"));
  { FakeAgent agent(dir_ / "dead"); }
  const absl::Status dead = Open({"a=" + (dir_ / "dead")}).status();
  EXPECT_TRUE(IsLocalError(dead));
  EXPECT_THAT(dead.message(), HasSubstr("Connection refused"));
}

TEST_F(SshAgentsTest, FlagsThatDoNotGoTogetherAreAnErrorOfUse) {
  FakeAgent agent(dir_ / "agent");
  const std::string key = dir_.Write("key", "x");
  EXPECT_EQ(ExitCodeFor(Open({absl::StrCat("a=", key, ",", dir_ / "agent")}).status()), kExitUsage);
  EXPECT_EQ(ExitCodeFor(Open({"a=" + (dir_ / "agent"), "a=" + (dir_ / "agent")}).status()),
            kExitUsage);
}

TEST_F(SshAgentsTest, AnAgentThatHangsUpIsAnError) {
  FakeAgent agent(dir_ / "agent");
  const auto agents = Open({"a=" + (dir_ / "agent")});
  ASSERT_OK(agents.status());
  EXPECT_THAT((*agents)->Answer("a",
                                "\x0b"
                                "hang up",
                                never_),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(SshAgentsTest, KeysFromFilesHaveAnAgentThatEndsWithTheBuild) {
  if (!HasProgram("ssh-agent")) GTEST_SKIP() << "no OpenSSH";
  setenv("XDG_RUNTIME_DIR", dir_.path().c_str(), 1);
  {
    const auto agents = Open({absl::StrCat("a=", NewKey("one"), ",", NewKey("two"))});
    ASSERT_OK(agents.status());
    const std::string listed = (*agents)->Answer("a", kList, never_).value();
    // Kind 12, then the number of keys.
    EXPECT_EQ(listed.substr(0, 5), std::string("\x0c\0\0\0\2", 5));
    EXPECT_THAT(listed, AllOf(HasSubstr("one"), HasSubstr("two")));
    EXPECT_EQ(RunShell(absl::StrCat("ls ", dir_.path(), " | grep -c farm-ssh")).out, "1\n");
  }
  EXPECT_EQ(RunShell(absl::StrCat("ls ", dir_.path(), " | grep -c farm-ssh")).out, "0\n");
  EXPECT_THAT(RunCommand({"ps", "axww", "-o", "args"}).out, Not(HasSubstr(dir_.path())));
}

TEST_F(SshAgentsTest, AKeyWithAPassphraseIsRefusedAndNobodyAskedForIt) {
  if (!HasProgram("ssh-agent")) GTEST_SKIP() << "no OpenSSH";
  const absl::Status status = Open({"a=" + NewKey("locked", "secret")}).status();
  EXPECT_TRUE(IsLocalError(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("locked"), HasSubstr("passphrase")));
}

TEST_F(SshAgentsTest, AFileThatIsNoKeyIsRefusedByName) {
  if (!HasProgram("ssh-agent")) GTEST_SKIP() << "no OpenSSH";
  const absl::Status status = Open({"a=" + dir_.Write("notes", "no key\n")}).status();
  EXPECT_TRUE(IsLocalError(status));
  EXPECT_THAT(status.message(), AllOf(HasSubstr("notes"), HasSubstr("no private key")));
}

TEST_F(SshAgentsTest, KeysWithoutOpensshSayWhatIsMissing) {
  const std::string key = dir_.Write("key", "x");
  const std::string path = getenv("PATH");
  setenv("PATH", dir_.path().c_str(), 1);
  const absl::Status status = Open({"a=" + key}).status();
  setenv("PATH", path.c_str(), 1);
  EXPECT_TRUE(IsLocalError(status));
  EXPECT_THAT(status.message(), HasSubstr("openssh-client"));
}

// What the farm is told, and what it asks.
class SshAgentServerTest : public SshAgentsTest {
 protected:
  void Serve() {
    FakeAgent agent(dir_ / "agent");
    const auto agents = Open({"a=" + (dir_ / "agent")});
    ASSERT_OK(agents.status());
    CancelToken done;
    farm_.on_ssh_agent = [&](const v1::AnswerSshAgentRequest& request,
                             CancelToken&) -> absl::StatusOr<v1::AnswerSshAgentResponse> {
      EXPECT_EQ(request.build_id(), "b1");
      told_.push_back(absl::StrCat(request.number(), " ", request.answer()));
      if (script_.empty()) {
        done.Cancel();
        return absl::NotFoundError("over");
      }
      const auto next = script_.front();
      script_.erase(script_.begin());
      return next;
    };
    const SshAgentServer server(farm_, "b1", **agents,
                                [this](const std::string& line) { notes_.push_back(line); });
    EXPECT_TRUE(done.WaitFor(absl::Minutes(1)));
  }
  static v1::AnswerSshAgentResponse Question(int64_t number, const std::string& text) {
    v1::AnswerSshAgentResponse response;
    response.set_number(number);
    response.set_agent("a");
    response.set_question(text);
    return response;
  }

  FakeFarmClient farm_;
  std::vector<absl::StatusOr<v1::AnswerSshAgentResponse>> script_;
  std::vector<std::string> told_;
  std::vector<std::string> notes_;
};

TEST_F(SshAgentServerTest, AnswersWhatIsAskedUntilTheBuildIsOver) {
  script_ = {v1::AnswerSshAgentResponse(), Question(1, kList), Question(2, kList + "x")};
  Serve();
  EXPECT_THAT(told_, ElementsAre("0 ", "0 ", "1 answer to " + kList, "2 answer to " + kList + "x"));
  EXPECT_THAT(notes_, IsEmpty());
}

TEST_F(SshAgentServerTest, AnAnswerThatMayBeLostIsGivenAgain) {
  script_ = {Question(1, kList), absl::UnavailableError("lost")};
  Serve();
  EXPECT_THAT(told_, ElementsAre("0 ", "1 answer to " + kList, "1 answer to " + kList));
}

TEST_F(SshAgentServerTest, AnAgentThatDoesNotAnswerRefusesAndThePersonIsTold) {
  script_ = {Question(1,
                      "\x0b"
                      "hang up")};
  Serve();
  EXPECT_THAT(told_, ElementsAre("0 ", absl::StrCat("1 ", SshAgentFailure())));
  EXPECT_THAT(notes_, ElementsAre(HasSubstr("ssh agent a closed the connection")));
}

}  // namespace
}  // namespace farm
