// RUN --mount=type=bind and type=cache on a real local farm, under the farm's own sandbox and under
// an OCI runtime. Most cases check by a RUN of their own, which fails the build if a file is not as
// it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/runtime_test.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class MountsTest : public RuntimeTest {
 protected:
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
  CommandResult FailingBuild(const std::string& dockerfile) {
    CommandResult built = farm_->Farm(Arguments(dockerfile, {}));
    EXPECT_EQ(built.exit_code, 1) << built.all();
    return built;
  }
};
RUNTIME_TEST_SUITE(MountsTest);

TEST_P(MountsTest, TheContextIsShownReadOnlyAndForOneRun) {
  context_.Write("src/a", "a");
  context_.Write("b", "b");
  Build(
      "FROM base\nWORKDIR /work\n"
      "RUN --mount=target=. test \"$(cat src/a)\" = a && test \"$(cat /work/b)\" = b && "
      "! touch x && ! touch src/x\n"
      "RUN --mount=type=bind,source=src,dst=/s test \"$(ls /s)\" = a\n"
      "RUN test -z \"$(ls /work)\" && test ! -e /s\n");
}

TEST_P(MountsTest, StagesAndImagesAreShown) {
  Build(
      "FROM base AS made\nRUN mkdir /d && echo one > /d/one && echo two > /d/two && "
      "ln -s /d/one /link && chown -R 7:8 /d\n"
      "RUN rm /d/two && ln -s d /dir\n"
      "FROM base\n"
      "RUN --mount=from=made,source=/d,target=/m test \"$(ls /m)\" = one && "
      "test \"$(stat -c %u:%g /m/one)\" = 7:8\n"
      "RUN --mount=from=made,target=/m test -x /m/bin/sh && test ! -e /m/d/two\n"
      "RUN --mount=from=base,source=bin,target=/m test -x /m/sh\n"
      // A link leads within its own stage.
      "RUN --mount=from=made,source=/link,target=/f test \"$(cat /f)\" = one\n"
      "RUN --mount=from=made,source=dir,target=/m test \"$(cat /m/one)\" = one\n");
}

TEST_P(MountsTest, AFileIsShown) {
  context_.Write("tool", "#!/bin/sh\necho ran\n", 0755);
  Build(
      "FROM base\n"
      "RUN --mount=source=tool,target=/opt/tool test \"$(/opt/tool)\" = ran && "
      "! sh -c 'echo x > /opt/tool'\n"
      "RUN --mount=source=tool,target=/opt/tool,rw echo changed > /opt/tool\n"
      "RUN --mount=source=tool,target=/opt/tool test \"$(/opt/tool)\" = ran\n"
      "RUN test ! -e /opt\n");
}

TEST_P(MountsTest, WhatIsWrittenIsDropped) {
  context_.Write("src/a", "a");
  Build(
      "FROM base AS made\nRUN mkdir /d && echo a > /d/a\n"
      "FROM base\n"
      "RUN --mount=source=src,target=/s,rw --mount=from=made,source=d,target=/d,rw "
      "for d in /s /d; do rm $d/a && echo new > $d/new && mkdir $d/sub || exit 1; done\n"
      "RUN --mount=source=src,target=/s,rw --mount=from=made,source=d,target=/d,rw "
      "test \"$(ls /s /d | tr '\\n' ' ')\" = '/d: a  /s: a ' && test ! -e /s/new\n"
      "RUN test ! -e /s && test ! -e /d\n");
  EXPECT_EQ(ReadFile(context_ / "src/a").value_or(""), "a");
}

TEST_P(MountsTest, AMountInAnotherIsMadeAfterIt) {
  context_.Write("src/cache/.keep", "");
  context_.Write("src/rw/.keep", "");
  Build(
      "FROM base\n"
      "RUN --mount=type=cache,target=/s/cache --mount=type=tmpfs,target=/s/rw/t "
      "--mount=source=src,target=/s --mount=from=base,source=bin,target=/s/rw,rw "
      "touch /s/cache/x /s/rw/t/x && test -x /s/rw/sh\n");
}

TEST_P(MountsTest, ATargetBehindALinkIsInTheRoot) {
  context_.Write("src/a", "a");
  Build(
      "FROM base\n"
      "RUN mkdir /real && ln -s /real /link && ln -s ../../../../../../etc /up\n"
      "RUN --mount=source=src,target=/link/s test \"$(cat /real/s/a)\" = a\n"
      "RUN --mount=source=src,target=/up/farm-canary test \"$(cat /etc/farm-canary/a)\" = a\n"
      "RUN test ! -e /real/s && test ! -e /etc/farm-canary && test -L /link\n");
  EXPECT_FALSE(std::filesystem::exists("/etc/farm-canary"));
}

TEST_P(MountsTest, OnlyAChangeOfWhatIsBoundRunsTheStepAgain) {
  context_.Write("bound/a", "1");
  context_.Write("other", "1");
  const std::string dockerfile =
      "FROM base\n"
      "RUN --mount=source=bound,target=/b --mount=type=cache,target=/c cat /b/a > /copied\n"
      "RUN cat /copied\n";
  Build(dockerfile);
  const std::string cached = "\\[2/3\\] RUN --mount[^\n]*\n#[0-9]+ CACHED";
  EXPECT_THAT(Build(dockerfile).err, ContainsRegex(cached));
  context_.Write("other", "2");
  EXPECT_THAT(Build(dockerfile).err, ContainsRegex(cached));
  context_.Write("bound/a", "changed");
  EXPECT_THAT(Build(dockerfile).err, AllOf(Not(ContainsRegex(cached)), HasSubstr("changed")));
}

TEST_P(MountsTest, ASourceThatIsNotThereIsNamedWithItsPlace) {
  context_.Write("source", "");
  EXPECT_THAT(FailingBuild("FROM base\nRUN --mount=source=sorce,target=/s true\n").err,
              AllOf(HasSubstr("Dockerfile:2"), HasSubstr("\"/sorce\": not found"),
                    HasSubstr("did you mean \"/source\"?")));
  EXPECT_THAT(FailingBuild("FROM base AS a\nRUN touch /f\nFROM base\n"
                           "RUN --mount=type=cache,from=a,source=f,target=/s true\n")
                  .err,
              AllOf(HasSubstr("Dockerfile:4"), HasSubstr("\"/f\" is a file")));
  EXPECT_THAT(FailingBuild("FROM base\nRUN --mount=type=ssh,required=true true\n").err,
              AllOf(HasSubstr("Dockerfile:2"), HasSubstr("ssh agent default: not found")));
}

TEST_P(MountsTest, ACacheOutlivesItsStepAndIsInNoLayer) {
  const std::string id = absl::StrCat("id=survives");
  Build(
      absl::StrCat("FROM base\n"
                   "RUN --mount=type=cache,",
                   id,
                   ",target=/c,mode=0711,uid=7,gid=8 "
                   "test \"$(stat -c %a:%u:%g /c)\" = 711:7:8 && echo kept > /c/kept\n"
                   "RUN test ! -e /c\n"));
  Build(absl::StrCat("FROM base\n"
                     "RUN --mount=type=cache,",
                     id,
                     ",target=/elsewhere,mode=0711,uid=7,gid=8,ro "
                     "test \"$(cat /elsewhere/kept)\" = kept && ! touch /elsewhere/x\n"),
        {"--no-cache"});
}

TEST_P(MountsTest, AFailingStepLeavesItsCache) {
  FailingBuild("FROM base\nRUN --mount=type=cache,id=failing,target=/c touch /c/half && false\n");
  Build("FROM base\nRUN --mount=type=cache,id=failing,target=/c test -e /c/half\n");
}

TEST_P(MountsTest, ANewCacheBeginsWithItsSource) {
  const std::string made =
      "FROM base AS made\nRUN mkdir /d && echo first > /d/a && chown -R 7:8 /d && chmod 700 /d\n"
      "FROM base\n";
  Build(absl::StrCat(made,
                     "RUN --mount=type=cache,from=made,source=d,target=/c "
                     "test \"$(cat /c/a)\" = first && test \"$(stat -c %a:%u /c)\" = 700:7 && "
                     "echo second > /c/a\n"
                     "RUN --mount=type=cache,from=made,source=d,target=/c "
                     "test \"$(cat /c/a)\" = second\n"));
}

// Two stages that run at the same time, each with its own command on the cache.
std::string Together(const std::string& mount, const std::string& one, const std::string& two) {
  return absl::StrCat("FROM base AS one\nRUN --mount=type=cache,target=/c,", mount, " ", one,
                      " && touch /one\nFROM base AS two\nRUN --mount=type=cache,target=/c,", mount,
                      " ", two, " && touch /two\nFROM base\nCOPY --from=one /one /\n",
                      "COPY --from=two /two /\n");
}

TEST_P(MountsTest, SharedUsersSeeEachOther) {
  const auto meet = [](const std::string& mine, const std::string& other) {
    return absl::StrCat("touch /c/", mine, " && for i in $(seq 200); do test -e /c/", other,
                        " && break; sleep 0.1; done && test -e /c/", other);
  };
  Build(Together("id=shared", meet("a", "b"), meet("b", "a")));
}

TEST_P(MountsTest, LockedUsersTakeTurns) {
  const std::string alone = "mkdir /c/lock && sleep 2 && rmdir /c/lock && echo x >> /c/turns";
  const CommandResult built =
      Build(absl::StrCat(Together("id=locked,sharing=locked", alone, alone),
                         "RUN --mount=type=cache,target=/c,id=locked,sharing=locked "
                         "test \"$(wc -l < /c/turns)\" = 2\n"));
  EXPECT_THAT(built.err, HasSubstr("waiting for the cache locked, which another step has"));
}

TEST_P(MountsTest, PrivateUsersHaveTheirOwn) {
  const std::string alone = "mkdir /c/mine && sleep 1 && rmdir /c/mine";
  Build(Together("id=private,sharing=private", alone, alone));
}

}  // namespace
}  // namespace farm
