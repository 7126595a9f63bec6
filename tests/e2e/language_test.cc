// Instructions and flags that go beyond the tutorial, on a real local farm. Most cases check by a
// RUN of their own, which fails the build if a file is not as it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class LanguageTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    farm_ = new LocalFarmUnderTest;
    farm_->FarmOk({"import", BusyboxRootTar(), "base"});
  }
  static void TearDownTestSuite() {
    delete farm_;
    farm_ = nullptr;
  }

  std::vector<std::string> Arguments(const std::string& dockerfile,
                                     const std::vector<std::string>& flags) {
    context_.Write("Dockerfile", dockerfile);
    std::vector<std::string> args = {"build", "--progress=plain"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.push_back(context_.path());
    return args;
  }
  CommandResult Build(const std::string& dockerfile, const std::vector<std::string>& flags = {}) {
    return farm_->FarmOk(Arguments(dockerfile, flags));
  }

  static LocalFarmUnderTest* farm_;
  ScratchDir context_;
};
LocalFarmUnderTest* LanguageTest::farm_ = nullptr;

TEST_F(LanguageTest, AHeredocOfRunIsItsCommand) {
  Build(
      "FROM base\nRUN <<EOF\nset -e\necho one > /a\necho two >> /a\nEOF\n"
      "RUN test \"$(cat /a)\" = \"$(printf 'one\\ntwo')\"\n");
}

TEST_F(LanguageTest, AHeredocWithAnInterpreterIsRunAsAFile) {
  Build(
      "FROM base\nRUN <<S\n#!/bin/sh\necho $0 > /a\nS\n"
      "RUN test \"$(cat /a)\" = /dev/pipes/S && test ! -e /dev/pipes\n");
}

TEST_F(LanguageTest, TheShellReadsHeredocsThatAreInputOfCommands) {
  Build(
      "FROM base\nRUN cat <<A > /a && cat <<-\"B\" > /b\nx\nA\n\t$y\nB\n"
      "RUN test \"$(cat /a)\" = x && test \"$(cat /b)\" = '$y'\n");
}

TEST_F(LanguageTest, AHeredocOfCopyIsAFile) {
  Build(
      "FROM base\nENV N=world\nCOPY --chmod=600 <<EOF /etc/hi\nhello $N\nEOF\n"
      "COPY <<A <<\"B\" /d/\na\nA\n$N\nB\n"
      "RUN test \"$(cat /etc/hi)\" = 'hello world' && test \"$(stat -c %a /etc/hi)\" = 600\n"
      "RUN test \"$(cat /d/A)\" = a && test \"$(cat /d/B)\" = '$N' && "
      "test \"$(stat -c %a:%u /d/A)\" = 644:0\n");
}

TEST_F(LanguageTest, ParentsAndExcludesSelectFiles) {
  context_.Write("src/lib/a.c", "a");
  context_.Write("src/lib/a.o", "a");
  context_.Write("src/main.c", "m");
  Build(
      "FROM base AS made\nCOPY src /made\n"
      "FROM base\nCOPY --parents src/lib/a.c /p/\nCOPY --parents src/./lib/*.o /q/\n"
      "COPY --exclude=*.o --exclude=main.c src /x/\nCOPY --from=made --exclude=lib /made /y/\n"
      "RUN test -f /p/src/lib/a.c && test ! -e /p/src/main.c && test ! -e /p/src/lib/a.o\n"
      "RUN test -f /q/lib/a.o && test ! -e /q/lib/a.c && test ! -e /q/src\n"
      "RUN test \"$(find /x | sort | tr '\\n' ' ')\" = '/x /x/lib /x/lib/a.c /x/lib/a.o '\n"
      "RUN test \"$(find /y | sort | tr '\\n' ' ')\" = '/y /y/main.c '\n");
}

TEST_F(LanguageTest, ASymbolicChmodStartsFromTheModeOfEachFile) {
  context_.Write("tool", "#!/bin/sh\n");
  Build(
      "FROM base\nCOPY --chmod=u=rwx,go= tool /tool\n"
      "RUN test \"$(stat -c %a /tool)\" = 700\n");
}

TEST_F(LanguageTest, ALinkedLayerSurvivesAnotherBase) {
  context_.Write("file", "content");
  Build("FROM base\nRUN echo 1 > /base\nCOPY --link file /opt/file\n");
  const CommandResult second = Build(
      "FROM base\nRUN echo 2 > /base\nCOPY --link file /opt/file\n"
      "RUN test \"$(cat /opt/file)\" = content && test \"$(cat /base)\" = 2\n");
  EXPECT_THAT(second.err, AllOf(HasSubstr("COPY --link file /opt/file"), HasSubstr("CACHED")));
}

TEST_F(LanguageTest, ATmpfsIsInNoLayer) {
  Build(
      "FROM base\nRUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/x && test -f /t/x\n"
      "RUN test ! -e /t\n");
}

TEST_F(LanguageTest, ASecretReachesItsRunAndNothingElse) {
  const std::string value = absl::StrCat("s3cr3t-", getpid(), "-", rand());
  ScratchDir elsewhere;  // Not in the context.
  elsewhere.Write("secret", value);
  const CommandResult built = Build(
      "FROM base\n"
      "RUN --mount=type=secret,id=s,required test \"$(wc -c < /run/secrets/s)\" -gt 8 && "
      "test \"$(stat -c %a /run/secrets/s)\" = 400\n"
      "RUN --mount=type=secret,id=s,env=TOKEN test \"${#TOKEN}\" -gt 8\n"
      "RUN test ! -e /run/secrets && test -z \"$TOKEN\"\n",
      {"--secret", absl::StrCat("id=s,src=", elsewhere.path(), "/secret")});
  EXPECT_THAT(built.err, Not(HasSubstr(value)));
  // Neither in the store, the index, nor any log.
  const CommandResult found = RunCommand({"grep", "-rlaF", value, farm_->state_dir()});
  EXPECT_EQ(found.out, "");
}

TEST_F(LanguageTest, ASecretThatIsRequiredMustBeGiven) {
  const CommandResult built = farm_->Farm(
      Arguments("FROM base\nRUN --mount=type=secret,id=gone,required echo never\n", {}));
  EXPECT_EQ(built.exit_code, 1);
  EXPECT_THAT(built.err, AllOf(HasSubstr("secret gone: not found"), HasSubstr("Dockerfile:2")));
}

TEST_F(LanguageTest, AFailingTriggerIsToldWithTheImageThatItComesFrom) {
  Build("FROM base\nONBUILD RUN echo triggered; exit 3\n", {"-t", "triggers"});
  const CommandResult built = farm_->Farm(Arguments("# a line\nFROM triggers\n", {}));
  EXPECT_EQ(built.exit_code, 1);
  EXPECT_THAT(built.err, AllOf(HasSubstr("Dockerfile:2"), HasSubstr(">>> FROM triggers"),
                               HasSubstr("exit code: 3 (from the image triggers: ONBUILD RUN echo "
                                         "triggered; exit 3)")));
}

TEST_F(LanguageTest, WhatABuildWasNotAllowedIsRefusedWithItsPlace) {
  for (const auto& [flag, entitlement] : {std::pair("--security=insecure", "security.insecure"),
                                          std::pair("--network=host", "network.host")}) {
    const std::string dockerfile = absl::StrCat("FROM base\nRUN ", flag, " echo ran\n");
    const CommandResult refused = farm_->Farm(Arguments(dockerfile, {}));
    EXPECT_EQ(refused.exit_code, 1) << flag;
    EXPECT_THAT(refused.err,
                AllOf(HasSubstr("Dockerfile:2"), HasSubstr(absl::StrCat("--allow ", entitlement))));
    Build(dockerfile, {"--allow", entitlement});
  }
  Build("FROM base\nRUN --network=host echo ran too\n", {"--network", "host"});
}

class RunFlagsTest : public LanguageTest {};

TEST_F(RunFlagsTest, ExtraHostsAreInTheHostsFileAndInNoLayer) {
  const std::string run =
      "FROM base\nRUN grep -q '^10.0.0.1\tdb$' /etc/hosts && grep -q '^fe80::1\tsix$' /etc/hosts\n"
      "RUN --mount=from=base,target=/b test ! -e /b/etc/hosts && test ! -e /b/etc/resolv.conf\n";
  Build(run, {"--add-host", "db:10.0.0.1", "--add-host", "six=[fe80::1]"});
  const CommandResult exported =
      Build(run, {"--add-host", "db:10.0.0.1", "--add-host", "six:fe80::1", "-o",
                  absl::StrCat("type=tar,dest=", context_ / "out.tar")});
  EXPECT_THAT(exported.err, HasSubstr("CACHED"));
  EXPECT_THAT(RunCommand({"tar", "-tf", context_ / "out.tar"}).out,
              AllOf(Not(HasSubstr("etc/hosts")), Not(HasSubstr("etc/resolv.conf"))));
}

TEST_F(RunFlagsTest, TheNamesOfExtraHostsAreInTheKeyButNotTheirAddresses) {
  const std::string run = "FROM base\nRUN echo hosts\n";
  Build(run, {"--add-host", "db:10.0.0.1"});
  EXPECT_THAT(Build(run, {"--add-host", "db:10.0.0.2"}).err, HasSubstr("CACHED"));
  EXPECT_THAT(Build(run, {"--add-host", "other:10.0.0.2"}).err, Not(HasSubstr("CACHED")));
}

TEST_F(RunFlagsTest, SharedMemoryHasTheSizeThatIsAskedFor) {
  const std::string run = "FROM base\nRUN df -k /dev/shm | grep -q ' 8192 '\n";
  Build(run, {"--shm-size", "8m"});
  EXPECT_EQ(farm_->Farm(Arguments(run, {})).exit_code, 1) << "another size, another key";
}

TEST_F(RunFlagsTest, UlimitsHoldForTheCommand) {
  const std::string run = "FROM base\nRUN test $(ulimit -Sn):$(ulimit -Hn) = 100:200\n";
  Build(run, {"--ulimit", "nofile=50", "--ulimit", "nofile=100:200"});
  EXPECT_EQ(farm_->Farm(Arguments(run, {"--ulimit", "nofile=100"})).exit_code, 1);
}

TEST_F(RunFlagsTest, TheSandboxHasTheHostNameThatIsAskedFor) {
  Build("FROM base\nRUN test $(hostname) = buildkitsandbox && grep -q buildkitsandbox /etc/hosts\n",
        {});
  const std::string run =
      "FROM base\nRUN test $(hostname) = builder && grep -q '127.0.0.1.* builder$' /etc/hosts\n";
  Build(run, {"--build-arg", "BUILDKIT_SANDBOX_HOSTNAME=builder"});
  EXPECT_EQ(farm_->Farm(Arguments(run, {})).exit_code, 1) << "another name, another key";
}

TEST_F(RunFlagsTest, TheNetworkOfTheBuildIsThatOfRunsThatNameNone) {
  Build("FROM base\nRUN test \"$(ls /sys/class/net)\" = lo\n", {"--network", "none"});
}

}  // namespace
}  // namespace farm
