#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "cli/build_files.h"
#include "cli/context_scanner.h"
#include "cli/context_upload.h"
#include "cli/stat_cache.h"
#include "cli/testing/fake_farm_client.h"
#include "layer/compression.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ContextTest : public ::testing::Test {
 protected:
  ContextTest() {
    std::string pattern = ::testing::TempDir() + "/farm-context-XXXXXX";
    root_ = mkdtemp(pattern.data());
    context_ = root_ / "context";
    fs::create_directory(context_);
  }
  ~ContextTest() override { fs::remove_all(root_); }

  void Write(const std::string& path, absl::string_view bytes) {
    fs::create_directories((context_ / path).parent_path());
    std::ofstream(context_ / path) << bytes;
  }
  // Sets the times of a file far into the past, so that the cache may remember it.
  void Settle(const std::string& path, time_t mtime = 1'600'000'000) {
    const timespec times[2] = {{mtime, 0}, {mtime, 0}};
    ASSERT_EQ(utimensat(AT_FDCWD, (context_ / path).c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
  }
  absl::StatusOr<ScannedContext> Scan(absl::string_view ignore = "") {
    ScanOptions options;
    absl::StatusOr<DockerIgnore> rules = DockerIgnore::Parse(".dockerignore", ignore);
    if (!rules.ok()) return rules.status();
    options.ignore = *std::move(rules);
    options.stat_cache_path = cache_path_;
    return ScanContext(context_, options);
  }
  static std::vector<std::string> Paths(const absl::StatusOr<ScannedContext>& scanned) {
    std::vector<std::string> paths;
    if (!scanned.ok()) return {scanned.status().ToString()};
    for (const TableEntry& entry : scanned->table.entries()) paths.push_back(entry.path);
    return paths;
  }

  fs::path root_, context_;
  std::string cache_path_;
};

// ---- scanning

TEST_F(ContextTest, FilesAreFoundWithContentAndModeAndBelongToRoot) {
  Write("src/main.c", "int main;");
  fs::permissions(context_ / "src/main.c", static_cast<fs::perms>(0751));
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.files, 1);
  EXPECT_EQ(scanned.files_bytes, 9);
  const TableEntry* file = scanned.table.Find("src/main.c");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->content, DigestOf("int main;"));
  EXPECT_EQ(file->mode, 0751u);
  EXPECT_EQ(file->uid, 0u);
  EXPECT_EQ(file->gid, 0u);
  ASSERT_NE(scanned.table.Find("src"), nullptr);
  EXPECT_EQ(scanned.table.Find("src")->type, EntryType::kDirectory);
  EXPECT_EQ(scanned.table_digest, DigestOf(scanned.table_bytes));
}

TEST_F(ContextTest, SymlinksStayAsTheyAreEvenInALoop) {
  fs::create_symlink("../outside", context_ / "out");
  fs::create_symlink("loop", context_ / "loop");
  fs::create_directory_symlink(".", context_ / "self");
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  ASSERT_EQ(scanned.table.size(), 3u);
  EXPECT_EQ(scanned.table.Find("out")->link_target, "../outside");
  EXPECT_EQ(scanned.table.Find("self")->type, EntryType::kSymlink);
}

TEST_F(ContextTest, NamesOfOneFileAreHardLinks) {
  Write("a", "same");
  Write("d/other", "same");
  fs::create_hard_link(context_ / "a", context_ / "b");
  fs::create_hard_link(context_ / "a", context_ / "d/c");
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.table.Find("a")->hard_link_to, "");
  EXPECT_EQ(scanned.table.Find("b")->hard_link_to, "a");
  EXPECT_EQ(scanned.table.Find("d/c")->hard_link_to, "a");
  EXPECT_EQ(scanned.table.Find("d/c")->content, DigestOf("same"));
  EXPECT_EQ(scanned.table.Find("d/other")->hard_link_to, "");
}

TEST_F(ContextTest, AFileWithOneNameInTheContextIsNoHardLink) {
  Write("a", "same");
  Write("ignored", "");
  fs::remove(context_ / "ignored");
  fs::create_hard_link(context_ / "a", context_ / "ignored");
  fs::create_hard_link(context_ / "a", root_ / "outside");
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan("ignored\n"));
  EXPECT_EQ(scanned.table.Find("a")->hard_link_to, "");
}

TEST_F(ContextTest, SocketsAreLeftOutAndFifosKept) {
  // By a short path: a unix socket's may have 107 bytes.
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM, 0));
  const UniqueFd directory(open(context_.c_str(), O_RDONLY | O_DIRECTORY));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  absl::StrCat("/proc/self/fd/", directory.get(), "/s").copy(address.sun_path, 100);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(mkfifo((context_ / "p").c_str(), 0600), 0);
  EXPECT_THAT(Paths(Scan()), ElementsAre("p"));
}

TEST_F(ContextTest, WhatIsIgnoredIsLeftOut) {
  Write("keep", "");
  Write("node_modules/a/b", "");
  Write("build/x.o", "");
  Write("build/x.c", "");
  EXPECT_THAT(Paths(Scan("node_modules\n**/*.o\n")), ElementsAre("build", "build/x.c", "keep"));
}

TEST_F(ContextTest, AnExceptionBringsItsDirectoriesAlong) {
  Write("vendor/a/keep/file", "");
  Write("vendor/a/other", "");
  Write("vendor/b/file", "");
  EXPECT_THAT(Paths(Scan("vendor\n!vendor/a/keep\n")),
              ElementsAre("vendor", "vendor/a", "vendor/a/keep", "vendor/a/keep/file"));
}

TEST_F(ContextTest, ADirectoryThatIsNoneIsAnError) {
  Write("file", "");
  EXPECT_THAT(ScanContext((context_ / "file").string(), {}),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(ScanContext((context_ / "none").string(), {}), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ContextTest, TooManyEntriesAreRefusedWithAnAdvice) {
  for (int i = 0; i < 20; ++i) Write(absl::StrCat("f", i), "");
  ScanOptions options;
  options.limits.entries_max = 10;
  EXPECT_THAT(ScanContext(context_, options),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr(".dockerignore")));
}

// What changes all the time is caught as it was at some moment, whole, or left out, and what does
// not change is always there.
TEST_F(ContextTest, FilesThatComeAndGoWhileItIsReadDoNoHarm) {
  const std::string contents[] = {std::string(3000, 'a'), std::string(7000, 'b')};
  for (int i = 0; i < 100; ++i) Write(absl::StrCat("stays/f", i), absl::StrCat("content ", i));
  std::atomic<bool> stop = false;
  std::atomic<int> rounds = 0;
  std::thread churn([&] {
    const fs::path directory = context_ / "comes";
    while (!stop) {
      fs::create_directories(directory);
      for (int i = 0; i < 20; ++i) {
        // Renamed into place: never half written.
        std::ofstream(root_ / "new") << contents[(rounds + i) % 2];
        fs::rename(root_ / "new", directory / absl::StrCat("f", i));
      }
      if (++rounds % 3 == 0) fs::remove_all(directory);
    }
  });
  for (int scans = 0; scans < 50 || rounds < 20; ++scans) {
    const absl::StatusOr<ScannedContext> scanned = Scan();
    ASSERT_OK(scanned);
    for (int i = 0; i < 100; ++i) {
      const TableEntry* entry = scanned->table.Find(absl::StrCat("stays/f", i));
      ASSERT_NE(entry, nullptr);
      ASSERT_EQ(entry->content, DigestOf(absl::StrCat("content ", i)));
    }
    for (const TableEntry& entry : scanned->table.entries()) {
      if (entry.type != EntryType::kFile || !absl::StartsWith(entry.path, "comes/")) continue;
      ASSERT_THAT(entry.content, AnyOf(DigestOf(contents[0]), DigestOf(contents[1])));
    }
  }
  stop = true;
  churn.join();
}

TEST_F(ContextTest, AFileThatKeepsChangingIsAnErrorThatNamesIt) {
  std::atomic<bool> stop = false;
  Write("log", std::string(8 << 20, 'x'));
  std::thread churn([&] {
    const UniqueFd fd(open((context_ / "log").c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    while (!stop) EXPECT_OK(FdSink(fd.get()).Write("y"));
  });
  // On a busy machine the other thread may stand still while the file is read.
  absl::StatusOr<ScannedContext> scanned = Scan();
  for (int i = 0; i < 100 && scanned.ok(); ++i) scanned = Scan();
  stop = true;
  churn.join();
  EXPECT_THAT(scanned, StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("'log'")));
}

TEST_F(ContextTest, AContextThatIsRemovedWhileItIsReadIsEmptyOrMissing) {
  std::atomic<bool> stop = false;
  std::thread churn([&] {
    while (!stop) {
      std::error_code error;
      fs::remove_all(context_, error);
      fs::create_directories(context_ / "a/b", error);
      std::ofstream(context_ / "a/b/f") << "";
    }
  });
  for (int i = 0; i < 200; ++i) {
    const absl::StatusOr<ScannedContext> scanned = Scan();
    if (!scanned.ok()) {
      ASSERT_THAT(scanned, StatusIs(absl::StatusCode::kNotFound));
      continue;
    }
    // A name without its directory would be no table.
    for (const TableEntry& entry : scanned->table.entries()) {
      const size_t slash = entry.path.rfind('/');
      if (slash == std::string::npos) continue;
      ASSERT_NE(scanned->table.Find(entry.path.substr(0, slash)), nullptr) << entry.path;
    }
  }
  stop = true;
  churn.join();
}

TEST_F(ContextTest, ManyFilesOfOneDirectoryAreAllFound) {
  for (int i = 0; i < 1000; ++i) Write(absl::StrCat("f", i), absl::StrCat(i));
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.files, 1000);
  EXPECT_EQ(scanned.table.Find("f777")->content, DigestOf("777"));
}

// ---- sending it

class ContextUploadTest : public ContextTest {
 protected:
  // Scans, lets `change` happen, and sends.
  template <typename Change>
  absl::Status SendAfter(Change change) {
    absl::StatusOr<ScannedContext> scanned = Scan();
    if (!scanned.ok()) return scanned.status();
    table_ = scanned->table_digest;
    change();
    return UploadContext(*scanned, farm_, /*trust_table=*/true, [](int64_t) {}).status();
  }
  bool TableIsThere() {
    const auto missing = farm_.blobs().FindMissing({table_});
    return missing.ok() && missing->empty();
  }

  FakeFarmClient farm_;
  Digest table_;
};

TEST_F(ContextUploadTest, FilesAndTableAreThereAfterwards) {
  Write("d/small", "abc");
  Write("large", std::string(1 << 20, 'x'));
  EXPECT_OK(SendAfter([] {}));
  EXPECT_TRUE(TableIsThere());
  EXPECT_THAT(GetBytes(farm_.blobs(), DigestOf("abc"), 100), IsOkAndHolds("abc"));
}

// A file that is sent among others, and one that is sent by itself.
class ChangedFileTest : public ContextUploadTest, public ::testing::WithParamInterface<size_t> {
 protected:
  ChangedFileTest() {
    Write("d/before", "b");
    Write("d/file", std::string(GetParam(), 'x'));
    Write("d/later", "l");
  }
  void ExpectAborted(const absl::Status& status) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted, HasSubstr("'d/file'")));
    EXPECT_FALSE(TableIsThere());
  }
  fs::path file() const { return context_ / "d/file"; }
};

TEST_P(ChangedFileTest, OneThatIsDeletedIsNamed) {
  ExpectAborted(SendAfter([&] { fs::remove(file()); }));
}
TEST_P(ChangedFileTest, OneThatIsCutOffIsNamed) {
  ExpectAborted(SendAfter([&] { fs::resize_file(file(), GetParam() / 2); }));
}
TEST_P(ChangedFileTest, OneThatIsRewrittenIsNamed) {
  ExpectAborted(SendAfter([&] { Write("d/file", std::string(GetParam(), 'y')); }));
}
TEST_P(ChangedFileTest, OneThatBecameALinkIsNamedAndNotFollowed) {
  ExpectAborted(SendAfter([&] {
    fs::rename(file(), root_ / "moved");
    fs::create_symlink(root_ / "moved", file());
  }));
}
TEST_P(ChangedFileTest, OneThatBecameADirectoryIsNamed) {
  ExpectAborted(SendAfter([&] {
    fs::remove(file());
    fs::create_directory(file());
  }));
}

INSTANTIATE_TEST_SUITE_P(BatchedAndLarge, ChangedFileTest, ::testing::Values(100, 1 << 20));

TEST_F(ContextUploadTest, AContextThatIsGoneIsAborted) {
  Write("d/file", "abc");
  EXPECT_THAT(SendAfter([&] { fs::remove_all(context_); }),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("'d/file'")));
  EXPECT_FALSE(TableIsThere());
}

// ---- the stat cache

class StatCacheTest : public ContextTest {
 protected:
  StatCacheTest() { cache_path_ = (root_ / "cache" / "x").string(); }

  // A file that the next scan finds in the cache. Its ctime can't be set, so the cache is told the
  // file's identity instead of waiting until it has settled.
  void Remember(const std::string& path, const Digest& digest) {
    struct stat info {};
    ASSERT_EQ(stat((context_ / path).c_str(), &info), 0);
    ASSERT_OK(StatCache::Save(cache_path_, {{FileIdentity::Of(info), digest}}));
  }
};

TEST_F(StatCacheTest, AKnownFileIsNotReadAgain) {
  Write("a", "abc");
  const Digest other(DigestOf("xyz").hash(), 3);
  Remember("a", other);
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.files_hashed, 0);
  EXPECT_EQ(scanned.table.Find("a")->content, other);
}

TEST_F(StatCacheTest, NamesOfAKnownFileAreHardLinks) {
  Write("a", "abc");
  fs::create_hard_link(context_ / "a", context_ / "b");
  Remember("a", DigestOf("abc"));
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.files_hashed, 0);
  EXPECT_EQ(scanned.table.Find("b")->hard_link_to, "a");
}

TEST_F(StatCacheTest, EqualSizeAndMtimeWithAnotherCtimeAreNotTrusted) {
  Write("a", "abc");
  Settle("a");
  Remember("a", DigestOf("abc"));
  Write("a", "xyz");
  Settle("a");  // Sets mtime back, but not ctime.
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan());
  EXPECT_EQ(scanned.table.Find("a")->content, DigestOf("xyz"));
}

TEST_F(StatCacheTest, EqualTimesWithAnotherInodeAreNotTrusted) {
  FileIdentity identity = {.device = 1, .inode = 2, .size_bytes = 3, .mtime_ns = 4, .ctime_ns = 5};
  ASSERT_OK(StatCache::Save(cache_path_, {{identity, DigestOf("abc")}}));
  const StatCache cache = StatCache::Load(cache_path_);
  EXPECT_EQ(cache.Find(identity), DigestOf("abc"));
  for (auto field : {&FileIdentity::inode, &FileIdentity::device}) {
    FileIdentity other = identity;
    ++(other.*field);
    EXPECT_EQ(cache.Find(other), std::nullopt);
  }
}

TEST_F(StatCacheTest, AFreshlyWrittenFileIsNotRemembered) {
  Write("a", "abc");
  ASSERT_OK(Scan());
  EXPECT_EQ(StatCache::Load(cache_path_).size(), 0u);
}

TEST_F(StatCacheTest, OnlyWhatChangedLongBeforeTheScanIsSettled) {
  const absl::Time scan = absl::FromUnixSeconds(1'000);
  const auto at = [](absl::Time mtime, absl::Time ctime) {
    return FileIdentity{.device = 1,
                        .inode = 1,
                        .size_bytes = 1,
                        .mtime_ns = absl::ToUnixNanos(mtime),
                        .ctime_ns = absl::ToUnixNanos(ctime)};
  };
  const absl::Time old = scan - absl::Seconds(3);
  EXPECT_TRUE(StatCache::IsSettled(at(old, old), scan));
  EXPECT_FALSE(StatCache::IsSettled(at(scan - absl::Seconds(2), old), scan));
  EXPECT_FALSE(StatCache::IsSettled(at(old, scan - absl::Seconds(1)), scan));
  EXPECT_FALSE(StatCache::IsSettled(at(scan + absl::Hours(1), old), scan));
}

TEST_F(StatCacheTest, ADamagedFileIsAnEmptyCache) {
  const FileIdentity identity = {
      .device = 1, .inode = 2, .size_bytes = 3, .mtime_ns = 4, .ctime_ns = 5};
  ASSERT_OK(StatCache::Save(cache_path_, {{identity, DigestOf("abc")}}));
  ASSERT_OK_AND_ASSIGN(const std::string good, ReadFile(cache_path_));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    ASSERT_OK(WriteFileAtomically(cache_path_, bad));
    EXPECT_EQ(StatCache::Load(cache_path_).size(), 0u) << "byte " << i;
    ASSERT_OK(WriteFileAtomically(cache_path_, good.substr(0, i)));
    EXPECT_EQ(StatCache::Load(cache_path_).size(), 0u) << "cut at " << i;
  }
  ASSERT_OK(WriteFileAtomically(cache_path_, good));
  EXPECT_EQ(StatCache::Load(cache_path_).size(), 1u);
}

TEST_F(StatCacheTest, TheFolderKeepsABoundedNumberOfContexts) {
  for (size_t i = 0; i < StatCache::kContextsMax + 5; ++i) {
    ASSERT_OK(StatCache::Save(absl::StrCat(root_.string(), "/cache/c", i), {}));
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "cache"), fs::directory_iterator()),
            static_cast<ptrdiff_t>(StatCache::kContextsMax));
}

// ---- Dockerfile and ignore file

class BuildFilesTest : public ContextTest {
 protected:
  absl::StatusOr<BuildFiles> Read(const std::string& file = "", const std::string& input = "") {
    StringSource standard_input(input);
    return ReadBuildFiles(context_, file, standard_input);
  }
};

TEST_F(BuildFilesTest, TheDefaultIsDockerfileInTheContext) {
  Write("Dockerfile", "FROM a");
  Write(".dockerignore", "b");
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Read());
  EXPECT_EQ(files.dockerfile, "FROM a");
  EXPECT_EQ(files.dockerfile_name, "Dockerfile");
  EXPECT_TRUE(files.ignore_file.ignore.Ignores("b"));
  EXPECT_EQ(files.ignore_file.name, ".dockerignore");
  EXPECT_EQ(files.ignore_file.text, "b");
}

TEST_F(BuildFilesTest, TheDockerfilesOwnIgnoreFileComesFirst) {
  Write("x/app.Dockerfile", "FROM a");
  Write("x/app.Dockerfile.dockerignore", "own");
  Write(".dockerignore", "shared");
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Read((context_ / "x/app.Dockerfile").string()));
  EXPECT_EQ(files.ignore_file.name, (context_ / "x/app.Dockerfile.dockerignore").string());
  EXPECT_TRUE(files.ignore_file.ignore.Ignores("own"));
  EXPECT_FALSE(files.ignore_file.ignore.Ignores("shared"));
}

TEST_F(BuildFilesTest, ADockerfileMayLieOutsideOfTheContext) {
  std::ofstream(root_ / "elsewhere") << "FROM b";
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Read((root_ / "elsewhere").string()));
  EXPECT_EQ(files.dockerfile, "FROM b");
}

TEST_F(BuildFilesTest, DashTakesTheDockerfileFromStandardInput) {
  Write(".dockerignore", "x");
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Read("-", "FROM c"));
  EXPECT_EQ(files.dockerfile, "FROM c");
  EXPECT_TRUE(files.ignore_file.ignore.Ignores("x"));
}

TEST_F(BuildFilesTest, AMissingDockerfileIsTheErrorOfDockerWithASuggestion) {
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound,
                               HasSubstr("failed to read dockerfile: open Dockerfile: no such file "
                                         "or directory")));
  Write("DockerFile", "FROM a");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("use -f ")));
}

TEST_F(BuildFilesTest, WithoutADockerfileThatOfLowerCaseIsTaken) {
  Write("dockerfile", "FROM lower");
  Write("dockerfile.dockerignore", "own");
  ASSERT_OK_AND_ASSIGN(BuildFiles files, Read());
  EXPECT_EQ(files.dockerfile, "FROM lower");
  EXPECT_EQ(files.dockerfile_name, "dockerfile");
  EXPECT_TRUE(files.ignore_file.ignore.Ignores("own"));
  ASSERT_OK_AND_ASSIGN(files, Read((context_ / "Dockerfile").string()));
  EXPECT_EQ(files.dockerfile_name, (context_ / "dockerfile").string());
  Write("Dockerfile", "FROM upper");
  ASSERT_OK_AND_ASSIGN(files, Read());
  EXPECT_EQ(files.dockerfile, "FROM upper");
}

TEST_F(BuildFilesTest, NoOtherNameIsTakenInLowerCase) {
  Write("app", "FROM a");
  EXPECT_THAT(Read((context_ / "App").string()), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(BuildFilesTest, FIsRelativeToTheCurrentDirectory) {
  Write("build/Dockerfile", "FROM a");
  EXPECT_THAT(Read("build/Dockerfile"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("use -f " + (context_ / "build/Dockerfile").string())));
}

TEST_F(BuildFilesTest, AContextThatIsMissingOrAFileIsRefused) {
  StringSource input("");
  EXPECT_THAT(ReadBuildFiles((root_ / "none").string(), "", input),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("unable to prepare context")));
  Write("file", "");
  EXPECT_THAT(ReadBuildFiles((context_ / "file").string(), "", input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("must be a directory")));
}

TEST_F(BuildFilesTest, AUrlIsLeftToTheFarmWithWhereTheDockerfileIs) {
  StringSource input("FROM stdin");
  const std::string url = "https://example.com/repo.git#main:d";
  ASSERT_OK_AND_ASSIGN(BuildFiles files, ReadBuildFiles(url, "", input));
  EXPECT_EQ(files.context_url, url);
  EXPECT_EQ(files.context_directory, "");
  EXPECT_EQ(files.dockerfile_name, "Dockerfile");
  EXPECT_EQ(files.dockerfile_path, "");
  EXPECT_EQ(files.dockerfile, "");
  EXPECT_THAT(CheckDockerfileIsHere(files), StatusIs(absl::StatusCode::kUnimplemented));
  ASSERT_OK_AND_ASSIGN(files, ReadBuildFiles(url, "docker/app", input));
  EXPECT_EQ(files.dockerfile_path, "docker/app");
  EXPECT_EQ(files.dockerfile_name, "docker/app");
}

TEST_F(BuildFilesTest, TheDockerfileForAUrlMayBeHere) {
  StringSource input("FROM stdin");
  const std::string url = "https://example.com/context.tar.gz";
  ASSERT_OK_AND_ASSIGN(BuildFiles files, ReadBuildFiles(url, "-", input));
  EXPECT_EQ(files.dockerfile, "FROM stdin");
  EXPECT_OK(CheckDockerfileIsHere(files));
  Write("Dockerfile", "FROM a");
  ASSERT_OK_AND_ASSIGN(files, ReadBuildFiles(url, (context_ / "Dockerfile").string(), input));
  EXPECT_EQ(files.dockerfile, "FROM a");
  EXPECT_THAT(ReadBuildFiles(url, "-", input),  // It is at its end.
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("empty")));
}

TEST_F(BuildFilesTest, AUrlThatCanNotBeFetchedIsRefusedHere) {
  StringSource input("");
  EXPECT_THAT(ReadBuildFiles("git@example.com:a/b.git", "", input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ssh agent")));
  EXPECT_THAT(ReadBuildFiles("https://example.com/a.git?brnch=x", "", input),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean branch?")));
}

TEST_F(BuildFilesTest, AnExistingDirectoryIsNoUrl) {
  fs::create_directories(context_ / "github.com/x");
  Write("github.com/x/Dockerfile", "FROM a");
  const fs::path before = fs::current_path();
  fs::current_path(context_);
  StringSource input("");
  ASSERT_OK_AND_ASSIGN(const BuildFiles here, ReadBuildFiles("github.com/x", "", input));
  EXPECT_EQ(here.context_url, "");
  ASSERT_OK_AND_ASSIGN(const BuildFiles there, ReadBuildFiles("github.com/y", "", input));
  EXPECT_EQ(there.context_url, "https://github.com/y.git");
  fs::current_path(before);
}

// ---- a tar on standard input

class TarContextTest : public BuildFilesTest {
 protected:
  static absl::StatusOr<BuildFiles> Unpack(const std::string& tar, const std::string& file = "") {
    StringSource standard_input(tar);
    return ReadBuildFiles("-", file, standard_input);
  }
};

TEST_F(TarContextTest, ItsFilesAreTheContextAndAreRemovedAfterwards) {
  ASSERT_OK_AND_ASSIGN(BuildFiles files,
                       Unpack(TarBuilder().File("Dockerfile", "FROM a").File("d/f", "x").Build()));
  EXPECT_EQ(files.dockerfile, "FROM a");
  const std::string directory = files.context_directory;
  EXPECT_THAT(ReadFile(directory + "/d/f"), IsOkAndHolds("x"));
  struct stat info {};
  ASSERT_EQ(stat(directory.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  files = BuildFiles();
  EXPECT_FALSE(fs::exists(directory));
}

TEST_F(TarContextTest, ItMayBeCompressed) {
  const std::string tar = TarBuilder().File("Dockerfile", "FROM a").Build();
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    StringSink packed;
    ASSERT_OK_AND_ASSIGN(const auto compressor,
                         NewCompressor(DefaultCompressionId(compression), packed));
    ASSERT_OK(compressor->Write(tar));
    ASSERT_OK(compressor->Finish());
    ASSERT_OK_AND_ASSIGN(const BuildFiles files, Unpack(packed.bytes()));
    EXPECT_EQ(files.dockerfile, "FROM a");
  }
}

TEST_F(TarContextTest, TheDockerfileMayLieBelowAndHasItsIgnoreFile) {
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Unpack(TarBuilder()
                                                          .File("d/Dockerfile", "FROM a")
                                                          .File("d/Dockerfile.dockerignore", "own")
                                                          .File(".dockerignore", "shared")
                                                          .Build(),
                                                      "d/Dockerfile"));
  EXPECT_TRUE(files.ignore_file.ignore.Ignores("own"));
  EXPECT_FALSE(files.ignore_file.ignore.Ignores("shared"));
}

TEST_F(TarContextTest, LinksInItLeadNowhereElse) {
  std::ofstream(root_ / "secret") << "FROM secret";
  const std::string outside = root_ / "secret";
  EXPECT_THAT(Unpack(TarBuilder().Symlink("Dockerfile", outside).Build()),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(
      Unpack(TarBuilder().Symlink("Dockerfile", "../../../.." + outside).File("x", "y").Build()),
      StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Unpack(TarBuilder().File("../x", "y").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(TarContextTest, WithoutADockerfileItIsAnErrorThatNamesIt) {
  EXPECT_THAT(Unpack(TarBuilder().File("x", "y").Build(), "other"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("open other:")));
}

TEST_F(TarContextTest, WithoutADockerfileThatOfLowerCaseIsTaken) {
  ASSERT_OK_AND_ASSIGN(const BuildFiles files,
                       Unpack(TarBuilder().File("dockerfile", "FROM lower").Build()));
  EXPECT_EQ(files.dockerfile, "FROM lower");
  EXPECT_EQ(files.dockerfile_name, "dockerfile");
}

TEST_F(TarContextTest, WhatIsNoTarIsADockerfile) {
  const std::string text = "FROM a\n" + std::string(2000, '#');
  ASSERT_OK_AND_ASSIGN(const BuildFiles files, Unpack(text));
  EXPECT_EQ(files.dockerfile, text);
  EXPECT_EQ(files.context_directory, "");
  EXPECT_THAT(Unpack(text, "Dockerfile"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(BuildFilesTest, ABadIgnoreFileIsAnErrorWithItsPlace) {
  Write("Dockerfile", "FROM a");
  Write(".dockerignore", "ok\n[");
  EXPECT_THAT(Read(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".dockerignore:2")));
}

}  // namespace
}  // namespace farm
