#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "layer/compression.h"
#include "layer/testing/tar_builder.h"
#include "oci/descriptor.h"
#include "worker/root_path.h"
#include "worker/testing/step_fixture.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const absl::Time kTime = absl::FromUnixSeconds(1'600'000'000);

TableEntry Entry(std::string path, EntryType type, uint32_t mode) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = type;
  entry.mode = mode;
  entry.mtime = kTime;
  return entry;
}
TableEntry FileEntry(std::string path, uint32_t mode = 0644) {
  return Entry(std::move(path), EntryType::kFile, mode);
}
TableEntry DirEntry(std::string path, uint32_t mode = 0755) {
  return Entry(std::move(path), EntryType::kDirectory, mode);
}
TableEntry LinkEntry(std::string path, std::string target) {
  TableEntry entry = Entry(std::move(path), EntryType::kSymlink, 0777);
  entry.link_target = std::move(target);
  return entry;
}

// What a path of a root is: "file 644 0:0 hello", "dir 755 0:0", "link -> x", "absent".
std::string Describe(int root_fd, const std::string& path) {
  struct stat info;
  if (fstatat(root_fd, path.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) return "absent";
  char text[64];
  snprintf(text, sizeof(text), " %o %u:%u", info.st_mode & 07777, info.st_uid, info.st_gid);
  switch (info.st_mode & S_IFMT) {
    case S_IFDIR:
      return absl::StrCat("dir", text);
    case S_IFLNK: {
      char target[256];
      const ssize_t size = readlinkat(root_fd, path.c_str(), target, sizeof(target));
      return absl::StrCat("link -> ", std::string(target, static_cast<size_t>(size)));
    }
    case S_IFREG:
      return absl::StrCat("file", text, " ",
                          ReadFileInRoot(root_fd, "/" + path, 1 << 20).value_or("unreadable"));
    case S_IFCHR:
      return absl::StrCat("char", text, " ", major(info.st_rdev), ",", minor(info.st_rdev));
    case S_IFIFO:
      return absl::StrCat("fifo", text);
    default:
      return "other";
  }
}

int64_t Mtime(int root_fd, const std::string& path) {
  struct stat info;
  return fstatat(root_fd, path.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 ? info.st_mtim.tv_sec : -1;
}

class StepTest : public ::testing::Test {
 protected:
  // A base with what COPY tests step on.
  v1::LayerRef Base() {
    return world_.MakeLayer([](const ScratchDirectory& dir) {
      dir.Directory("etc");
      dir.File("etc/passwd", "root:x:0:0::/:/bin/sh\nalice:x:1000:100::/:/bin/sh\n");
      dir.File("etc/group", "root:x:0:\nstaff:x:50:\n");
      dir.Directory("app", 0700);
      dir.File("app/old", "old");
      dir.Directory("app/sub", 0711);
      dir.File("app/sub/kept", "kept");
      dir.Directory("target");
      dir.Symlink("link", "target");
      dir.Symlink("abs", "/target");
      dir.Symlink("up", "../../../../target");
      dir.Symlink("dangling", "made/by/copy");
      dir.File("file", "a file");
    });
  }

  v1::StepSpec CopySpec(const std::string& dest) {
    v1::StepSpec spec;
    spec.mutable_identity()->mutable_copy()->set_dest(dest);
    *spec.mutable_inputs()->add_root() = base_;
    return spec;
  }
  static void AddItem(v1::StepSpec& spec, const std::string& path, const std::string& name = "",
                      bool unpack = false) {
    v1::CopyItem& item = *spec.mutable_identity()->mutable_copy()->add_items();
    item.set_path(path);
    item.set_name(name);
    item.set_unpack_archive(unpack);
  }
  // Copies one item of a context and mounts the outcome.
  absl::StatusOr<int> Copy(const v1::Digest& context, const std::string& path,
                           const std::string& name, const std::string& dest,
                           const std::string& chown = "", const std::string& chmod = "") {
    v1::StepSpec spec = CopySpec(dest);
    AddItem(spec, path, name);
    *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
    spec.mutable_identity()->mutable_copy()->set_chown(chown);
    spec.mutable_identity()->mutable_copy()->set_chmod(chmod);
    return ExecuteAndMount(spec);
  }
  absl::StatusOr<int> ExecuteAndMount(const v1::StepSpec& spec) {
    result_ = world_.Execute(spec);
    if (!result_.ok()) return result_.status();
    std::vector<v1::LayerRef> chain(spec.inputs().root().begin(), spec.inputs().root().end());
    chain.push_back(StepWorld::RefOf(*result_));
    return world_.Mount(chain);
  }
  Table ResultTable() {
    const Digest digest = DigestFromProto(result_->layer().table()).value();
    return Table::Decode(GetBytes(world_.blobs(), digest).value()).value();
  }
  std::vector<std::string> ResultPaths() {
    std::vector<std::string> paths;
    const Table table = ResultTable();
    for (const TableEntry& entry : table.entries()) paths.push_back(entry.path);
    return paths;
  }

  StepWorld world_;
  v1::LayerRef base_ = Base();
  absl::StatusOr<v1::StepResult> result_ = absl::UnknownError("");
};

// COPY of files.

TEST_F(StepTest, CopiedFileGetsTheDestinationsName) {
  const auto context = world_.MakeContext({FileEntry("a", 0640)}, {{"a", "hello"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "a", "a", "/b"));
  EXPECT_EQ(Describe(root, "b"), "file 640 0:0 hello");
  EXPECT_EQ(Mtime(root, "b"), absl::ToUnixSeconds(kTime));
  EXPECT_THAT(ResultPaths(), ElementsAre("b"));
}

TEST_F(StepTest, CopiedFileKeepsItsNameInADirectory) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "hello"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "a", "a", "/target"));
  EXPECT_EQ(Describe(root, "target/a"), "file 644 0:0 hello");
  ASSERT_OK_AND_ASSIGN(const int other, Copy(context, "a", "a", "/new/dir/"));
  EXPECT_EQ(Describe(other, "new/dir/a"), "file 644 0:0 hello");
  EXPECT_EQ(Describe(other, "new/dir"), "dir 755 0:0");
}

TEST_F(StepTest, SymlinksInTheDestinationAreFollowedWithinTheRoot) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "hello"}});
  for (const char* dest : {"/link/", "/abs/", "/up/", "/link", "/abs/../link/"}) {
    ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "a", "a", dest));
    EXPECT_EQ(Describe(root, "target/a"), "file 644 0:0 hello") << dest;
    EXPECT_EQ(Describe(root, "link"), "link -> target");
  }
}

TEST_F(StepTest, WhatADanglingSymlinkOfTheDestinationNamesIsMade) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "hello"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "a", "a", "/dangling/"));
  EXPECT_EQ(Describe(root, "made/by/copy/a"), "file 644 0:0 hello");
  ASSERT_OK_AND_ASSIGN(const int other, Copy(context, "a", "a", "/dangling"));
  EXPECT_EQ(Describe(other, "made/by/copy"), "file 644 0:0 hello");
}

TEST_F(StepTest, FileReplacesAFileAndASymlinkInADirectory) {
  const auto context = world_.MakeContext({DirEntry("d"), FileEntry("d/link"), FileEntry("d/file")},
                                          {{"d/link", "1"}, {"d/file", "2"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/"));
  EXPECT_EQ(Describe(root, "link"), "file 644 0:0 1");
  EXPECT_EQ(Describe(root, "file"), "file 644 0:0 2");
  EXPECT_EQ(Describe(root, "target"), "dir 755 0:0");
}

TEST_F(StepTest, FileDoesNotReplaceADirectory) {
  const auto context = world_.MakeContext({DirEntry("d"), FileEntry("d/sub")}, {{"d/sub", "1"}});
  EXPECT_THAT(Copy(context, "d", "", "/app"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("cannot replace to directory /app/sub with file")));
}

TEST_F(StepTest, DirectoryDoesNotReplaceAFile) {
  const auto context = world_.MakeContext({DirEntry("d"), DirEntry("d/old"), FileEntry("d/old/x")},
                                          {{"d/old/x", "1"}});
  EXPECT_THAT(Copy(context, "d", "", "/app"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("cannot copy to non-directory: /app/old")));
  EXPECT_THAT(Copy(context, "d", "", "/file"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("cannot copy to non-directory: /file")));
  EXPECT_THAT(
      Copy(context, "d", "", "/file/"),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("mkdir /file: not a directory")));
}

// COPY of directories.

TEST_F(StepTest, DirectoriesMergeAndSubdirectoriesTakeTheSourcesMetadata) {
  const auto context = world_.MakeContext(
      {DirEntry("d", 0750), DirEntry("d/sub", 0770), FileEntry("d/sub/new")}, {{"d/sub/new", "n"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/app"));
  EXPECT_EQ(Describe(root, "app/old"), "file 644 0:0 old");
  EXPECT_EQ(Describe(root, "app/sub/kept"), "file 644 0:0 kept");
  EXPECT_EQ(Describe(root, "app/sub/new"), "file 644 0:0 n");
  // The destination itself keeps its mode and takes the time; what is below takes all.
  EXPECT_EQ(Describe(root, "app"), "dir 700 0:0");
  EXPECT_EQ(Describe(root, "app/sub"), "dir 770 0:0");
  EXPECT_EQ(Mtime(root, "app"), absl::ToUnixSeconds(kTime));
  EXPECT_EQ(Mtime(root, "app/sub"), absl::ToUnixSeconds(kTime));
}

TEST_F(StepTest, DirectoryThatIsMadeForContentsIsPlain) {
  const auto context = world_.MakeContext({DirEntry("d", 0700), FileEntry("d/x")}, {{"d/x", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/brand/new"));
  EXPECT_EQ(Describe(root, "brand/new"), "dir 755 0:0");
  EXPECT_EQ(Mtime(root, "brand/new"), absl::ToUnixSeconds(kTime));
}

TEST_F(StepTest, WholeContextIsCopied) {
  TableEntry fifo = Entry("pipe", EntryType::kFifo, 0600);
  const auto context = world_.MakeContext(
      {FileEntry("a", 04755), DirEntry("empty", 01777), LinkEntry("l", "/nowhere"), fifo},
      {{"a", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "", "", "/all/"));
  EXPECT_EQ(Describe(root, "all/a"), "file 4755 0:0 1");
  EXPECT_EQ(Describe(root, "all/empty"), "dir 1777 0:0");
  EXPECT_EQ(Describe(root, "all/l"), "link -> /nowhere");
  EXPECT_EQ(Describe(root, "all/pipe"), "fifo 600 0:0");
  EXPECT_EQ(Mtime(root, "all/l"), absl::ToUnixSeconds(kTime));
}

TEST_F(StepTest, HardLinksWithinACopiedDirectoryStay) {
  TableEntry second = FileEntry("d/b");
  second.hard_link_to = "d/a";
  const auto context = world_.MakeContext({DirEntry("d"), FileEntry("d/a"), second},
                                          {{"d/a", "same"}, {"d/b", "same"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/x"));
  struct stat a, b;
  ASSERT_EQ(fstatat(root, "x/a", &a, 0), 0);
  ASSERT_EQ(fstatat(root, "x/b", &b, 0), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
  // One of the two alone is a file like others.
  ASSERT_OK_AND_ASSIGN(const int other, Copy(context, "d/b", "b", "/y"));
  EXPECT_EQ(Describe(other, "y"), "file 644 0:0 same");
}

TEST_F(StepTest, SeveralItemsGoIntoADirectory) {
  const auto context = world_.MakeContext({FileEntry("a"), DirEntry("d"), FileEntry("d/x")},
                                          {{"a", "1"}, {"d/x", "2"}});
  v1::StepSpec spec = CopySpec("/many/");
  AddItem(spec, "a", "a");
  AddItem(spec, "d", "");
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "many/a"), "file 644 0:0 1");
  EXPECT_EQ(Describe(root, "many/x"), "file 644 0:0 2");
}

// --chown, --chmod, xattrs.

TEST_F(StepTest, ChownNamesComeFromTheRootAndParentsGetIt) {
  const auto context = world_.MakeContext({FileEntry("a"), LinkEntry("l", "a")}, {{"a", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "", "", "/p/q/", "alice:staff"));
  EXPECT_EQ(Describe(root, "p"), "dir 755 1000:50");
  EXPECT_EQ(Describe(root, "p/q/a"), "file 644 1000:50 1");
  struct stat link;
  ASSERT_EQ(fstatat(root, "p/q/l", &link, AT_SYMLINK_NOFOLLOW), 0);
  EXPECT_EQ(link.st_uid, 1000u);
  EXPECT_THAT(Copy(context, "a", "a", "/x", "nobody-here"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nobody-here")));
}

TEST_F(StepTest, ANumberInChownIsUserAndGroup) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "a", "a", "/p/a", "12"));
  EXPECT_EQ(Describe(root, "p"), "dir 755 12:12");
  EXPECT_EQ(Describe(root, "p/a"), "file 644 12:12 1");
}

TEST_F(StepTest, ChmodIsForFilesAndDirectoriesThatAreCopied) {
  const auto context = world_.MakeContext(
      {DirEntry("d"), DirEntry("d/s"), FileEntry("d/s/a"), LinkEntry("d/l", "s")},
      {{"d/s/a", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/x/", "", "2750"));
  EXPECT_EQ(Describe(root, "x"), "dir 755 0:0");
  EXPECT_EQ(Describe(root, "x/s"), "dir 2750 0:0");
  EXPECT_EQ(Describe(root, "x/s/a"), "file 2750 0:0 1");
  for (const char* bad : {"8", "10000", "77777777777777"}) {
    EXPECT_THAT(Copy(context, "d", "", "/x/", "", bad),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("octal")));
  }
}

TEST_F(StepTest, ASymbolicChmodChangesTheModeThatEachHas) {
  const auto context =
      world_.MakeContext({DirEntry("d"), DirEntry("d/s"), FileEntry("d/s/a")}, {{"d/s/a", "1"}});
  ASSERT_OK_AND_ASSIGN(const int root, Copy(context, "d", "", "/x/", "", "go-rx,u=rwX"));
  EXPECT_EQ(Describe(root, "x/s"), "dir 700 0:0");
  EXPECT_EQ(Describe(root, "x/s/a"), "file 600 0:0 1");
}

TEST_F(StepTest, XattrsAreCopied) {
  TableEntry file = FileEntry("a");
  file.xattrs["user.note"] = "kept";
  const auto context = world_.MakeContext({file}, {{"a", "1"}});
  ASSERT_OK(Copy(context, "a", "a", "/x").status());
  EXPECT_EQ(ResultTable().Find("x")->xattrs.at("user.note"), "kept");
}

// COPY --from.

TEST_F(StepTest, OtherStagesFilesKeepOwnersLinksAndDevices) {
  const v1::LayerRef lower = world_.MakeLayer([](const ScratchDirectory& dir) {
    dir.Directory("out");
    dir.File("out/gone", "x");
    dir.File("out/changed", "before");
  });
  v1::StepSpec spec = CopySpec("/from/");
  v1::CopySource& source = *spec.mutable_inputs()->add_sources();
  *source.mutable_layers()->add_layers() = lower;
  // The upper layer of the stage is a step's.
  world_.sandbox().set_script(
      [](const SandboxSpec& run, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        unlinkat(run.root_fd, "out/gone", 0);
        close(openat(run.root_fd, "out/changed", O_WRONLY | O_TRUNC));
        mknodat(run.root_fd, "out/null", S_IFCHR | 0666, makedev(1, 3));
        close(openat(run.root_fd, "out/a", O_CREAT | O_WRONLY, 0604));
        fchownat(run.root_fd, "out/a", 7, 8, 0);
        linkat(run.root_fd, "out/a", run.root_fd, "out/b", 0);
        symlinkat("a", run.root_fd, "out/l");
        return ExitState();
      });
  v1::StepSpec stage;
  *stage.mutable_inputs()->add_root() = lower;
  stage.mutable_identity()->mutable_run()->add_args("edit");
  stage.mutable_execution()->set_network(v1::NETWORK_MODE_NONE);
  ASSERT_OK_AND_ASSIGN(const v1::StepResult edited, world_.Execute(stage));
  *source.mutable_layers()->add_layers() = StepWorld::RefOf(edited);

  AddItem(spec, "out");
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "from/gone"), "absent");
  EXPECT_EQ(Describe(root, "from/changed"), "file 644 0:0 ");
  EXPECT_EQ(Describe(root, "from/a"), "file 604 7:8 ");
  EXPECT_EQ(Describe(root, "from/l"), "link -> a");
  struct stat a, b;
  ASSERT_EQ(fstatat(root, "from/a", &a, 0), 0);
  ASSERT_EQ(fstatat(root, "from/b", &b, 0), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_THAT(Describe(root, "from/null"), HasSubstr("char"));
}

TEST_F(StepTest, SingleFileOfAnotherStageIsCopied) {
  v1::StepSpec spec = CopySpec("/copy");
  *spec.mutable_inputs()->add_sources()->mutable_layers()->add_layers() = base_;
  AddItem(spec, "app/sub/kept", "kept");
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "copy"), "file 644 0:0 kept");
}

TEST_F(StepTest, SourceThatIsNotThereIsAnError) {
  v1::StepSpec spec = CopySpec("/copy");
  *spec.mutable_inputs()->add_sources()->mutable_layers()->add_layers() = base_;
  AddItem(spec, "nope", "nope");
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nope")));
  spec.mutable_identity()->mutable_copy()->mutable_items(0)->set_source(3);
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("3")));
}

TEST_F(StepTest, ItemsThatLeadOutOfTheSourceAreRefused) {
  const std::pair<const char*, const char*> items[] = {
      {"../etc", "x"}, {"a/../../b", "x"}, {"/etc", "x"}, {"a//b", "x"}, {"a", ".."}, {"a", "b/c"}};
  for (const auto& [path, name] : items) {
    v1::StepSpec spec = CopySpec("/copy");
    *spec.mutable_inputs()->add_sources()->mutable_layers()->add_layers() = base_;
    AddItem(spec, path, name);
    EXPECT_THAT(world_.Execute(spec),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clean path")))
        << path;
  }
}

// ADD of archives.

TEST_F(StepTest, AddUnpacksAnArchiveAndCopiesWhatIsNone) {
  const std::string tar = TarBuilder().Directory("d").File("d/f", "packed").Build();
  const auto context = world_.MakeContext({FileEntry("a.tar"), FileEntry("plain")},
                                          {{"a.tar", tar}, {"plain", "p"}});
  v1::StepSpec spec = CopySpec("/dest");
  AddItem(spec, "a.tar", "a.tar", /*unpack=*/true);
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "dest/d/f"), "file 644 0:0 packed");

  spec.mutable_identity()->mutable_copy()->set_chown("alice");
  ASSERT_OK_AND_ASSIGN(const int owned, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(owned, "dest/d/f"), "file 644 1000:100 packed");

  spec.mutable_identity()->mutable_copy()->mutable_items(0)->set_path("plain");
  spec.mutable_identity()->mutable_copy()->clear_chown();
  ASSERT_OK_AND_ASSIGN(const int plain, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(plain, "dest"), "file 644 0:0 p");
}

// What goes wrong.

TEST_F(StepTest, MissingBlobOfTheContextIsNamedAndNothingIsLeft) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "hello"}});
  ASSERT_OK(world_.blobs().Delete(DigestOf("hello")));
  ASSERT_OK(Copy(world_.MakeContext({FileEntry("b")}, {{"b", "x"}}), "b", "b", "/w").status());
  world_.DropLayers();
  world_.Mount({base_});
  world_.DropLayers();
  const std::string before = world_.Leftovers();
  v1::StepSpec spec = CopySpec("/x");
  AddItem(spec, "a", "a");
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(DigestOf("hello").hex())));
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(StepTest, CancelledStepLeavesNothing) {
  const auto context = world_.MakeContext({FileEntry("a")}, {{"a", "hello"}});
  const std::string before = world_.Leftovers();
  world_.cancel().Cancel();
  v1::StepSpec spec = CopySpec("/x");
  AddItem(spec, "a", "a");
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(StepTest, StepWithoutOperationIsRefused) {
  EXPECT_THAT(world_.Execute({}), StatusIs(absl::StatusCode::kInvalidArgument));
}

// RUN.

v1::StepSpec RunSpec(const std::vector<v1::LayerRef>& root) {
  v1::StepSpec spec;
  spec.mutable_identity()->mutable_run()->add_args("true");
  spec.mutable_execution()->set_network(v1::NETWORK_MODE_NONE);
  for (const v1::LayerRef& layer : root) *spec.mutable_inputs()->add_root() = layer;
  return spec;
}

TEST_F(StepTest, CommandsChangesBecomeALayer) {
  world_.sandbox().set_script(
      [](const SandboxSpec& run, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        close(openat(run.root_fd, "made", O_CREAT | O_WRONLY, 0600));
        unlinkat(run.root_fd, "file", 0);
        ExitState exit;
        exit.usage.cpu_time = absl::Milliseconds(1500);
        exit.usage.memory_peak_bytes = 42;
        return exit;
      });
  const std::string before = world_.Leftovers();
  result_ = world_.Execute(RunSpec({base_}));
  ASSERT_OK(result_);
  EXPECT_THAT(ResultPaths(), ElementsAre("file", "made"));
  EXPECT_EQ(ResultTable().Find("file")->type, EntryType::kWhiteout);
  EXPECT_EQ(result_->usage().cpu().seconds(), 1);
  EXPECT_EQ(result_->usage().memory_peak_bytes(), 42);
  EXPECT_EQ(result_->layer().form().media_type(), kOciLayerType);
  EXPECT_LE(result_->started().seconds(), result_->finished().seconds());
  EXPECT_THAT(world_.phases(),
              ElementsAre(StepPhase::kFetching, StepPhase::kRunning, StepPhase::kStoring));
  EXPECT_EQ(world_.Leftovers(), before);
  // It is unpacked here already: its tar is not needed.
  ASSERT_OK(world_.blobs().Delete(DigestFromProto(result_->layer().diff_id()).value()));
  const int root = world_.Mount({base_, StepWorld::RefOf(*result_)});
  EXPECT_EQ(Describe(root, "made"), "file 600 0:0 ");
  EXPECT_EQ(Describe(root, "file"), "absent");
}

TEST_F(StepTest, CanonicalDigestIsTheSameForTwoRuns) {
  world_.sandbox().set_script(
      [](const SandboxSpec& run, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        close(openat(run.root_fd, "made", O_CREAT | O_WRONLY, 0600));
        return ExitState();
      });
  ASSERT_OK_AND_ASSIGN(const v1::StepResult first, world_.Execute(RunSpec({base_})));
  ASSERT_OK_AND_ASSIGN(const v1::StepResult second, world_.Execute(RunSpec({base_})));
  EXPECT_EQ(first.layer().canonical().hash(), second.layer().canonical().hash());
}

TEST_F(StepTest, FailingCommandIsAResultWithoutALayer) {
  world_.sandbox().set_script(
      [](const SandboxSpec&, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        ExitState exit;
        exit.exit_code = 137;
        exit.oom_killed = true;
        return exit;
      });
  const std::string before = world_.Leftovers();
  ASSERT_OK_AND_ASSIGN(const v1::StepResult result, world_.Execute(RunSpec({base_})));
  EXPECT_EQ(result.exit_code(), 137);
  EXPECT_TRUE(result.out_of_memory());
  EXPECT_FALSE(result.has_layer());
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(StepTest, NetworkThatTheWorkerDoesNotPermitIsRefused) {
  v1::StepSpec spec = RunSpec({base_});
  spec.mutable_identity()->mutable_run()->set_network(v1::NETWORK_MODE_HOST);
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("HOST")));
  EXPECT_THAT(world_.sandbox().runs(), IsEmpty());
}

TEST_F(StepTest, CommandSeesItsEnvironmentAndHosts) {
  v1::StepSpec spec = RunSpec({base_});
  v1::RunOperation& run = *spec.mutable_identity()->mutable_run();
  run.add_env("A=1");
  run.set_cwd("/app");
  run.set_user("alice");
  spec.mutable_execution()->add_extra_env("http_proxy=p");
  spec.mutable_execution()->mutable_timeout()->set_seconds(5);
  v1::HostAlias& alias = *spec.mutable_execution()->add_extra_hosts();
  alias.set_name("db");
  alias.set_address("10.0.0.9");
  spec.mutable_execution()->set_cgroup_parent("/ci");
  ASSERT_OK(world_.Execute(spec));
  ASSERT_THAT(world_.sandbox().runs(), SizeIs(1));
  const SandboxSpec seen = world_.sandbox().runs()[0];
  EXPECT_THAT(seen.env, ElementsAre("A=1", "http_proxy=p"));
  EXPECT_EQ(seen.cwd, "/app");
  EXPECT_EQ(seen.user, "alice");
  EXPECT_EQ(seen.timeout, absl::Seconds(5));
  EXPECT_EQ(seen.cgroup_parent, "/ci");
  EXPECT_EQ(seen.network, NetworkMode::kNone);
  EXPECT_EQ(seen.mounts[0].target, "/etc/hosts");
  EXPECT_THAT(seen.mounts[0].contents, HasSubstr("10.0.0.9\tdb\n"));
}

TEST_F(StepTest, ErrorOfTheSandboxIsPassedOnAndNothingIsLeft) {
  world_.sandbox().set_script(
      [](const SandboxSpec&, LogSink&, CancelToken&) -> absl::StatusOr<ExitState> {
        return absl::DeadlineExceededError("too slow");
      });
  const std::string before = world_.Leftovers();
  EXPECT_THAT(world_.Execute(RunSpec({base_})), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(world_.Leftovers(), before);
}

// Inputs.

TEST_F(StepTest, LayerIsFetchedFromAnyFormThatCanBeHad) {
  const Digest tar = DigestFromProto(base_.diff_id()).value();
  const std::string bytes = GetBytes(world_.blobs(), tar).value();
  StringSink gzip;
  const auto compressor = NewCompressor(DefaultCompressionId(Compression::kGzip), gzip).value();
  ASSERT_OK(compressor->Write(bytes));
  ASSERT_OK(compressor->Finish());
  const Descriptor blob =
      world_.registry().AddBlob("r.example.com/x", kOciLayerGzipType, gzip.bytes());
  ASSERT_OK(world_.blobs().Delete(tar));
  v1::LayerRef ref = base_;
  v1::Descriptor& form = *ref.add_forms();
  form.set_media_type(kOciLayerGzipType);
  *form.mutable_digest() = DigestToProto(blob.digest);
  v1::StepSpec spec = RunSpec({ref});
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kFailedPrecondition));

  v1::RegistrySource& registry = *spec.mutable_inputs()->add_registries();
  registry.set_repository("r.example.com/x");
  *registry.mutable_blob() = form;
  ASSERT_OK(world_.Execute(spec));
  EXPECT_THAT(world_.blobs().FindMissing({blob.digest}), IsOkAndHolds(IsEmpty()));
}

TEST_F(StepTest, LayerThatIsNotWhatItShouldBeIsDataLoss) {
  const std::string other = TarBuilder().File("evil", "x").Build();
  v1::LayerRef ref = base_;
  ref.clear_forms();
  *ref.add_forms()->mutable_digest() = DigestToProto(PutBytes(world_.blobs(), other).value());
  const std::string before = world_.Leftovers();
  EXPECT_THAT(world_.Execute(RunSpec({ref})), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(world_.Leftovers(), before);
}

// WORKDIR.

TEST_F(StepTest, MissingDirectoryIsMadeForItsUser) {
  v1::StepSpec spec = CopySpec("");
  spec.mutable_identity()->mutable_make_directory()->set_path("/link/a/b");
  spec.mutable_identity()->mutable_make_directory()->set_user("alice");
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "target/a/b"), "dir 755 1000:100");
}

TEST_F(StepTest, DirectoryThatIsThereGivesAnEmptyLayer) {
  v1::StepSpec spec = CopySpec("");
  spec.mutable_identity()->mutable_make_directory()->set_path("/app/sub");
  result_ = world_.Execute(spec);
  ASSERT_OK(result_);
  EXPECT_THAT(ResultPaths(), IsEmpty());
  spec.mutable_identity()->mutable_make_directory()->set_path("/file/x");
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a directory")));
}

// Pull and import.

v1::StepSpec UnpackSpec(const Digest& blob, const std::string& diff_id = "") {
  v1::StepSpec spec;
  v1::UnpackOperation& unpack = *spec.mutable_identity()->mutable_unpack();
  *unpack.mutable_blob()->mutable_digest() = DigestToProto(blob);
  unpack.set_diff_id(diff_id);
  return spec;
}

TEST_F(StepTest, PulledLayerIsUnpackedAndInTheCasFromThenOn) {
  const std::string tar = TarBuilder().Directory("d").File("d/f", "pulled").Build();
  const Descriptor blob = world_.registry().AddBlob("r.example.com/x", kOciLayerType, tar);
  world_.registry().RequireLogin("r.example.com",
                                 {.username = "u", .password = "p", .identity_token = ""});
  v1::StepSpec spec = UnpackSpec(blob.digest, DigestOf(tar).oci());
  v1::RegistrySource& registry = *spec.mutable_inputs()->add_registries();
  registry.set_repository("r.example.com/x");
  *registry.mutable_blob() = spec.identity().unpack().blob();
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kUnauthenticated));
  v1::RegistryCredential& credential = *spec.mutable_execution()->add_credentials();
  credential.set_host("r.example.com");
  credential.set_username("u");
  credential.set_password("p");
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "d/f"), "file 644 0:0 pulled");
  EXPECT_THAT(world_.blobs().FindMissing({blob.digest}), IsOkAndHolds(IsEmpty()));
  EXPECT_EQ(result_->layer().diff_id().hash(), DigestOf(tar).hex());
  EXPECT_EQ(result_->layer().form().digest().hash(), blob.digest.hex());
}

TEST_F(StepTest, APullThatIsTriedAgainSaysSoInTheStepsLog) {
  const std::string tar = TarBuilder().File("f", "pulled").Build();
  const Descriptor blob = world_.registry().AddBlob("r.example.com/x", kOciLayerType, tar);
  world_.registry().RemarkNext("registry r.example.com: no answer; attempt 2 of 5 in 1s");
  v1::StepSpec spec = UnpackSpec(blob.digest, DigestOf(tar).oci());
  v1::RegistrySource& registry = *spec.mutable_inputs()->add_registries();
  registry.set_repository("r.example.com/x");
  *registry.mutable_blob() = spec.identity().unpack().blob();
  EXPECT_OK(world_.Execute(spec).status());
  EXPECT_EQ(world_.log(), "registry r.example.com: no answer; attempt 2 of 5 in 1s\n");
}

TEST_F(StepTest, PulledLayerWithAnotherDiffIdIsDataLoss) {
  const std::string tar = TarBuilder().File("f", "x").Build();
  const Digest blob = PutBytes(world_.blobs(), tar).value();
  const std::string before = world_.Leftovers();
  EXPECT_THAT(world_.Execute(UnpackSpec(blob, DigestOf("other").oci())),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(world_.Leftovers(), before);
}

TEST_F(StepTest, LayerThatLacksParentsTakesTheirMetadataFromBelow) {
  const std::string tar = TarBuilder().File("app/f", "x").Build();
  result_ = world_.Execute(UnpackSpec(PutBytes(world_.blobs(), tar).value()));
  ASSERT_OK(result_);
  const int root = world_.Mount({base_, StepWorld::RefOf(*result_)});
  EXPECT_EQ(Describe(root, "app"), "dir 700 0:0");
  EXPECT_EQ(Describe(root, "app/f"), "file 644 0:0 x");
}

std::string Compressed(Compression codec, const std::string& bytes) {
  StringSink sink;
  const auto compressor = NewCompressor(DefaultCompressionId(codec), sink).value();
  FARM_CHECK_OK(compressor->Write(bytes));
  FARM_CHECK_OK(compressor->Finish());
  return sink.Take();
}

TEST_F(StepTest, DamagedAndHostileArchivesAreRefusedAndNothingIsLeft) {
  const std::string tar =
      TarBuilder().Directory("d").File("d/f", std::string(100'000, 'x')).Build();
  const std::string gzip = Compressed(Compression::kGzip, tar);
  std::string damaged = gzip;
  damaged[gzip.size() - 6] ^= 1;  // Of the checksum.
  // Its header names 60 MB of an attribute.
  std::string long_header = TarBuilder().File("f", std::string(60'000'000, 'x')).Build();
  long_header[156] = 'x';
  long_header.replace(148, 6, "000000");
  unsigned sum = 0;
  for (int i = 0; i < 512; ++i) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(long_header[i]);
  }
  snprintf(&long_header[148], 7, "%06o", sum);
  struct Refusal {
    const char* what;
    std::string blob;
    absl::StatusCode code;
  };
  const std::vector<Refusal> refusals = {
      {"no tar", "no tar at all", absl::StatusCode::kDataLoss},
      {"no tar, compressed", Compressed(Compression::kGzip, std::string(10'000, 'x')),
       absl::StatusCode::kInvalidArgument},
      {"half of a tar", tar.substr(0, tar.size() / 2), absl::StatusCode::kDataLoss},
      {"half of a gzip stream", gzip.substr(0, gzip.size() / 2), absl::StatusCode::kDataLoss},
      {"half of a zstd stream", Compressed(Compression::kZstd, tar).substr(0, 30),
       absl::StatusCode::kDataLoss},
      {"wrong checksum", damaged, absl::StatusCode::kDataLoss},
      {"a header of 60 MB", Compressed(Compression::kGzip, long_header),
       absl::StatusCode::kResourceExhausted},
      {"out of the root", Compressed(Compression::kGzip, TarBuilder().File("../x", "").Build()),
       absl::StatusCode::kInvalidArgument},
      {"a link out of the root", TarBuilder().HardLink("x", "../../etc/passwd").Build(),
       absl::StatusCode::kInvalidArgument},
      {"a file as a parent", TarBuilder().File("x", "").File("x/y", "").Build(),
       absl::StatusCode::kInvalidArgument},
      {"overlayfs' own mark", TarBuilder().Device("x", TarType::kCharDevice, 0, 0).Build(),
       absl::StatusCode::kInvalidArgument},
  };
  for (const Refusal& refusal : refusals) {
    SCOPED_TRACE(refusal.what);
    const Digest blob = PutBytes(world_.blobs(), refusal.blob).value();
    const std::string before = world_.Leftovers();
    EXPECT_THAT(world_.Execute(UnpackSpec(blob)), StatusIs(refusal.code));
    EXPECT_EQ(world_.Leftovers(), before);
  }
}

// Blobs for others.

TEST_F(StepTest, CompressedFormDecompressesToTheLayer) {
  v1::StepSpec spec = RunSpec({base_});
  v1::CompressOperation& compress = *spec.mutable_identity()->mutable_compress();
  compress.set_diff_id("sha256:" + base_.diff_id().hash());
  for (const auto codec : {Compression::kGzip, Compression::kZstd}) {
    compress.set_compression(DefaultCompressionId(codec));
    ASSERT_OK_AND_ASSIGN(const v1::StepResult result, world_.Execute(spec));
    const std::string bytes =
        GetBytes(world_.blobs(), DigestFromProto(result.blob().digest()).value()).value();
    StringSource source(bytes);
    const auto tar = NewDecompressor(source, {}).value();
    StringSink sink;
    ASSERT_OK(CopyBytes(*tar, sink).status());
    EXPECT_EQ(DigestOf(sink.bytes()).hex(), base_.diff_id().hash());
  }
  compress.set_compression("rot13");
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(StepTest, RewrittenLayerHasNoLaterTimeAndIsElseTheSame) {
  const v1::LayerRef layer = world_.MakeLayer([](const ScratchDirectory& dir) {
    dir.Directory("sub");
    dir.File("sub/file", "content");
    dir.File("old", "old");
    dir.HardLink("hard", "old");
    dir.Symlink("soft", "old");
    dir.SetMtime("old", absl::FromUnixSeconds(1000));
  });
  v1::StepSpec spec = RunSpec({layer});
  v1::RewriteTimesOperation& rewrite = *spec.mutable_identity()->mutable_rewrite_times();
  rewrite.set_diff_id("sha256:" + layer.diff_id().hash());
  rewrite.set_latest(absl::ToUnixSeconds(absl::Now()) + 1000);  // Nothing is later.
  ASSERT_OK_AND_ASSIGN(const v1::StepResult same, world_.Execute(spec));
  EXPECT_EQ(same.layer().diff_id().hash(), layer.diff_id().hash());
  EXPECT_EQ(same.layer().table().hash(), layer.table().hash());

  rewrite.set_latest(2000);
  result_ = world_.Execute(spec);
  ASSERT_OK(result_);
  const Table table = ResultTable();
  const Table before =
      Table::Decode(GetBytes(world_.blobs(), DigestFromProto(layer.table()).value()).value())
          .value();
  ASSERT_EQ(table.size(), before.size());
  for (size_t i = 0; i < table.size(); ++i) {
    TableEntry expected = before.entries()[i];
    expected.mtime = std::min(expected.mtime, absl::FromUnixSeconds(2000));
    EXPECT_EQ(table.entries()[i], expected) << expected.path;
  }
  EXPECT_EQ(table.Find("old")->mtime, absl::FromUnixSeconds(1000));
  // The tar says the same as the table: it is checked where it is unpacked.
  const int root = world_.Mount({StepWorld::RefOf(*result_)});
  EXPECT_EQ(Describe(root, "sub/file"), "file 644 0:0 content");
}

TEST_F(StepTest, FlattenedRootIsOneTar) {
  const v1::LayerRef top = world_.MakeLayer([](const ScratchDirectory& dir) {
    dir.Directory("app");
    dir.File("app/old", "new");
  });
  v1::StepSpec spec = RunSpec({base_, top});
  spec.mutable_identity()->mutable_flatten();
  ASSERT_OK_AND_ASSIGN(const v1::StepResult result, world_.Execute(spec));
  v1::LayerRef flat;
  *flat.mutable_diff_id() = result.blob().digest();
  *flat.add_forms() = result.blob();
  const int root = world_.Mount({flat});
  EXPECT_EQ(Describe(root, "app/old"), "file 644 0:0 new");
  EXPECT_EQ(Describe(root, "app/sub/kept"), "file 644 0:0 kept");
}

TEST_F(StepTest, PushedBlobIsInTheRegistryOnce) {
  const Digest blob = PutBytes(world_.blobs(), "layer bytes").value();
  v1::StepSpec spec;
  v1::PushOperation& push = *spec.mutable_identity()->mutable_push();
  *push.mutable_blob()->mutable_digest() = DigestToProto(blob);
  push.set_repository("r.example.com/team/app");
  ASSERT_OK(world_.Execute(spec));
  ASSERT_OK(world_.Execute(spec));
  int pushes = 0;
  for (const std::string& call : world_.registry().calls())
    pushes += absl::StartsWith(call, "PushBlob");
  EXPECT_EQ(pushes, 1);
  ASSERT_OK(world_.blobs().Delete(blob));
  push.set_repository("r.example.com/team/other");
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kFailedPrecondition));
  push.set_mount_from("r.example.com/team/app");
  EXPECT_OK(world_.Execute(spec));
}

// Limits and what is recorded.

TEST_F(StepTest, RunThatNamesNoNetworkGetsTheFarmsDefault) {
  v1::StepSpec spec = RunSpec({base_});
  spec.mutable_execution()->set_network(v1::NETWORK_MODE_NONE);
  ASSERT_OK(world_.Execute(spec).status());
  EXPECT_EQ(world_.sandbox().runs().back().network, NetworkMode::kNone);
  spec.mutable_execution()->set_network(v1::NETWORK_MODE_HOST);  // Not permitted here: not ignored.
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("HOST")));
  spec.mutable_identity()->mutable_run()->set_network(v1::NETWORK_MODE_NONE);
  ASSERT_OK(world_.Execute(spec).status());
  EXPECT_EQ(world_.sandbox().runs().back().network, NetworkMode::kNone);
}

TEST_F(StepTest, IsolatedNetworkComesWithItsOwnResolvers) {
  v1::StepSpec spec = RunSpec({base_});
  spec.mutable_execution()->set_network(v1::NETWORK_MODE_ISOLATED);
  ASSERT_OK(world_.Execute(spec).status());
  const SandboxSpec seen = world_.sandbox().runs().back();
  EXPECT_EQ(seen.network, NetworkMode::kIsolated);
  EXPECT_EQ(seen.mounts[1].target, "/etc/resolv.conf");
  EXPECT_EQ(seen.mounts[1].contents, StepWorld::kIsolatedResolvConf);
}

TEST_F(StepTest, NetworkIsNeverGuessed) {
  v1::StepSpec spec = RunSpec({base_});
  spec.mutable_execution()->clear_network();
  EXPECT_THAT(world_.Execute(spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("run_network_default")));
  EXPECT_THAT(world_.sandbox().runs(), IsEmpty());
}

TEST_F(StepTest, ArchiveMayHoldAFileThatTheSameAddHasCopied) {
  for (const char* packed : {"22\n", "longer than the other\n"}) {
    const std::string tar = TarBuilder().File("VERSION", packed).Build();
    const v1::Digest context = world_.MakeContext({FileEntry("VERSION"), FileEntry("bundle.tar")},
                                                  {{"VERSION", "11\n"}, {"bundle.tar", tar}});
    v1::StepSpec spec = CopySpec("/app/");
    AddItem(spec, "VERSION", "VERSION");
    AddItem(spec, "bundle.tar", "bundle.tar", /*unpack=*/true);
    *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
    ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
    EXPECT_EQ(Describe(root, "app/VERSION"), absl::StrCat("file 644 0:0 ", packed));
    EXPECT_EQ(ResultTable().Find("app/VERSION")->content, DigestOf(packed));
  }
}

TEST_F(StepTest, InlineFileMayReplaceWhatTheSameCopyHasCopied) {
  const v1::Digest context = world_.MakeContext({FileEntry("f")}, {{"f", "copied"}});
  v1::StepSpec spec = CopySpec("/app/");
  AddItem(spec, "f", "f");
  v1::CopyItem& item = *spec.mutable_identity()->mutable_copy()->add_items();
  item.set_name("f");
  item.set_inline_("inline");
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "app/f"), "file 644 0:0 inline");
  EXPECT_EQ(ResultTable().Find("app/f")->content, DigestOf("inline"));
}

TEST_F(StepTest, HardLinkThatReplacesACopiedFileIsRecordedAsWhatItIs) {
  TableEntry link = FileEntry("two/a/x");
  link.hard_link_to = "two/a/w";
  const v1::Digest context = world_.MakeContext(
      {DirEntry("one"), DirEntry("one/a"), FileEntry("one/a/x"), DirEntry("two"), DirEntry("two/a"),
       FileEntry("two/a/w"), link, DirEntry("three"), DirEntry("three/a"), FileEntry("three/a/w")},
      {{"one/a/x", "1111"}, {"two/a/w", "2222"}, {"two/a/x", "2222"}, {"three/a/w", "3333"}});
  v1::StepSpec spec = CopySpec("/app/");
  for (const char* directory : {"one", "two", "three"}) AddItem(spec, directory);
  *spec.mutable_inputs()->add_sources()->mutable_context_table() = context;
  ASSERT_OK_AND_ASSIGN(const int root, ExecuteAndMount(spec));
  EXPECT_EQ(Describe(root, "app/a/x"), "file 644 0:0 2222");
  EXPECT_EQ(ResultTable().Find("app/a/x")->content, DigestOf("2222"));
  EXPECT_EQ(ResultTable().Find("app/a/w")->content, DigestOf("3333"));
}

TEST_F(StepTest, ContextWithXattrsThatNoLayerHoldsIsRefused) {
  TableEntry entry = DirEntry("d");
  entry.xattrs["trusted.overlay.opaque"] = "y";
  const v1::Digest context = world_.MakeContext({entry}, {});
  EXPECT_THAT(Copy(context, "d", "d", "/app/"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("trusted.overlay.opaque")));
}

// Small as it comes, and a terabyte if nobody counted.
TEST_F(StepTest, ADecompressionBombIsRefusedAndNothingIsLeft) {
  world_.LimitUnpacking(
      {.bytes_max = int64_t{1} << 40, .ratio_max = 100, .ratio_free_bytes = 4096});
  const std::string tar = TarBuilder().File("f", std::string(4 << 20, '\0')).Build();
  for (const Compression compression : {Compression::kGzip, Compression::kZstd}) {
    const std::string bomb = Compressed(compression, tar);
    ASSERT_LT(bomb.size(), tar.size() / 100);
    const Digest blob = PutBytes(world_.blobs(), bomb).value();
    const std::string before = world_.Leftovers();
    EXPECT_THAT(world_.Execute(UnpackSpec(blob, DigestOf(tar).oci())),
                StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("100")));
    EXPECT_EQ(world_.Leftovers(), before);
  }
}

TEST_F(StepTest, UnpackedBytesAreBounded) {
  world_.LimitUnpacking({.bytes_max = 4096});
  const std::string tar = TarBuilder().File("f", std::string(10'000, 'x')).Build();
  v1::StepSpec spec;
  v1::Descriptor& blob = *spec.mutable_identity()->mutable_unpack()->mutable_blob();
  *blob.mutable_digest() = DigestToProto(PutBytes(world_.blobs(), tar).value());
  const std::string before = world_.Leftovers();
  EXPECT_THAT(world_.Execute(spec), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(world_.Leftovers(), before);
}

}  // namespace
}  // namespace farm
