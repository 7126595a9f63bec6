// RUN --mount=type=ssh on a real local farm, with OpenSSH's agent, under the farm's own sandbox and
// under an OCI runtime.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/runtime_test.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SshTest : public RuntimeTest {
 protected:
  void SetUp() override {
    RuntimeTest::SetUp();
    if (IsSkipped()) return;
    if (!HasProgram("ssh-agent")) GTEST_SKIP() << "no ssh-agent";
    context_.Write("ask", ReadFile("tests/testing/ask-ssh-agent", 64 << 20).value(), 0755);
    key_ = MakeKey("key");
    agent_ = BackgroundProcess({"ssh-agent", "-D", "-a", socket()}, dir_ / "agent.log");
    ASSERT_TRUE(WaitUntil([this] { return Add(key_).exit_code == 0; }));
  }
  std::string socket() const { return dir_ / "agent"; }
  CommandResult Add(const std::string& key) const {
    return RunCommand({"ssh-add", "-q", key}, {.env = {{"SSH_AUTH_SOCK", socket()}}});
  }
  std::string MakeKey(const std::string& name, const std::string& passphrase = "") const {
    const std::string path = dir_ / name;
    RunCommand({"ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", path});
    return path;
  }
  // What the agent signs without a farm; signatures of this kind of key are always the same.
  std::string Signature(const std::string& text) const {
    return std::string(absl::StripAsciiWhitespace(
        RunCommand({context_ / "ask", "sign", text}, {.env = {{"SSH_AUTH_SOCK", socket()}}}).out));
  }

  // Builds with $SSH_AUTH_SOCK.
  CommandResult Build(const std::string& run, const std::vector<std::string>& flags) {
    context_.Write("Dockerfile", absl::StrCat("FROM base\n", run));
    std::vector<std::string> args = {"build", "--progress=plain"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.push_back(context_.path());
    return farm_->Farm(args, {.env = {{"SSH_AUTH_SOCK", socket()}}});
  }
  void BuildOk(const std::string& run, const std::vector<std::string>& flags) {
    const CommandResult built = Build(run, flags);
    EXPECT_EQ(built.exit_code, 0) << built.all();
  }
  static std::string Run(const std::string& mount, const std::string& script) {
    return absl::StrCat("RUN --mount=type=ssh", mount, " --mount=source=ask,target=/ask ", script,
                        "\n");
  }

  ScratchDir dir_;
  std::string key_;
  BackgroundProcess agent_;
};
RUNTIME_TEST_SUITE(SshTest);

TEST_P(SshTest, TheAgentOfWhoBuildsListsAndSignsAndNothingIsLeft) {
  BuildOk(absl::StrCat(Run("", absl::StrCat("test $(/ask list) = 1 && test $(/ask sign hello) = ",
                                            Signature("hello"),
                                            " && test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0")),
                       "RUN test ! -e /run/buildkit && test -z \"$SSH_AUTH_SOCK\"\n"),
          {"--ssh", "default"});
}

TEST_P(SshTest, NothingButListingAndSigningReachesTheAgent) {
  // Remove all, lock, add, extension: each refused.
  BuildOk(Run("", "for kind in 19 22 17 27; do test $(/ask kind $kind) = 5 || exit 1; done"),
          {"--ssh", "default"});
  EXPECT_EQ(RunCommand({context_ / "ask", "list"}, {.env = {{"SSH_AUTH_SOCK", socket()}}}).out,
            "1\n");
}

TEST_P(SshTest, TheSocketHasItsPlaceOwnerAndMode) {
  BuildOk(Run("", "test \"$(stat -c '%F %a %u:%g' $SSH_AUTH_SOCK)\" = 'socket 600 0:0'"),
          {"--ssh", "default"});
  BuildOk(Run(",id=a,target=/s/agent,mode=0660,uid=7,gid=8",
              "test \"$(stat -c '%a %u:%g' /s/agent)\" = '660 7:8' && "
              "test $SSH_AUTH_SOCK = /s/agent && /ask list"),
          {"--ssh", absl::StrCat("a=", socket())});
}

TEST_P(SshTest, AUserOfTheImageMayHaveTheSocket) {
  BuildOk(absl::StrCat("USER 7:8\n", Run(",uid=7", "test $(/ask list) = 1"), "USER 9\n",
                       Run(",uid=7", "! /ask list")),
          {"--ssh", "default"});
}

TEST_P(SshTest, AgentsAreToldApartByTheirIds) {
  const std::string second = MakeKey("second");
  BuildOk(absl::StrCat("RUN --mount=type=ssh --mount=type=ssh,id=other ",
                       "--mount=source=ask,target=/ask test $(/ask list) = 1 && ",
                       "export SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 && test $(/ask list) = 2\n"),
          {"--ssh", "default", "--ssh", absl::StrCat("other=", key_, ",", second)});
}

TEST_P(SshTest, ManyConnectionsAreServed) {
  BuildOk(Run("",
              "for i in $(seq 40); do /ask list > /out.$i & done; wait; "
              "test \"$(cat /out.* | grep -c '^1$')\" = 40; rm /out.*"),
          {"--ssh", "default"});
}

TEST_P(SshTest, WithoutAnAgentAMountIsLeftOutUnlessItIsRequired) {
  BuildOk(Run("", "test ! -e $SSH_AUTH_SOCK && test ! -e /run/buildkit"), {});
  const CommandResult refused =
      Build(Run(",required=true,id=deploy", "true"), {"--ssh", "default"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err,
              AllOf(HasSubstr("Dockerfile:2"),
                    HasSubstr("ssh agent deploy: not found (give it with --ssh deploy)")));
}

TEST_P(SshTest, TheAgentIsInNoKey) {
  const std::string run = Run("", "echo built");
  BuildOk(run, {"--ssh", "default"});
  const CommandResult again = Build(run, {"--ssh", absl::StrCat("default=", MakeKey("third"))});
  EXPECT_THAT(again.err, HasSubstr("CACHED"));
  EXPECT_THAT(Build(run, {}).err, HasSubstr("CACHED"));
}

TEST_P(SshTest, KeysWithAPassphraseAreRefused) {
  const CommandResult refused =
      Build(Run("", "true"), {"--ssh", absl::StrCat("default=", MakeKey("locked", "secret"))});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("locked"), HasSubstr("passphrase")));
}

}  // namespace
}  // namespace farm
