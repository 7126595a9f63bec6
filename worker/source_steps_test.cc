// Steps that fetch what ADD names, from a server on loopback; git is the host's own.
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "oci/testing/scripted_server.h"
#include "tests/testing/process.h"
#include "worker/root_path.h"
#include "worker/testing/step_fixture.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kDate[] = "Sun, 06 Nov 1994 08:49:37 GMT";
constexpr int64_t kDateSeconds = 784111777;

class SourceStepsTest : public testing::Test {
 protected:
  // Nothing of a step is left.
  ~SourceStepsTest() override {
    for (const char* name : {"/steps", "/tmp"}) {
      EXPECT_TRUE(std::filesystem::is_empty(world_.dir() + name)) << name;
    }
  }

  void Serve(const std::string& content, const httplib::Headers& headers = {}) {
    server_.On([content, headers](const httplib::Request& request, httplib::Response& response) {
      const std::string etag = request.get_header_value("If-None-Match");
      const auto known = headers.find("ETag");
      response.status = 200;
      response.headers = headers;
      if (known != headers.end() && known->second == etag) {
        response.status = 304;
        return;
      }
      response.set_content(content, "application/octet-stream");
    });
  }

  v1::StepSpec FetchFile(const std::string& checksum = "") {
    v1::StepSpec spec;
    v1::FetchFileOperation& fetch = *spec.mutable_identity()->mutable_fetch_file();
    fetch.set_url(server_.url() + "/file");
    fetch.set_file_name("file");
    fetch.set_checksum(checksum);
    return spec;
  }

  std::string Read(const v1::StepResult& result, const std::string& path) {
    return ReadFileInRoot(world_.Mount({StepWorld::RefOf(result)}), path, 1 << 20)
        .value_or("(none)");
  }
  struct stat Stat(const v1::StepResult& result, const std::string& path) {
    struct stat info {};
    const absl::StatusOr<UniqueFd> fd =
        OpenInRoot(world_.Mount({StepWorld::RefOf(result)}), path, O_PATH);
    EXPECT_OK(fd);
    if (fd.ok()) fstat(fd->get(), &info);
    return info;
  }

  StepWorld world_;
  ScriptedServer server_;
};

TEST_F(SourceStepsTest, AFileIsALayerOfItsOwn) {
  Serve("content", {{"Last-Modified", kDate}, {"ETag", "\"v1\""}});
  const absl::StatusOr<v1::StepResult> result = world_.Execute(FetchFile());
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/file"), "content");
  EXPECT_EQ(Stat(*result, "/file").st_mode, S_IFREG | 0600u);
  EXPECT_EQ(Stat(*result, "/file").st_mtime, kDateSeconds);
  EXPECT_EQ(result->etag(), "\"v1\"");
  EXPECT_EQ(result->last_modified(), kDate);
  EXPECT_EQ(result->usage().fetched_bytes(), 7);
}

TEST_F(SourceStepsTest, AFileWhoseServerTellsNoTimeIsOf1970) {
  Serve("content");
  const absl::StatusOr<v1::StepResult> result = world_.Execute(FetchFile());
  ASSERT_OK(result);
  EXPECT_EQ(Stat(*result, "/file").st_mtime, 0);
}

TEST_F(SourceStepsTest, WhatIsUnchangedIsTheLayerThatIsKnown) {
  Serve("content", {{"ETag", "\"v1\""}});
  const absl::StatusOr<v1::StepResult> first = world_.Execute(FetchFile());
  ASSERT_OK(first);
  v1::StepSpec again = FetchFile();
  *again.mutable_execution()->mutable_known_file()->mutable_layer() = first->layer();
  again.mutable_execution()->mutable_known_file()->set_etag(first->etag());
  const absl::StatusOr<v1::StepResult> second = world_.Execute(again);
  ASSERT_OK(second);
  EXPECT_TRUE(second->not_modified());
  EXPECT_EQ(second->layer().SerializeAsString(), first->layer().SerializeAsString());
  // A server that sends all the same.
  server_.On([](const httplib::Request&, httplib::Response& response) {
    response.status = 200;
    response.set_header("ETag", "\"v1\"");
    response.set_content("content", "text/plain");
  });
  EXPECT_TRUE(world_.Execute(again)->not_modified());
  Serve("changed", {{"ETag", "\"v2\""}});
  const absl::StatusOr<v1::StepResult> third = world_.Execute(again);
  ASSERT_OK(third);
  EXPECT_FALSE(third->not_modified());
  EXPECT_EQ(Read(*third, "/file"), "changed");
}

TEST_F(SourceStepsTest, ATimeAloneSaysNotThatAFileIsUnchanged) {
  Serve("content", {{"Last-Modified", kDate}});
  const absl::StatusOr<v1::StepResult> first = world_.Execute(FetchFile());
  ASSERT_OK(first);
  v1::StepSpec again = FetchFile();
  *again.mutable_execution()->mutable_known_file()->mutable_layer() = first->layer();
  again.mutable_execution()->mutable_known_file()->set_last_modified(first->last_modified());
  server_.On([](const httplib::Request& request, httplib::Response& response) {
    response.status = request.has_header("If-Modified-Since") ? 304 : 200;
    response.set_content("older", "text/plain");
  });
  const absl::StatusOr<v1::StepResult> second = world_.Execute(again);
  ASSERT_OK(second);
  EXPECT_EQ(Read(*second, "/file"), "older");
}

TEST_F(SourceStepsTest, AHeaderThatCouldNotBeSentAgainIsNotRemembered) {
  Serve("content", {{"ETag", "\"\xff\""}});
  const absl::StatusOr<v1::StepResult> result = world_.Execute(FetchFile());
  ASSERT_OK(result);
  EXPECT_EQ(result->etag(), "");
}

TEST_F(SourceStepsTest, ADateAloneTellsNothing) {
  bool was_asked_since = false;
  server_.On([&](const httplib::Request& request, httplib::Response& response) {
    was_asked_since = request.has_header("If-Modified-Since");
    response.status = was_asked_since ? 304 : 200;
    response.set_header("Last-Modified", kDate);
    if (response.status == 200) response.set_content("content", "text/plain");
  });
  const absl::StatusOr<v1::StepResult> first = world_.Execute(FetchFile());
  ASSERT_OK(first);
  v1::StepSpec again = FetchFile();
  v1::FetchedFile& known = *again.mutable_execution()->mutable_known_file();
  *known.mutable_layer() = first->layer();
  known.set_last_modified(first->last_modified());
  const absl::StatusOr<v1::StepResult> second = world_.Execute(again);
  ASSERT_OK(second);
  EXPECT_FALSE(was_asked_since);
  EXPECT_FALSE(second->not_modified());
  EXPECT_EQ(second->layer().diff_id().SerializeAsString(),
            first->layer().diff_id().SerializeAsString());
}

TEST_F(SourceStepsTest, AVersionThatIsNoShortTextIsNotRemembered) {
  for (const std::string& value :
       {std::string(1025, 'x'), std::string("\"\xff\""), std::string("\"\xc3\xa4\"")}) {
    Serve("content", {{"ETag", value}, {"Last-Modified", value}});
    const absl::StatusOr<v1::StepResult> result = world_.Execute(FetchFile());
    ASSERT_OK(result);
    EXPECT_EQ(result->etag(), "");
    EXPECT_EQ(result->last_modified(), "");
  }
}

TEST_F(SourceStepsTest, AChecksumIsVerified) {
  Serve("content");
  EXPECT_OK(world_.Execute(FetchFile(DigestOf("content").oci())));
  EXPECT_THAT(world_.Execute(FetchFile(DigestOf("other").oci())),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("checksum mismatch"), HasSubstr(DigestOf("content").oci()),
                             HasSubstr(DigestOf("other").oci()))));
}

TEST_F(SourceStepsTest, SizesAreBoundedAsAnnouncedAndAsTheyCome) {
  SourceClient::Options options;
  options.loopback_allowed = true;
  options.bytes_max = 6;
  world_.LimitSources(options);
  Serve("content");
  EXPECT_THAT(world_.Execute(FetchFile()), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("sources.bytes_max = 6 bytes")));
  server_.On([](const httplib::Request&, httplib::Response& response) {
    response.status = 200;
    response.set_chunked_content_provider("a/b", [](size_t, httplib::DataSink& sink) {
      sink.write("content", 7);
      sink.done();
      return true;
    });
  });
  EXPECT_THAT(world_.Execute(FetchFile()), StatusIs(absl::StatusCode::kInvalidArgument,
                                                    HasSubstr("sources.bytes_max = 6 bytes")));
}

TEST_F(SourceStepsTest, ANameIsOneOfAFile) {
  for (const char* name : {"", ".", "..", "a/b"}) {
    v1::StepSpec spec = FetchFile();
    spec.mutable_identity()->mutable_fetch_file()->set_file_name(name);
    EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument)) << name;
  }
  EXPECT_THAT(server_.requests(), IsEmpty());
}

// A repository that is served as plain files.
class GitStepsTest : public SourceStepsTest {
 protected:
  GitStepsTest() {
    Shell(
        "git init -q -b main work && cd work && git config user.name n && git config user.email e "
        "&& mkdir -p docs/sub && echo one > a && echo doc > docs/d && echo s > docs/sub/s && "
        "ln -s a link && chmod +x a && git add . && git commit -qm 1 && "
        "git tag -a v1 -m v1 && git checkout -q -b side && echo two > a && git commit -qam 2 && "
        "git checkout -q main && cd .. && git clone -q --bare work repo.git && "
        "git -C repo.git update-server-info");
    server_.On([this](const httplib::Request& request, httplib::Response& response) {
      const absl::StatusOr<std::string> file = ReadFile(dir_.path() + request.path);
      if (!file.ok()) return;
      response.status = 200;
      response.set_content(*file, "application/octet-stream");
    });
  }

  std::string Shell(const std::string& script) {
    const CommandResult result = RunShell(script, {.dir = dir_.path(), .env = {{"HOME", "/"}}});
    EXPECT_EQ(result.exit_code, 0) << result.all();
    return result.out.substr(0, result.out.find('\n'));
  }
  std::string IdOf(const std::string& name) {
    return Shell(absl::StrCat("git -C repo.git rev-parse '", name, "^{commit}'"));
  }

  v1::StepSpec Resolve(const std::string& ref) {
    v1::StepSpec spec;
    spec.mutable_identity()->mutable_resolve_git()->set_remote(server_.url() + "/repo.git");
    spec.mutable_identity()->mutable_resolve_git()->set_ref(ref);
    return spec;
  }
  v1::StepSpec Fetch(const std::string& ref, const std::string& subdir = "") {
    v1::StepSpec spec;
    v1::FetchGitOperation& fetch = *spec.mutable_identity()->mutable_fetch_git();
    fetch.set_remote(server_.url() + "/repo.git");
    fetch.set_commit(IdOf(ref));
    fetch.set_ref(ref);
    fetch.set_subdir(subdir);
    return spec;
  }

  ScratchDir dir_;
};

TEST_F(GitStepsTest, AReferenceIsABranchBeforeATag) {
  const std::pair<const char*, const char*> cases[] = {{"", "refs/heads/main"},
                                                       {"side", "refs/heads/side"},
                                                       {"heads/side", "refs/heads/side"},
                                                       {"v1", "refs/tags/v1"},
                                                       {"refs/tags/v1", "refs/tags/v1"}};
  for (const auto& [ref, full] : cases) {
    const absl::StatusOr<v1::StepResult> result = world_.Execute(Resolve(ref));
    ASSERT_OK(result) << ref;
    EXPECT_EQ(result->commit().ref(), full);
    EXPECT_EQ(result->commit().id(), IdOf(full)) << ref;
  }
  Shell("git -C repo.git tag side v1 && git -C repo.git update-server-info");
  EXPECT_EQ(world_.Execute(Resolve("side"))->commit().id(), IdOf("refs/heads/side"));
}

TEST_F(GitStepsTest, WhatTheRepositoryLacksIsToldByName) {
  EXPECT_THAT(world_.Execute(Resolve("gone")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("repo.git: the repository has no branch or tag \"gone\"")));
  v1::StepSpec spec = Fetch("refs/heads/main");
  spec.mutable_identity()->mutable_fetch_git()->set_commit(std::string(40, 'a'));
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument,
                                             HasSubstr("the repository has no commit aaaa")));
  EXPECT_THAT(world_.Execute(Fetch("refs/heads/main", "docs/gone")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the commit has no directory \"docs/gone\"")));
  EXPECT_THAT(world_.Execute(Fetch("refs/heads/main", "link")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no directory")));
  v1::StepSpec elsewhere = Resolve("main");
  elsewhere.mutable_identity()->mutable_resolve_git()->set_remote(server_.url() + "/gone.git");
  EXPECT_THAT(world_.Execute(elsewhere),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("404 Not Found")));
}

TEST_F(GitStepsTest, ACommitIsItsFiles) {
  const absl::StatusOr<v1::StepResult> main = world_.Execute(Fetch("refs/heads/main"));
  ASSERT_OK(main);
  EXPECT_EQ(Read(*main, "/a"), "one\n");
  EXPECT_EQ(Stat(*main, "/a").st_mode, S_IFREG | 0755u);
  EXPECT_EQ(Stat(*main, "/docs").st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(Read(*main, "/docs/sub/s"), "s\n");
  EXPECT_EQ(Read(*main, "/.git/HEAD"), "(none)");
  const absl::StatusOr<v1::StepResult> side = world_.Execute(Fetch("refs/heads/side"));
  ASSERT_OK(side);
  EXPECT_EQ(Read(*side, "/a"), "two\n");
}

TEST_F(GitStepsTest, OfASubdirectoryComesWhatIsInIt) {
  const absl::StatusOr<v1::StepResult> docs = world_.Execute(Fetch("refs/heads/main", "docs"));
  ASSERT_OK(docs);
  EXPECT_EQ(Read(*docs, "/d"), "doc\n");
  EXPECT_EQ(Read(*docs, "/sub/s"), "s\n");
  EXPECT_EQ(Read(*docs, "/a"), "(none)");
}

TEST_F(GitStepsTest, AnEmptySubdirectoryIsAnEmptyLayer) {
  Shell(
      "cd repo.git && empty=$(git mktree < /dev/null) && "
      "tree=$(printf '040000 tree %s\\tempty\\n' $empty | git mktree) && "
      "commit=$(git -c user.name=n -c user.email=e commit-tree -m e $tree) && "
      "git update-ref refs/heads/hollow $commit && git update-server-info");
  const absl::StatusOr<v1::StepResult> result = world_.Execute(Fetch("refs/heads/hollow", "empty"));
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/a"), "(none)");
}

TEST_F(GitStepsTest, AHostWithoutGitLeavesItToOthers) {
  const v1::StepSpec spec = Resolve("main");
  const std::string path = getenv("PATH");
  ASSERT_EQ(setenv("PATH", "/nonexistent", 1), 0);
  const absl::StatusOr<v1::StepResult> result = world_.Execute(spec);
  ASSERT_EQ(setenv("PATH", path.c_str(), 1), 0);
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no program git")));
}

TEST_F(GitStepsTest, TheFirstAnswerIsBounded) {
  server_.On([](const httplib::Request&, httplib::Response& response) {
    response.status = 200;
    response.set_content(std::string((64 << 20) + 1, 'x'), "text/plain");
  });
  EXPECT_THAT(
      world_.Execute(Resolve("main")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("references has more than 67108864")));
}

// git would look it up under another name, and not go where the address was checked.
TEST_F(GitStepsTest, AHostThatGitWouldWriteInAnotherWayIsRefused) {
  for (const char* host : {"b\303\274cher.example", "a%2eb%20c.example"}) {
    v1::StepSpec spec = Resolve("main");
    spec.mutable_identity()->mutable_resolve_git()->set_remote(
        absl::StrCat("http://", host, "/repo.git"));
    EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument)) << host;
  }
}

TEST_F(GitStepsTest, TheGitDirectoryIsKeptWithoutAUser) {
  v1::StepSpec spec = Fetch("refs/tags/v1");
  spec.mutable_identity()->mutable_fetch_git()->set_remote("http://user:pass@" + server_.host() +
                                                           "/repo.git");
  spec.mutable_identity()->mutable_fetch_git()->set_keep_git_dir(true);
  const absl::StatusOr<v1::StepResult> result = world_.Execute(spec);
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/.git/HEAD"), IdOf("v1") + "\n");
  const std::string config = Read(*result, "/.git/config");
  EXPECT_THAT(config, AllOf(HasSubstr(server_.url() + "/repo.git"), Not(HasSubstr("pass")),
                            Not(HasSubstr(world_.dir()))));
}

// The repository "repo.git" has the submodule lib/one, "one.git", and that has "two.git" as deep.
class SubmodulesTest : public GitStepsTest {
 protected:
  SubmodulesTest() {
    NewRepository("two", "echo 2 > f");
    NewRepository("one", "echo 1 > f && mkdir d && echo d > d/d && " + AddTo("deep", "../two.git"));
    Main("mkdir lib && " + AddTo("lib/one", "./../one.git"));
  }

  // Puts what `script` leaves in a work tree of its own into NAME.git.
  void NewRepository(const std::string& name, const std::string& script) {
    Shell(absl::StrCat("git init -q -b main w-", name, " && cd w-", name,
                       " && git config user.name n && git config user.email e && ", script,
                       " && git add . && git commit -qm 1 && cd .. && git clone -q --bare w-", name,
                       " ", name, ".git && git -C ", name, ".git update-server-info"));
  }
  // The same of a change to repo.git.
  void Main(const std::string& script) {
    Shell(absl::StrCat("cd work && ", script,
                       " && git add . && git commit -qm s && git push -q ../repo.git main && "
                       "git -C ../repo.git update-server-info"));
  }
  // A submodule of the name of its path, which is of the commit that a file of ours is.
  std::string AddTo(const std::string& path, const std::string& url) {
    const std::string file = url.substr(url.rfind('/') + 1);
    return absl::StrCat("id=$(git -C ", dir_ / file, " rev-parse main) && ",
                        "git update-index --add --cacheinfo 160000,$id,", path, " && mkdir -p ",
                        path, " && git config -f .gitmodules submodule.", path, ".path ", path,
                        " && git config -f .gitmodules submodule.", path, ".url ", url);
  }
  absl::StatusOr<v1::StepResult> FetchWith(const std::string& subdir = "") {
    v1::StepSpec spec = Fetch("refs/heads/main", subdir);
    spec.mutable_identity()->mutable_fetch_git()->set_submodules(true);
    return world_.Execute(spec);
  }
};

TEST_F(SubmodulesTest, TheirFilesAndThoseOfTheirsAreThere) {
  const absl::StatusOr<v1::StepResult> result = FetchWith();
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/a"), "one\n");
  EXPECT_EQ(Read(*result, "/lib/one/f"), "1\n");
  EXPECT_EQ(Read(*result, "/lib/one/deep/f"), "2\n");
  EXPECT_EQ(Read(*result, "/lib/one/.git"), "(none)");
}

TEST_F(SubmodulesTest, TheyAreLeftOutIfTheyAreNotWanted) {
  const absl::StatusOr<v1::StepResult> result = world_.Execute(Fetch("refs/heads/main"));
  ASSERT_OK(result);
  EXPECT_EQ(Stat(*result, "/lib/one").st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(Read(*result, "/lib/one/f"), "(none)");
  EXPECT_THAT(world_.Execute(Fetch("refs/heads/main", "lib/one/d")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no directory")));
}

TEST_F(SubmodulesTest, OfASubdirectoryComeThoseInIt) {
  const absl::StatusOr<v1::StepResult> lib = FetchWith("lib");
  ASSERT_OK(lib);
  EXPECT_EQ(Read(*lib, "/one/deep/f"), "2\n");
  Shell("rm -r one.git");
  const absl::StatusOr<v1::StepResult> docs = FetchWith("docs");
  ASSERT_OK(docs);
  EXPECT_EQ(Read(*docs, "/d"), "doc\n");
}

TEST_F(SubmodulesTest, ASubdirectoryMayBeInOne) {
  for (const auto& [subdir, file] : {std::pair("lib/one", "/f"), std::pair("lib/one/d", "/d"),
                                     std::pair("lib/one/deep", "/f")}) {
    const absl::StatusOr<v1::StepResult> result = FetchWith(subdir);
    ASSERT_OK(result) << subdir;
    EXPECT_NE(Read(*result, file), "(none)") << subdir;
    EXPECT_EQ(Read(*result, "/a"), "(none)") << subdir;
  }
  EXPECT_THAT(FetchWith("lib/one/gone"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("submodule \"lib/one\""), HasSubstr("\"gone\""))));
}

TEST_F(SubmodulesTest, GitDirectoriesAreWhereGitLooksForThem) {
  v1::StepSpec spec = Fetch("refs/heads/main");
  spec.mutable_identity()->mutable_fetch_git()->set_submodules(true);
  spec.mutable_identity()->mutable_fetch_git()->set_keep_git_dir(true);
  const absl::StatusOr<v1::StepResult> result = world_.Execute(spec);
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/lib/one/.git"), "gitdir: ../../.git/modules/lib/one\n");
  EXPECT_EQ(Read(*result, "/lib/one/deep/.git"),
            "gitdir: ../../../.git/modules/lib/one/modules/deep\n");
  EXPECT_THAT(Read(*result, "/.git/modules/lib/one/config"),
              HasSubstr("worktree = ../../../../lib/one\n"));
  EXPECT_THAT(Read(*result, "/.git/config"), HasSubstr(server_.url() + "/one.git"));
}

TEST_F(SubmodulesTest, WhatIsWrongWithOneIsToldWithItsPath) {
  const std::pair<std::string, const char*> cases[] = {
      {"git config -f .gitmodules submodule.lib/one.url git@h:one.git",
       "submodule \"lib/one\": expected an http or https URL, got \"git@h:one.git\""},
      {"git config -f .gitmodules submodule.lib/one.url ../../one.git", "leads out of"},
      {"git config -f .gitmodules submodule.lib/one.url ../gone.git", "404 Not Found"},
      {"git config -f .gitmodules --unset submodule.lib/one.url", "gives no URL for it"},
      {"git rm -q --cached .gitmodules && mv .gitmodules ..", "gives no URL for it"},
  };
  for (const auto& [script, message] : cases) {
    Main(script);
    EXPECT_THAT(FetchWith(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("submodule \"lib/one\""), HasSubstr(message))))
        << script;
  }
}

TEST_F(SubmodulesTest, ASubdirectoryMayBeInOneThatComesBeforeDotGitmodules) {
  Main(AddTo(".actions", "../one.git"));
  const absl::StatusOr<v1::StepResult> result = FetchWith(".actions/d");
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/d"), "d\n");
}

TEST_F(SubmodulesTest, ANameThatIsNoFilesIsAMistakeOfTheRepository) {
  const std::string name(300, 'x');
  Main(absl::StrCat("sed -i 's|submodule \"lib/one\"|submodule \"", name, "\"|' .gitmodules"));
  v1::StepSpec spec = Fetch("refs/heads/main");
  spec.mutable_identity()->mutable_fetch_git()->set_submodules(true);
  spec.mutable_identity()->mutable_fetch_git()->set_keep_git_dir(true);
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("gives no URL for it")));
}

TEST_F(SubmodulesTest, OneWhoseUpdateIsNoneIsLeftOut) {
  Main("git config -f .gitmodules submodule.lib/one.update none");
  Shell("rm -r one.git");
  const absl::StatusOr<v1::StepResult> result = FetchWith();
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/lib/one/f"), "(none)");
  EXPECT_OK(FetchWith("lib/one"));
  EXPECT_THAT(FetchWith("lib/one/d"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("its update is none")));
}

TEST_F(SubmodulesTest, TheSecretOfTheRepositoryIsForItsOriginAlone) {
  ScriptedServer elsewhere;
  Main(absl::StrCat("git config -f .gitmodules submodule.lib/one.url ", elsewhere.url(),
                    "/one.git"));
  v1::StepSpec spec = Fetch("refs/heads/main");
  spec.mutable_identity()->mutable_fetch_git()->set_submodules(true);
  spec.mutable_execution()->set_source_authorization("Basic secret");
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(elsewhere.authorizations(), ElementsAre(""));
  EXPECT_THAT(server_.authorizations(), Each("Basic secret"));
}

TEST_F(SubmodulesTest, SizesCountTogether) {
  SourceClient::Options options;
  options.loopback_allowed = true;
  options.bytes_max = 100 << 10;
  world_.LimitSources(options);
  NewRepository("large", "head -c 60000 /dev/zero > zeros");
  Main(AddTo("large", "../large.git") + " && head -c 60000 /dev/zero > zeros");
  EXPECT_THAT(FetchWith(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("submodule \"large\""),
                             HasSubstr("the commit's files are over sources.bytes_max"))));
}

TEST_F(GitStepsTest, HooksAndConfigurationOfTheHostAreNotUsed) {
  Shell(
      "mkdir -p home/hooks && printf \"#!/bin/sh\\ntouch $PWD/ran\\n\" > home/hooks/post-checkout "
      "&& "
      "chmod +x home/hooks/post-checkout && printf \"[core]\\nautocrlf = true\\nhooksPath = "
      "$PWD/home/hooks\\n[init]\\ntemplateDir = $PWD/home\\n\" > home/.gitconfig && "
      "HOME=$PWD/home git clone -q repo.git && test -e ran && rm ran");
  ASSERT_EQ(setenv("HOME", (dir_ / "home").c_str(), 1), 0);
  v1::StepSpec spec = Fetch("refs/heads/main");
  spec.mutable_identity()->mutable_fetch_git()->set_keep_git_dir(true);
  const absl::StatusOr<v1::StepResult> result = world_.Execute(spec);
  ASSERT_OK(result);
  EXPECT_EQ(Read(*result, "/a"), "one\n");
  EXPECT_EQ(Read(*result, "/.git/hooks/post-checkout"), "(none)");
  EXPECT_FALSE(std::filesystem::exists(dir_ / "ran"));
}

// Trees that git itself would not make.
class HostileTreeTest : public SubmodulesTest {
 protected:
  HostileTreeTest() : outside_(dir_ / "outside") {
    Shell("mkdir outside && echo secret > outside/s");
    NewRepository("links", absl::StrCat("ln -s ", outside_, " b"));
  }
  ~HostileTreeTest() override { EXPECT_EQ(Shell("ls outside"), "s"); }

  // A branch of repo.git with these entries, as `git mktree` takes them.
  absl::StatusOr<v1::StepResult> FetchTree(const std::string& entries, const std::string& subdir,
                                           bool keep_git_dir = false) {
    Shell(absl::StrCat(
        "cd repo.git && one=$(git -C ../links.git rev-parse main) && "
        "two=$(git -C ../two.git rev-parse main) && x=$(echo x | git hash-object -w --stdin) && "
        "link=$(printf '",
        outside_,
        "' | git hash-object -w --stdin) && modules=$(printf '[submodule \"a\"]\\npath = a\\n"
        "url = ../links.git\\n[submodule \"ab\"]\\npath = a/b\\nurl = ../two.git\\n' | "
        "git hash-object -w --stdin) && sub=$(printf \"160000 commit $two\\tb\\n\" | "
        "git mktree --missing) && files=$(printf \"100644 blob $x\\tx\\n\" | git mktree) && "
        "tree=$(printf \"",
        entries,
        "\" | git mktree --missing) && commit=$(git -c user.name=n -c user.email=e commit-tree "
        "-m e $tree) && git update-ref refs/heads/hostile $commit && git update-server-info"));
    v1::StepSpec spec = Fetch("refs/heads/hostile", subdir);
    spec.mutable_identity()->mutable_fetch_git()->set_submodules(true);
    spec.mutable_identity()->mutable_fetch_git()->set_keep_git_dir(keep_git_dir);
    return world_.Execute(spec);
  }

  const std::string outside_;
};

TEST_F(HostileTreeTest, ASubmoduleIsNotWrittenThroughALinkOfAnother) {
  for (const bool keep_git_dir : {false, true}) {
    EXPECT_THAT(FetchTree("160000 commit $one\\ta\\n040000 tree $sub\\ta\\n"
                          "100644 blob $modules\\t.gitmodules\\n",
                          "", keep_git_dir),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("submodule \"a\": its path is no empty directory")));
  }
}

TEST_F(HostileTreeTest, ASubdirectoryIsNotReachedThroughALink) {
  EXPECT_THAT(
      FetchTree("040000 tree $files\\ta\\n120000 blob $link\\ta\\n", "a"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the commit has no directory \"a\"")));
}

TEST_F(GitStepsTest, SizesOfACommitAreBounded) {
  SourceClient::Options options;
  options.loopback_allowed = true;
  options.bytes_max = 100 << 10;
  world_.LimitSources(options);
  // Small to fetch, large to have.
  Shell(
      "cd work && head -c 200000 /dev/zero > zeros && git add . && git commit -qm zeros && "
      "git push -q ../repo.git main && git -C ../repo.git update-server-info");
  EXPECT_THAT(world_.Execute(Fetch("refs/heads/main")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the commit's files are over sources.bytes_max")));
}

TEST_F(GitStepsTest, WhatIsNoCommitOrPathIsRefusedBeforeAnythingIsAsked) {
  v1::StepSpec commit = Fetch("refs/heads/main");
  commit.mutable_identity()->mutable_fetch_git()->set_commit("--upload-pack=x");
  v1::StepSpec ref = Fetch("refs/heads/main");
  ref.mutable_identity()->mutable_fetch_git()->set_ref("--upload-pack=x");
  for (const v1::StepSpec& spec :
       {commit, ref, Fetch("refs/heads/main", "../x"), Resolve("--upload-pack=x")}) {
    EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument));
  }
  EXPECT_THAT(server_.requests(), IsEmpty());
}

}  // namespace
}  // namespace farm
