// ADD of URLs and git repositories on a real local farm, from a server on loopback. Most cases
// check by a RUN of their own, which fails the build if a file is not as it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "tests/testing/build_report.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/source_server.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class SourcesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    farm_ = new LocalFarmUnderTest;
    farm_->ConfigureWorker("sources:\n  bytes_max: 1048576\n  timeout: 10s\n");
    farm_->FarmOk({"import", BusyboxRootTar(), "base"});
  }
  static void TearDownTestSuite() {
    delete farm_;
    farm_ = nullptr;
  }

  std::vector<std::string> Arguments(const std::string& dockerfile) {
    context_.Write("Dockerfile", dockerfile);
    return {"build", "--progress=rawjson", "-t", "built", context_.path()};
  }
  CommandResult Build(const std::string& dockerfile) {
    return farm_->FarmOk(Arguments(dockerfile));
  }
  // Instructions that ran.
  std::vector<std::string> Ran(const CommandResult& build) {
    std::vector<std::string> ran;
    for (const StepReport& step : ReadSteps(build.err)) {
      if (step.ran) ran.push_back(step.instruction.substr(0, 3));
    }
    return ran;
  }

  static LocalFarmUnderTest* farm_;
  ScratchDir context_;
  SourceServer server_;
};
LocalFarmUnderTest* SourcesTest::farm_ = nullptr;

TEST_F(SourcesTest, AUrlIsAskedForAtEachBuildAndFetchedOnlyIfItChanged) {
  server_.Put("/file", "one");
  const std::string dockerfile =
      absl::StrCat("FROM base\nADD ", server_.url(), "/file /d/\n",
                   "RUN test \"$(stat -c %a:%u:%Y /d/file)\" = 600:0:0 && cat /d/file > /copy\n");
  EXPECT_THAT(Ran(Build(dockerfile)), ElementsAre("ADD", "RUN"));
  EXPECT_THAT(server_.TakeLog(), ElementsAre("200 GET /file"));

  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
  EXPECT_THAT(server_.TakeLog(), ElementsAre("304 GET /file"));

  server_.Put("/file", "two");
  EXPECT_THAT(Ran(Build(dockerfile)), ElementsAre("ADD", "RUN"));
  EXPECT_THAT(server_.TakeLog(), ElementsAre("200 GET /file"));
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
  EXPECT_THAT(server_.TakeLog(), ElementsAre("304 GET /file"));
}

TEST_F(SourcesTest, AnEqualFileFromElsewhereIsAHit) {
  server_.Put("/a/file", "equal");
  server_.Put("/b/file", "equal");
  Build(absl::StrCat("FROM base\nADD ", server_.url(), "/a/file /d/\n"));
  EXPECT_THAT(Ran(Build(absl::StrCat("FROM base\nADD ", server_.url(), "/b/file /d/\n"))),
              IsEmpty());
}

TEST_F(SourcesTest, WhatIsKnownByItsChecksumIsNotAskedFor) {
  server_.Put("/pinned", "pinned");
  const std::string dockerfile =
      absl::StrCat("FROM base\nADD --checksum=", DigestOf("pinned").oci(), " ", server_.url(),
                   "/pinned /pinned\nRUN test \"$(cat /pinned)\" = pinned\n");
  Build(dockerfile);
  EXPECT_THAT(server_.TakeLog(), ElementsAre("200 GET /pinned"));
  server_.Put("/pinned", "");
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
  EXPECT_THAT(server_.TakeLog(), IsEmpty());
}

TEST_F(SourcesTest, FlagsOfAddHoldForAUrl) {
  context_.Write("tree/in/side", "s");
  ASSERT_EQ(
      RunCommand({"tar", "-C", context_ / "tree", "-czf", context_ / "a.tgz", "in"}).exit_code, 0);
  server_.Put("/a.tgz", *ReadFile(context_ / "a.tgz"));
  const std::string url = server_.url() + "/a.tgz";
  Build(absl::StrCat("FROM base\nADD --chown=user:staff --chmod=u=rwx,go= ", url, " /n\n",
                     "ADD --unpack ", url, " /u/\nADD ", url, " /p/\nADD --link ", url, " /l/\n",
                     "RUN test \"$(stat -c %U:%G:%a /n)\" = user:staff:700 && test -f /u/in/side ",
                     "&& test -f /p/a.tgz && test -f /l/a.tgz && test ! -e /p/in\n"));
}

TEST_F(SourcesTest, ARedirectIsFollowedAndTheNameIsThatOfTheUrl) {
  server_.Redirect("/latest", server_.url() + "/v1");
  server_.Put("/v1", "v1");
  Build(absl::StrCat("FROM base\nADD ", server_.url(), "/latest /d/\n",
                     "RUN test \"$(cat /d/latest)\" = v1\n"));
}

TEST_F(SourcesTest, WhatCanNotBeHadFailsAtItsLine) {
  server_.Redirect("/loop", "/loop");
  server_.Redirect("/inwards", "http://169.254.169.254/latest/meta-data/");
  server_.Trickle("/slow");
  server_.Put("/file", "content");
  server_.Put("/large", std::string(1048577, 'x'));
  server_.Git("git init -q --bare -b main empty.git");
  const std::string url = server_.url();
  const std::pair<std::string, std::string> cases[] = {
      {url + "/gone /x", "404 Not Found"},
      {url + "/loop /x", "more than 10 redirects"},
      {url + "/inwards /x", "link-local: refused"},
      {"http://169.254.169.254/ /x", "link-local: refused"},
      {"http://[fd00:ec2::254]/ /x", "metadata: refused"},
      {url + "/large /x", "over sources.bytes_max = 1048576 bytes"},
      {url + "/slow /x", "sources.timeout = 10s"},
      {"http://127.0.0.1:1/ /x", "GET http://127.0.0.1:1/"},
      {absl::StrCat("--checksum=", DigestOf("other").oci(), " ", url, "/file /x"),
       absl::StrCat("expected ", DigestOf("other").oci(), ", got ", DigestOf("content").oci())},
      {url + "/git/gone.git /x", "404 Not Found"},
      {url + "/git/empty.git#gone /x", "no branch or tag \\\"gone\\\""},
      {"git@example.com:a/b.git /x", "needs an ssh agent"},
      {"git://example.com/b.git /x", "https URL"},
      {url + "/git/empty.git?brnch=x /x", "did you mean branch?"},
  };
  for (const auto& [words, message] : cases) {
    const CommandResult built =
        farm_->Farm(Arguments(absl::StrCat("FROM base\nADD ", words, "\n")));
    EXPECT_EQ(built.exit_code, 1) << words << built.err;
    EXPECT_THAT(built.err, AllOf(HasSubstr("Dockerfile:2"), HasSubstr(message))) << words;
  }
}

TEST_F(SourcesTest, AUserOfAUrlIsNeitherShownNorKept) {
  server_.Put("/file", "content");
  const std::string password = absl::StrCat("s3cr3t-", getpid(), "-", rand());
  ScratchDir elsewhere;  // What is in the context is kept.
  const std::string file =
      elsewhere.Write("Dockerfile", absl::StrCat("FROM base\nADD http://user:", password, "@",
                                                 server_.host(), "/file /secret-file\n"));
  const CommandResult built =
      farm_->FarmOk({"build", "--progress=plain", "-t", "built", "-f", file, context_.path()});
  EXPECT_THAT(built.err, AllOf(HasSubstr("http://xxxxx@"), Not(HasSubstr(password))));
  EXPECT_THAT(farm_->FarmOk({"history", "--no-trunc", "built"}).out,
              AllOf(HasSubstr("ADD http://xxxxx@"), Not(HasSubstr(password))));
  server_.Put("/file", "");
  EXPECT_THAT(
      farm_->Farm({"build", "--no-cache", "--progress=plain", "-f", file, context_.path()}).err,
      AllOf(HasSubstr("404 Not Found"), Not(HasSubstr(password))));
  // Neither in the store, the index, nor any log.
  EXPECT_EQ(RunCommand({"grep", "-rlaF", password, farm_->state_dir()}).out, "");
}

TEST_F(SourcesTest, AFileIsAskedForWithTheSecretOfItsHost) {
  server_.Put("/file", "content");
  const std::string token = absl::StrCat("s3cr3t-", getpid(), "-", rand());
  server_.Require("Bearer " + token);
  ScratchDir elsewhere;
  const std::string file = elsewhere.Write("token", token + "\n");
  std::vector<std::string> args =
      Arguments(absl::StrCat("FROM base\nADD ", server_.url(), "/file /f\nRUN grep content /f\n"));
  EXPECT_THAT(farm_->Farm(args).err, HasSubstr("401 Unauthorized"));
  args.insert(args.begin() + 1, {"--secret", "id=HTTP_AUTH_TOKEN_127.0.0.1,src=" + file});
  EXPECT_THAT(farm_->FarmOk(args).all(), Not(HasSubstr(token)));
  // Neither in the store, the index, nor any log.
  EXPECT_EQ(RunCommand({"grep", "-rlaF", token, farm_->state_dir()}).out, "");
}

class GitSourcesTest : public SourcesTest {
 protected:
  GitSourcesTest() {
    server_.Git(
        "git init -q -b main work && cd work && mkdir -p docs && echo one > a && echo doc > docs/d "
        "&& git add . && git commit -qm 1 && git tag -a v1 -m v1 && cd .. && "
        "git clone -q --bare work r.git && git -C work remote add origin ../r.git");
  }
  std::string url(const std::string& rest = "") { return server_.url() + "/git/r.git" + rest; }
  int Fetches() {
    int fetches = 0;
    for (const std::string& line : server_.TakeLog()) fetches += line == "fetch" ? 1 : 0;
    return fetches;
  }
};

TEST_F(GitSourcesTest, ABranchIsAskedForAtEachBuildAndFetchedOnlyIfItMoved) {
  const std::string dockerfile =
      absl::StrCat("FROM base\nADD ", url("#main"), " /src\n",
                   "RUN test ! -e /src/.git && cat /src/a /src/docs/d > /copy\n");
  EXPECT_THAT(Ran(Build(dockerfile)), ElementsAre("ADD", "RUN"));
  EXPECT_EQ(Fetches(), 1);
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
  EXPECT_EQ(Fetches(), 0);
  server_.Git("cd work && echo two > a && git commit -qam 2 && git push -q origin main");
  EXPECT_THAT(Ran(Build(dockerfile)), ElementsAre("ADD", "RUN"));
  EXPECT_EQ(Fetches(), 1);
  // Another commit of equal files.
  server_.Git("cd work && git commit -q --allow-empty -m 3 && git push -q origin main");
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
}

TEST_F(GitSourcesTest, FormsOfAReference) {
  server_.Git("cd work && echo two > a && git commit -qam 2 && git push -q origin main");
  const std::string first = server_.GitLine("git -C r.git rev-parse 'v1^{commit}'");
  Build(absl::StrCat(
      "FROM base\nADD ", url(), " /default\nADD ", url("#v1"), " /tag\nADD ", url("#" + first),
      " /commit\nADD ", url("#:docs"), " /sub\nADD ", url("?tag=v1&subdir=docs"), " /query/\n",
      "ADD --checksum=", first, " ", url("#v1"), " /checked\n",
      "RUN test \"$(cat /default/a)\" = two && test \"$(cat /tag/a /commit/a /checked/a)\" = ",
      "\"$(printf 'one\\none\\none')\"\n",
      "RUN test \"$(ls /sub)\" = d && test \"$(cat /query/d)\" = doc && test ! -e /sub/docs\n"));
  const CommandResult mismatch = farm_->Farm(
      Arguments(absl::StrCat("FROM base\nADD --checksum=", first, " ", url("#main"), " /x\n")));
  EXPECT_EQ(mismatch.exit_code, 1);
  EXPECT_THAT(mismatch.err, AllOf(HasSubstr("checksum mismatch: expected commit " + first),
                                  HasSubstr("Dockerfile:2")));
}

TEST_F(GitSourcesTest, ARepositoryIsAskedForWithTheSecretOfItsHost) {
  const std::string token = absl::StrCat("Basic s3cr3t-", getpid(), "-", rand());
  server_.Require(token);
  ScratchDir elsewhere;
  const std::string secret =
      absl::StrCat("id=GIT_AUTH_HEADER.", server_.host(), ",src=", elsewhere.Write("token", token));
  std::vector<std::string> args =
      Arguments(absl::StrCat("FROM base\nADD ", url("#main"), " /src\nRUN test -f /src/a\n"));
  EXPECT_THAT(farm_->Farm(args).err, HasSubstr("401 Unauthorized"));
  args.insert(args.begin() + 1, {"--secret", secret});
  EXPECT_THAT(farm_->FarmOk(args).all(), Not(HasSubstr(token)));
  // As a context, too.
  const CommandResult built =
      farm_->Farm({"build", "--secret", secret, "-f", context_.Write("D", "FROM base\nCOPY a /\n"),
                   url("#main")});
  EXPECT_EQ(built.exit_code, 0) << built.all();
  EXPECT_EQ(RunCommand({"grep", "-rlaF", token, farm_->state_dir()}).out, "");
}

TEST_F(GitSourcesTest, ACommitThatIsKnownNeedsNoServer) {
  const std::string commit = server_.GitLine("git -C r.git rev-parse main");
  const std::string dockerfile =
      absl::StrCat("FROM base\nADD ", url("#" + commit), " /src\nRUN test -f /src/a\n");
  Build(dockerfile);
  server_.Git("rm -r r.git");
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
}

TEST_F(GitSourcesTest, TheGitDirectoryIsKeptIfItIsAskedFor) {
  const std::string commit = server_.GitLine("git -C r.git rev-parse main");
  Build(absl::StrCat("FROM base\nADD --keep-git-dir ", url("#main"), " /src\nADD ",
                     url("?keep-git-dir=1&tag=v1"), " /tagged\n",
                     "RUN test \"$(cat /src/.git/HEAD)\" = ", commit,
                     " && test -e /tagged/.git/refs/tags/v1 && test -f /tagged/a\n"));
}

// r.git has the submodule "sub", s.git, which has "deep", d.git, both by relative URLs.
class SubmodulesTest : public GitSourcesTest {
 protected:
  SubmodulesTest() {
    server_.Git(
        "export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always;"
        "for name in d s; do git init -q -b main w$name && cd w$name && echo $name > file && "
        "git remote add origin $PWD/../$name.git && if test $name = s; then "
        "git submodule --quiet add ../d.git deep; fi && git add . && git commit -qm 1 && cd .. && "
        "git clone -q --bare w$name $name.git || exit 1; done && "
        "cd work && git remote set-url origin $PWD/../r.git && "
        "git submodule --quiet add ../s.git sub && git commit -qm sub && git push -q origin main");
  }
};

TEST_F(SubmodulesTest, TheyComeWithTheirsAndAreFetchedOnce) {
  const std::string dockerfile =
      absl::StrCat("FROM base\nADD ", url(), " /src\nRUN test \"$(cat /src/sub/file)\" = s && ",
                   "test \"$(cat /src/sub/deep/file)\" = d && test ! -e /src/sub/.git\n");
  EXPECT_THAT(Ran(Build(dockerfile)), ElementsAre("ADD", "RUN"));
  EXPECT_EQ(Fetches(), 3);
  EXPECT_THAT(Ran(Build(dockerfile)), IsEmpty());
  EXPECT_EQ(Fetches(), 0);
}

TEST_F(SubmodulesTest, AQueryLeavesThemOut) {
  Build(absl::StrCat("FROM base\nADD ", url("?submodules=false"),
                     " /src\nRUN test -f /src/a && test -d /src/sub && test ! -e /src/sub/file\n"));
}

TEST_F(SubmodulesTest, AContextHasThemToo) {
  context_.Write("Dockerfile", "FROM base\nCOPY sub/deep/file /f\nRUN grep d /f\n");
  farm_->FarmOk({"build", "-f", context_ / "Dockerfile", url()});
}

TEST_F(SubmodulesTest, GitKnowsThemInTheDirectoryThatIsKept) {
  context_.Write("Dockerfile",
                 absl::StrCat("FROM scratch\nADD --keep-git-dir ", url("#main"), " /\n"));
  ScratchDir out;
  farm_->FarmOk({"build", "-o", out.path(), context_.path()});
  EXPECT_EQ(RunCommand({"git", "-C", out.path(), "status", "--porcelain"}).all(), "");
  const CommandResult status =
      RunCommand({"git", "-C", out.path(), "submodule", "status", "--recursive"});
  EXPECT_THAT(status.out,
              AllOf(testing::StartsWith(" "), HasSubstr(" sub ("), HasSubstr(" sub/deep (")));
}

}  // namespace
}  // namespace farm
