// Contexts beyond a local directory, on a real local farm, from a server on loopback. Most cases
// check by a RUN of their own, which fails the build if a file is not as it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/source_server.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ContextsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    farm_ = new LocalFarmUnderTest;
    farm_->FarmOk({"import", BusyboxRootTar(), "base"});
  }
  static void TearDownTestSuite() {
    delete farm_;
    farm_ = nullptr;
  }

  CommandResult Build(const std::string& context, std::vector<std::string> flags = {},
                      const std::string& input = "") {
    std::vector<std::string> args = {"build", "--progress=rawjson", "-t", "built"};
    args.insert(args.end(), flags.begin(), flags.end());
    args.push_back(context);
    return farm_->Farm(args, {.input = input});
  }
  CommandResult BuildOk(const std::string& context, std::vector<std::string> flags = {},
                        const std::string& input = "") {
    CommandResult built = Build(context, std::move(flags), input);
    EXPECT_EQ(built.exit_code, 0) << built.all() << farm_->Logs();
    return built;
  }
  // Instructions of the Dockerfile that ran.
  static std::vector<std::string> Ran(const CommandResult& build) {
    std::vector<std::string> ran;
    for (const StepReport& step : ReadSteps(build.err)) {
      if (step.ran) ran.push_back(step.instruction.substr(0, 4));
    }
    return ran;
  }
  // Of the files of `directory`, as "/NAME" of the server.
  void PutTar(const std::string& name, const std::string& directory) {
    const std::string tar = scratch_ / "context.tgz";
    ASSERT_EQ(RunCommand({"tar", "-C", directory, "-czf", tar, "."}).exit_code, 0);
    server_.Put("/" + name, *ReadFile(tar));
  }

  static LocalFarmUnderTest* farm_;
  ScratchDir scratch_;
  SourceServer server_;
};
LocalFarmUnderTest* ContextsTest::farm_ = nullptr;

// ---- what is missing

TEST_F(ContextsTest, AMissingSourceIsToldBeforeAnythingRuns) {
  scratch_.Write("c/key", "secret");
  scratch_.Write("c/main.c", "main");
  scratch_.Write("c/.dockerignore", "# not for images\nk*\n");
  scratch_.Write("above", "not of the context");
  const std::pair<const char*, const char*> cases[] = {
      {"key", ".dockerignore:2 excludes it by"},
      {"mian.c", "did you mean"},
      {"../above", "does not leave"},
  };
  for (const auto& [source, reason] : cases) {
    scratch_.Write("c/Dockerfile",
                   absl::StrCat("FROM base\nRUN echo long\nCOPY ", source, " /x\n"));
    const CommandResult built = Build(scratch_ / "c");
    EXPECT_EQ(built.exit_code, 1) << source;
    EXPECT_THAT(built.err, AllOf(HasSubstr("Dockerfile:3:1"), HasSubstr("not found"),
                                 HasSubstr(reason), Not(HasSubstr("OUTCOME_CANCELLED"))));
    EXPECT_THAT(Ran(built), IsEmpty()) << source;
  }
}

// ---- git

class GitContextTest : public ContextsTest {
 protected:
  GitContextTest() {
    server_.Git(
        "git init -q -b main work && cd work && mkdir -p app && echo one > a && "
        "echo secret > key && echo key > .dockerignore && "
        "printf 'FROM base\\nCOPY . /all\\nRUN test -f /all/a && test ! -e /all/key && "
        "test ! -e /all/.git && test \"$(stat -c %u:%g /all/a)\" = 0:0\\n' > Dockerfile && "
        "printf 'FROM base\\nCOPY d /d\\nRUN cat /d\\n' > app/Dockerfile && echo app > app/d && "
        "printf 'FROM base\\nRUN echo other\\n' > app/Other && "
        "git add . && git commit -qm 1 && git tag -a v1 -m v1 && cd .. && "
        "git clone -q --bare work r.git && git -C work remote add origin ../r.git");
  }
  std::string url(const std::string& rest = "") { return server_.url() + "/git/r.git" + rest; }
};

TEST_F(GitContextTest, ARepositoryIsAContextWithItsDockerfileAndIgnoreFile) {
  EXPECT_THAT(Ran(BuildOk(url())), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(Ran(BuildOk(url())), IsEmpty());
  // What is ignored changes nothing.
  server_.Git("cd work && echo new > key && git commit -qam 2 && git push -q origin main");
  EXPECT_THAT(Ran(BuildOk(url())), IsEmpty());
  server_.Git("cd work && echo two > a && git commit -qam 3 && git push -q origin main");
  EXPECT_THAT(Ran(BuildOk(url())), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(Ran(BuildOk(url("#v1"))), IsEmpty());
}

TEST_F(GitContextTest, ASubdirectoryIsTheWholeContext) {
  EXPECT_THAT(Ran(BuildOk(url("#main:app"))), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(Ran(BuildOk(url("?branch=main&subdir=app"))), IsEmpty());
}

TEST_F(GitContextTest, AnotherDockerfileIsNamedWithinTheRepositoryOrComesFromHere) {
  EXPECT_THAT(Ran(BuildOk(url(), {"-f", "app/Other"})), ElementsAre("RUN "));
  BuildOk(url(), {"-f", "-"}, "FROM base\nCOPY a /from-stdin\nRUN test ! -e /key\n");
  const std::string here =
      scratch_.Write("Dockerfile", "FROM base\nCOPY app/d /d\nRUN grep app /d\n");
  BuildOk(url(), {"-f", here});
}

TEST_F(GitContextTest, TheGitDirectoryIsKeptIfItIsAskedFor) {
  server_.Git(
      "cd work && printf 'FROM base\\nCOPY .git /g\\nRUN test -f /g/HEAD\\n' > Dockerfile && "
      "git commit -qam git && git push -q origin main");
  EXPECT_EQ(Build(url()).exit_code, 1);
  BuildOk(url(), {"--build-arg", "BUILDKIT_CONTEXT_KEEP_GIT_DIR=1"});
  BuildOk(url("?keep-git-dir=true"));
}

TEST_F(GitContextTest, WhatIsMissingIsSaid) {
  const std::pair<std::vector<std::string>, std::string> cases[] = {
      {{"-f", "gone/Dockerfile", url()}, "open gone/Dockerfile: no such file or directory"},
      {{"-f", "app", url()}, "app is a directory"},
      {{url("#gone")}, "no branch or tag \\\"gone\\\""},
      {{url("#main:gone")}, "gone"},
      {{server_.url() + "/git/none.git"}, "404 Not Found"},
      {{server_.url() + "/none"}, "404 Not Found"},
      {{"http://169.254.169.254/x"}, "link-local: refused"},
      {{"git@example.com:a/b.git"}, "needs an ssh agent"},
  };
  for (const auto& [words, message] : cases) {
    std::vector<std::string> args = {"build", "--progress=rawjson"};
    args.insert(args.end(), words.begin(), words.end());
    const CommandResult built = farm_->Farm(args);
    EXPECT_EQ(built.exit_code, 1) << words.back() << built.err;
    EXPECT_THAT(built.err, HasSubstr(message)) << words.back();
  }
}

TEST_F(GitContextTest, AnErrorShowsTheLineOfTheDockerfileThatWasFetched) {
  server_.Git(
      "cd work && printf 'FROM base\\nCOPY gone /x\\n' > Dockerfile && git commit -qam bad && "
      "git push -q origin main");
  const CommandResult built = farm_->Farm({"build", "--progress=plain", url()});
  EXPECT_EQ(built.exit_code, 1);
  EXPECT_THAT(built.err, AllOf(HasSubstr("   2 | >>> COPY gone /x"), HasSubstr("Dockerfile:2")));
}

TEST_F(GitContextTest, AUserOfAUrlIsNeitherShownNorKept) {
  const std::string password = absl::StrCat("s3cr3t-", getpid(), "-", rand());
  const std::string with_user =
      absl::StrCat("http://user:", password, "@", server_.host(), "/git/r.git");
  for (const std::string rest : {"", "#gone"}) {
    const CommandResult built = farm_->Farm({"build", "--progress=plain", with_user + rest});
    EXPECT_EQ(built.exit_code, rest.empty() ? 0 : 1) << built.err;
    EXPECT_THAT(built.err, AllOf(HasSubstr("http://xxxxx@"), Not(HasSubstr(password))));
  }
  EXPECT_EQ(RunCommand({"grep", "-rlaF", password, farm_->state_dir()}).out, "");
}

// ---- files

TEST_F(ContextsTest, ATarFromAUrlIsUnpacked) {
  scratch_.Write("tree/Dockerfile",
                 "FROM base\nCOPY . /c\nRUN test -f /c/d/f && test ! -e /c/no && "
                 "test \"$(stat -c %u /c/d/f)\" = 0\n");
  scratch_.Write("tree/d/f", "f");
  scratch_.Write("tree/no", "no");
  scratch_.Write("tree/.dockerignore", "/no\n");
  ASSERT_EQ(RunCommand({"chown", "-R", "1234:1234", scratch_ / "tree"}).exit_code, 0);
  PutTar("context", scratch_ / "tree");  // A name says nothing.
  EXPECT_THAT(Ran(BuildOk(server_.url() + "/context")), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(server_.TakeLog(), ElementsAre("200 GET /context"));
  EXPECT_THAT(Ran(BuildOk(server_.url() + "/context")), IsEmpty());
  EXPECT_THAT(server_.TakeLog(), ElementsAre("304 GET /context"));
}

TEST_F(ContextsTest, AFileThatIsNoTarIsADockerfileWithoutContext) {
  server_.Put("/app.tar.gz", "FROM base\nRUN --mount=target=/c test -z \"$(ls -A /c)\"\n");
  EXPECT_THAT(Ran(BuildOk(server_.url() + "/app.tar.gz")), ElementsAre("RUN "));
  const CommandResult named = Build(server_.url() + "/app.tar.gz", {"-f", "x"});
  EXPECT_EQ(named.exit_code, 1);
  EXPECT_THAT(named.err, HasSubstr("it is no tar archive"));
  server_.Put("/Dockerfile", "FROM base\nRUNN x\n");
  const CommandResult bad =
      farm_->Farm({"build", "--progress=plain", server_.url() + "/Dockerfile"});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_THAT(bad.err, AllOf(HasSubstr("did you mean RUN"), HasSubstr(">>> RUNN x")));
}

// ---- --build-context

class NamedContextTest : public ContextsTest {
 protected:
  NamedContextTest() {
    scratch_.Write("src/f", "files");
    scratch_.Write("src/ignored", "ignored");
    scratch_.Write("src/.dockerignore", "ignored\n");
    scratch_.Write("main/Dockerfile", "FROM scratch\n");
  }
  CommandResult BuildWith(const std::string& dockerfile,
                          const std::vector<std::string>& build_contexts) {
    scratch_.Write("main/Dockerfile", dockerfile);
    std::vector<std::string> flags;
    for (const std::string& context : build_contexts) {
      flags.insert(flags.end(), {"--build-context", context});
    }
    return BuildOk(scratch_ / "main", flags);
  }
  std::string Files(const std::string& name) { return absl::StrCat(name, "=", scratch_ / "src"); }
};

TEST_F(NamedContextTest, ADirectoryIsReadByCopyAndMountsWithoutWhatItIgnores) {
  const std::string dockerfile =
      "FROM base\nCOPY --from=src . /c\nRUN --mount=from=src,target=/m grep files /c/f /m/f && "
      "test ! -e /c/ignored && test ! -e /m/ignored\n";
  EXPECT_THAT(Ran(BuildWith(dockerfile, {Files("src")})), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(Ran(BuildWith(dockerfile, {Files("src")})), IsEmpty());
  scratch_.Write("src/f", "files, but others");
  EXPECT_THAT(Ran(BuildWith(dockerfile, {Files("src")})), ElementsAre("COPY", "RUN "));
}

TEST_F(NamedContextTest, ADirectoryMayBeAnImage) {
  EXPECT_THAT(Ran(BuildWith("FROM src\nCMD [\"/f\"]\n", {Files("src")})), ElementsAre("load"));
  EXPECT_EQ(BuildOk(scratch_ / "main", {"--build-context", Files("src"), "-o", scratch_ / "out"})
                .exit_code,
            0);
  EXPECT_EQ(*ReadFile(scratch_ / "out/f"), "files");
  EXPECT_NE(access((scratch_ / "out/ignored").c_str(), F_OK), 0);
}

TEST_F(NamedContextTest, AStageIsReplaced) {
  BuildWith("FROM base AS src\nRUN false\nFROM base\nCOPY --from=src f /f\nRUN grep files /f\n",
            {Files("src")});
}

TEST_F(NamedContextTest, AnImageStandsForAnother) {
  BuildWith("FROM gone.example.com/x:1\nRUN test -x /bin/sh\n",
            {"gone.example.com/x:1=docker-image://base"});
}

// The image "made", with a file /f and a trigger, is in a directory under the tag 1, and nowhere
// else.
class LayoutContextTest : public NamedContextTest {
 protected:
  LayoutContextTest() : layout_(scratch_ / "layout") {
    scratch_.Write("made/Dockerfile",
                   "FROM base\nRUN echo from a layout > /f\nENV OF=layout\n"
                   "ONBUILD COPY --from=src f /triggered\n");
    farm_->FarmOk({"build", "-o", absl::StrCat("type=oci,tar=false,dest=", layout_), "-t", "made:1",
                   scratch_ / "made"});
    farm_->Farm({"rmi", "made:1"});
  }
  std::string Layout(const std::string& name, const std::string& rest = ":1") {
    return absl::StrCat(name, "=oci-layout://", layout_, rest);
  }

  const std::string layout_;
};

TEST_F(LayoutContextTest, AnImageOfALayoutIsABaseASourceAndAMount) {
  const std::string dockerfile =
      "FROM made\nCOPY --from=made f /copied\n"
      "RUN --mount=from=made,target=/m test $OF = layout && "
      "test $(cat /f /copied /m/f /triggered | grep -c layout) = 4\n";
  scratch_.Write("src/f", "of a trigger, not of the layout");
  const auto names = [] {
    farm_->Farm({"rmi", "built"});
    return farm_->FarmOk({"images", "--format", "{{.Repository}}:{{.Tag}}"}).out;
  };
  const std::string before = names();
  EXPECT_THAT(Ran(BuildWith(dockerfile, {Layout("made"), Files("src")})), Contains("RUN "));
  EXPECT_THAT(Ran(BuildWith(dockerfile, {Layout("made"), Files("src")})), IsEmpty());
  EXPECT_EQ(names(), before);
}

TEST_F(LayoutContextTest, AFarmThatHasNothingOfItGetsItsLayers) {
  const LocalFarmUnderTest other;
  scratch_.Write("main/Dockerfile", "FROM made AS unneeded\nFROM scratch\nCOPY --from=made f /f\n");
  const CommandResult built =
      other.FarmOk({"build", "--progress=plain", "--build-context", Layout("made"), "-o",
                    scratch_ / "out", scratch_ / "main"});
  EXPECT_THAT(built.err, HasSubstr("transfer OCI layouts"));
  EXPECT_EQ(*ReadFile(scratch_ / "out/f"), "from a layout\n");
  EXPECT_THAT(other.FarmOk({"images"}).out, Not(HasSubstr("made")));
}

TEST_F(LayoutContextTest, WhatIsWrongWithALayoutIsSaid) {
  scratch_.Write("main/Dockerfile", "FROM made\nRUN true\n");
  scratch_.Write("none/file", "");
  const auto error = [&](const std::string& context) {
    const CommandResult built =
        farm_->Farm({"build", "--progress=plain", "--build-context", context, scratch_ / "main"});
    EXPECT_EQ(built.exit_code, 1) << context << built.all();
    return built.err;
  };
  EXPECT_THAT(error(Layout("made", "")), HasSubstr("no tag \"latest\"; there are: 1"));
  EXPECT_THAT(error(Layout("made", absl::StrCat("@sha256:", std::string(64, '1')))),
              HasSubstr(std::string(64, '1')));
  EXPECT_THAT(error(absl::StrCat("made=oci-layout://", scratch_ / "none")),
              HasSubstr("there is no index.json"));
  ASSERT_EQ(RunShell("rm $(ls -S blobs/sha256/* | head -n 1)", {.dir = layout_}).exit_code, 0);
  EXPECT_THAT(error(Layout("made")), AllOf(HasSubstr("layer 0"), HasSubstr("No such file")));
}

TEST_F(NamedContextTest, UrlsAreFetched) {
  server_.Git(
      "git init -q -b main w && cd w && echo git > g && git add . && git commit -qm 1 && "
      "cd .. && git clone -q --bare w r.git");
  server_.Put("/x.tar", "a file, whatever its name is");
  const std::string dockerfile =
      "FROM base\nCOPY --from=git g /g\nCOPY --from=http c* /h\n"
      "RUN grep git /g && grep whatever /h\n";
  const std::vector<std::string> contexts = {absl::StrCat("git=", server_.url(), "/git/r.git#main"),
                                             absl::StrCat("http=", server_.url(), "/x.tar")};
  EXPECT_THAT(Ran(BuildWith(dockerfile, contexts)), ElementsAre("COPY", "COPY", "RUN "));
  EXPECT_THAT(Ran(BuildWith(dockerfile, contexts)), IsEmpty());
  server_.TakeLog();
  BuildWith("FROM base\nRUN true\n", contexts);
  EXPECT_THAT(server_.TakeLog(), IsEmpty());
}

TEST_F(NamedContextTest, ATriggerOfAnImageMayReadIt) {
  scratch_.Write("trigger/Dockerfile", "FROM base\nONBUILD COPY --from=src f /triggered\n");
  ASSERT_EQ(farm_->FarmOk({"build", "-t", "trigger", scratch_ / "trigger"}).exit_code, 0);
  BuildWith("FROM trigger\nRUN grep files /triggered\n", {Files("src")});
}

TEST_F(NamedContextTest, ItGoesWithAContextFromAUrl) {
  server_.Put("/Dockerfile", "FROM base\nCOPY --from=src f /u\nRUN grep files /u\n");
  BuildOk(server_.url() + "/Dockerfile", {"--build-context", Files("src")});
}

// ---- standard input

TEST_F(ContextsTest, ATarOrADockerfileMayComeFromStandardInput) {
  scratch_.Write("tree/Dockerfile", "FROM base\nCOPY f /stdin\nRUN test -f /stdin\n");
  scratch_.Write("tree/f", "from a pipe");
  ASSERT_EQ(RunCommand({"tar", "-C", scratch_ / "tree", "-czf", scratch_ / "c.tgz", "."}).exit_code,
            0);
  EXPECT_THAT(Ran(BuildOk("-", {}, *ReadFile(scratch_ / "c.tgz"))), ElementsAre("COPY", "RUN "));
  EXPECT_THAT(Ran(BuildOk("-", {}, "FROM base\nRUN echo dockerfile from a pipe\n")),
              ElementsAre("RUN "));
  BuildOk(scratch_ / "tree", {"-f", "-"}, "FROM base\nCOPY f /dockerfile-from-a-pipe\n");
}

}  // namespace
}  // namespace farm
