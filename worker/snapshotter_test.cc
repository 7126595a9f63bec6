// Snapshots, what they leave behind, and how trees go away.
#include <errno.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/testing/status_matchers.h"
#include "worker/mount_stubs.h"
#include "worker/overlay_snapshotter.h"
#include "worker/remove_tree.h"
#include "worker/root_path.h"
#include "worker/trash.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

std::string Text(int root_fd, const std::string& path) {
  return ReadFileInRoot(root_fd, path, 1 << 20).value_or("(none)");
}

void WriteAt(int dir_fd, const std::string& path, absl::string_view text) {
  UniqueFd fd(openat(dir_fd, path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644));
  FARM_CHECK(fd.valid()) << path << " " << errno;
  FARM_CHECK_OK(FdSink(fd.get()).Write(text));
}

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

class DirectoryTest : public ::testing::Test {
 protected:
  DirectoryTest() {
    const char* base = getenv("TEST_TMPDIR");
    dir_ = absl::StrCat(base != nullptr ? base : "/tmp", "/snapshot-XXXXXX");
    FARM_CHECK(mkdtemp(dir_.data()) != nullptr) << dir_;
    trash_ = std::make_unique<Trash>(dir_ + "/trash");
  }
  ~DirectoryTest() override {
    trash_.reset();
    EXPECT_OK(RemoveTree(dir_));
  }

  std::string Path(const std::string& name) { return dir_ + "/" + name; }
  std::string Layer(const std::string& name, absl::string_view file, absl::string_view text) {
    const std::string path = Path(name);
    mkdir(path.c_str(), 0755);
    FARM_CHECK_OK(WriteFileAtomically(absl::StrCat(path, "/", file), text));
    return path;
  }

  std::string dir_;
  std::unique_ptr<Trash> trash_;
};

class SnapshotterTest : public DirectoryTest, public ::testing::WithParamInterface<OverlayMethod> {
 protected:
  absl::StatusOr<std::unique_ptr<Snapshot>> Prepare(const std::vector<std::string>& layers) {
    return snapshotter_.Prepare(layers, Path("step"));
  }

  OverlaySnapshotter snapshotter_{GetParam(), *trash_};
};

INSTANTIATE_TEST_SUITE_P(Methods, SnapshotterTest,
                         ::testing::Values(OverlayMethod::kFsconfig, OverlayMethod::kMount),
                         [](const auto& info) {
                           return info.param == OverlayMethod::kFsconfig ? "Fsconfig" : "Mount";
                         });

TEST_P(SnapshotterTest, UpperLayersHideLowerOnes) {
  const std::string low = Layer("low", "a", "low");
  Layer("low", "b", "below");
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({Layer("high", "a", "high"), low}));
  EXPECT_EQ(Text(snapshot->root_fd(), "/a"), "high");
  EXPECT_EQ(Text(snapshot->root_fd(), "/b"), "below");
}

TEST_P(SnapshotterTest, ChangesAreInTheUpperDirectoryOnly) {
  const std::string low = Layer("low", "a", "old");
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({low}));
  WriteAt(snapshot->root_fd(), "a", "new");
  EXPECT_EQ(Text(snapshot->upper_fd(), "/a"), "new");
  EXPECT_EQ(ReadFile(low + "/a").value_or(""), "old");
}

TEST_P(SnapshotterTest, DeletedFileIsAWhiteout) {
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({Layer("low", "a", "x")}));
  ASSERT_EQ(unlinkat(snapshot->root_fd(), "a", 0), 0);
  struct stat info;
  ASSERT_EQ(fstatat(snapshot->upper_fd(), "a", &info, AT_SYMLINK_NOFOLLOW), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
  EXPECT_EQ(info.st_rdev, makedev(0, 0));
}

TEST_P(SnapshotterTest, NoLayersGiveAnEmptyRoot) {
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
  WriteAt(snapshot->root_fd(), "a", "x");
  EXPECT_EQ(Text(snapshot->root_fd(), "/a"), "x");
}

TEST_P(SnapshotterTest, ManyLayersStack) {
  std::vector<std::string> layers;
  for (int i = 0; i < 150; ++i) {
    const std::string name = absl::StrCat("layer-", i);
    layers.insert(layers.begin(), Layer(name, name, "x"));
  }
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare(layers));
  EXPECT_EQ(Text(snapshot->root_fd(), "/layer-0"), "x");
  EXPECT_EQ(Text(snapshot->root_fd(), "/layer-149"), "x");
}

TEST_P(SnapshotterTest, MoreLayersThanTheKernelStacksAreRefused) {
  const std::string layer = Layer("layer", "a", "x");
  EXPECT_THAT(Prepare(std::vector<std::string>(501, layer)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("500")));
}

TEST_P(SnapshotterTest, LongPathsAndOddNamesWork) {
  std::string deep = Path("x");
  mkdir(deep.c_str(), 0755);
  for (int i = 0; i < 20; ++i) {
    deep += absl::StrCat("/a,b:c\\d=", std::string(20, 'y'));
    ASSERT_EQ(mkdir(deep.c_str(), 0755), 0);
  }
  FARM_CHECK_OK(WriteFileAtomically(deep + "/a", "x"));
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({deep, Layer("low", "b", "y")}));
  EXPECT_EQ(Text(snapshot->root_fd(), "/a"), "x");
}

TEST_P(SnapshotterTest, MissingLayerIsNamed) {
  EXPECT_THAT(Prepare({Path("nothing")}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
  EXPECT_FALSE(Exists(Path("step")));
}

TEST_P(SnapshotterTest, ExistingStepDirectoryIsRefused) {
  mkdir(Path("step").c_str(), 0755);
  EXPECT_THAT(Prepare({}), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("step")));
  EXPECT_TRUE(Exists(Path("step")));
}

TEST_P(SnapshotterTest, RootDirectoryLooksLikeTheTopmostLayers) {
  const std::string layer = Layer("low", "a", "x");
  ASSERT_EQ(chmod(layer.c_str(), 0711), 0);
  ASSERT_EQ(chown(layer.c_str(), 12, 34), 0);
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({layer}));
  struct stat info;
  ASSERT_EQ(fstat(snapshot->root_fd(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0711u);
  EXPECT_EQ(info.st_uid, 12u);
  EXPECT_EQ(info.st_gid, 34u);
}

TEST_P(SnapshotterTest, DeviceNodesCanBeMadeButNotOpened) {
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
  ASSERT_EQ(mknodat(snapshot->root_fd(), "zero", S_IFCHR | 0666, makedev(1, 5)), 0);
  EXPECT_EQ(openat(snapshot->root_fd(), "zero", O_RDONLY | O_CLOEXEC), -1);
  EXPECT_EQ(errno, EACCES);
}

TEST_P(SnapshotterTest, RenamedDirectoryIsNotARedirect) {
  Layer("low", "a", "x");
  ASSERT_EQ(mkdir(Path("low/dir").c_str(), 0755), 0);
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({Path("low")}));
  EXPECT_EQ(renameat(snapshot->root_fd(), "dir", snapshot->root_fd(), "moved"), -1);
  EXPECT_EQ(errno, EXDEV);
}

TEST_P(SnapshotterTest, CommitMovesTheChangesAndDropsTheRest) {
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
  WriteAt(snapshot->root_fd(), "a", "x");
  ASSERT_OK(snapshot->Commit(Path("layer")));
  EXPECT_EQ(ReadFile(Path("layer/a")).value_or(""), "x");
  EXPECT_FALSE(Exists(Path("step")));
}

TEST_P(SnapshotterTest, CommitReplacesNothing) {
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
  Layer("layer", "a", "there");
  EXPECT_THAT(snapshot->Commit(Path("layer")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("layer")));
}

// A mount that comes and goes wakes up everything on the host that watches mounts.
TEST_P(SnapshotterTest, HostSeesNoMountComeAndGo) {
  const UniqueFd mounts(open("/proc/self/mounts", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(mounts.valid());
  pollfd changed{.fd = mounts.get(), .events = POLLPRI, .revents = 0};
  poll(&changed, 1, 0);  // Takes note of what was before.
  ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
  changed.revents = 0;
  EXPECT_EQ(poll(&changed, 1, 0), 0);
}

TEST_P(SnapshotterTest, DestroyedSnapshotIsGone) {
  const std::string mounts = ReadFile("/proc/self/mountinfo").value_or("");
  {
    ASSERT_OK_AND_ASSIGN(auto snapshot, Prepare({}));
    WriteAt(snapshot->root_fd(), "a", "x");
  }
  EXPECT_FALSE(Exists(Path("step")));
  trash_->WaitUntilEmpty();
  EXPECT_NE(rmdir(Path("trash").c_str()), -1) << "trash is not empty";
  EXPECT_EQ(ReadFile("/proc/self/mountinfo").value_or(""), mounts);
}

TEST_F(DirectoryTest, ProbeFindsAWayOnThisKernel) {
  ASSERT_OK_AND_ASSIGN(auto snapshotter, OverlaySnapshotter::Create(dir_, *trash_));
  EXPECT_OK(snapshotter->Prepare({}, Path("step")));
}

// overlayfs follows such a mark under its default options, to any directory of any layer.
TEST_F(DirectoryTest, ForgedRedirectInALayerLeadsNowhere) {
  Layer("low", "a", "x");
  ASSERT_EQ(mkdir(Path("low/secret").c_str(), 0700), 0);
  FARM_CHECK_OK(WriteFileAtomically(Path("low/secret/key"), "secret"));
  ASSERT_EQ(mkdir(Path("high").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("high/open").c_str(), 0755), 0);
  ASSERT_EQ(setxattr(Path("high/open").c_str(), "trusted.overlay.redirect", "/secret", 7, 0), 0);
  ASSERT_OK_AND_ASSIGN(auto snapshotter, OverlaySnapshotter::Create(dir_, *trash_));
  ASSERT_OK_AND_ASSIGN(auto snapshot,
                       snapshotter->Prepare({Path("high"), Path("low")}, Path("step")));
  EXPECT_EQ(Text(snapshot->root_fd(), "/open/key"), "(none)");
}

class RemoveTreeTest : public DirectoryTest {};

TEST_F(RemoveTreeTest, NothingIsFine) { EXPECT_OK(RemoveTree(Path("nothing"))); }

TEST_F(RemoveTreeTest, DeletesFilesAndLinksThemselves) {
  Layer("keep", "a", "kept");
  ASSERT_EQ(symlink(Path("keep").c_str(), Path("link").c_str()), 0);
  ASSERT_EQ(mkdir(Path("tree").c_str(), 0000), 0);
  ASSERT_EQ(symlink(Path("keep").c_str(), Path("tree/link").c_str()), 0);
  EXPECT_OK(RemoveTree(Path("link")));
  EXPECT_OK(RemoveTree(Path("tree")));
  EXPECT_FALSE(Exists(Path("link")));
  EXPECT_FALSE(Exists(Path("tree")));
  EXPECT_EQ(ReadFile(Path("keep/a")).value_or(""), "kept");
}

TEST_F(RemoveTreeTest, DeletesTreesDeeperThanAnyPathIsLong) {
  mkdir(Path("tree").c_str(), 0755);
  UniqueFd dir(open(Path("tree").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(mkdirat(dir.get(), "directory", 0755), 0);
    // A name like those that the deletion makes up itself.
    ASSERT_EQ(mkdirat(dir.get(), "deep-0", 0755), 0);
    UniqueFd next(openat(dir.get(), "directory", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(next.valid());
    dir = std::move(next);
  }
  EXPECT_OK(RemoveTree(Path("tree")));
  EXPECT_FALSE(Exists(Path("tree")));
}

TEST_F(RemoveTreeTest, DeletesImmutableFiles) {
  Layer("tree", "a", "x");
  for (const std::string& path : {Path("tree/a"), Path("tree")}) {
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const int flags = FS_IMMUTABLE_FL;
    if (ioctl(fd.get(), FS_IOC_SETFLAGS, &flags) != 0) GTEST_SKIP() << "no file flags here";
  }
  EXPECT_OK(RemoveTree(Path("tree")));
  EXPECT_FALSE(Exists(Path("tree")));
}

TEST_F(DirectoryTest, TrashOfAnEarlierRunIsDeleted) {
  trash_.reset();
  Layer("trash/0", "a", "x");
  trash_ = std::make_unique<Trash>(Path("trash"));
  trash_->WaitUntilEmpty();
  EXPECT_EQ(rmdir(Path("trash").c_str()), 0);
}

TEST_F(DirectoryTest, ThrowingContentsEmptiesADirectory) {
  mkdir(Path("steps").c_str(), 0755);
  Layer("steps/1", "a", "x");
  Layer("steps/2", "a", "x");
  ASSERT_OK(trash_->ThrowContents(Path("steps")));
  EXPECT_EQ(rmdir(Path("steps").c_str()), 0);
}

class MountStubsTest : public DirectoryTest {
 protected:
  MountStubsTest() {
    FARM_CHECK(mkdir(Path("root").c_str(), 0755) == 0);
    FARM_CHECK(mkdir(Path("root/etc").c_str(), 0755) == 0);
    const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 2000, .tv_nsec = 0}};
    FARM_CHECK(utimensat(AT_FDCWD, Path("root/etc").c_str(), times, 0) == 0);
    root_.Reset(open(Path("root").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  int64_t EtcMtime() {
    struct stat info;
    FARM_CHECK(stat(Path("root/etc").c_str(), &info) == 0);
    return info.st_mtime;
  }

  UniqueFd root_;
};

TEST_F(MountStubsTest, AreMadeAndGoWithoutATrace) {
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/hosts", false));
  ASSERT_OK(stubs.Add("/etc/resolv.conf", false));
  ASSERT_OK(stubs.Add("/a/b/c", true));
  EXPECT_TRUE(Exists(Path("root/etc/hosts")));
  EXPECT_TRUE(Exists(Path("root/a/b/c")));
  stubs.Remove();
  EXPECT_FALSE(Exists(Path("root/etc/hosts")));
  EXPECT_FALSE(Exists(Path("root/a")));
  EXPECT_EQ(EtcMtime(), 2000);
}

TEST_F(MountStubsTest, WhatExistsIsLeftAlone) {
  FARM_CHECK_OK(WriteFileAtomically(Path("root/etc/hosts"), ""));
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/hosts", false));
  stubs.Remove();
  EXPECT_TRUE(Exists(Path("root/etc/hosts")));
}

TEST_F(MountStubsTest, LinksAreFollowedInsideTheRoot) {
  ASSERT_EQ(symlink("/../../run/resolv.conf", Path("root/etc/resolv.conf").c_str()), 0);
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/resolv.conf", false));
  EXPECT_TRUE(Exists(Path("root/run/resolv.conf")));
  stubs.Remove();
  EXPECT_FALSE(Exists(Path("root/run")));
}

TEST_F(MountStubsTest, LinksInACircleAreRefused) {
  ASSERT_EQ(symlink("b", Path("root/a").c_str()), 0);
  ASSERT_EQ(symlink("a", Path("root/b").c_str()), 0);
  MountStubs stubs(root_.get());
  EXPECT_THAT(stubs.Add("/a", true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("links")));
}

TEST_F(MountStubsTest, FilledStubsStay) {
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/hosts", false));
  ASSERT_OK(stubs.Add("/dir", true));
  WriteAt(root_.get(), "etc/hosts", "filled");
  WriteAt(root_.get(), "dir/file", "filled");
  stubs.Remove();
  EXPECT_TRUE(Exists(Path("root/etc/hosts")));
  EXPECT_TRUE(Exists(Path("root/dir/file")));
}

// A step swaps the stub's directory for a link out of the root, to have a host file deleted.
TEST_F(MountStubsTest, RemovalDoesNotFollowASwappedParent) {
  Layer("host", "hosts", "");
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/hosts", false));
  ASSERT_EQ(rename(Path("root/etc").c_str(), Path("root/etc2").c_str()), 0);
  ASSERT_EQ(symlink(Path("host").c_str(), Path("root/etc").c_str()), 0);
  stubs.Remove();
  EXPECT_TRUE(Exists(Path("host/hosts")));
  EXPECT_FALSE(Exists(Path("root/etc2/hosts")));
}

TEST_F(MountStubsTest, TimeOfAChangedDirectoryIsTheSteps) {
  MountStubs stubs(root_.get());
  ASSERT_OK(stubs.Add("/etc/hosts", false));
  FARM_CHECK_OK(WriteFileAtomically(Path("root/etc/new"), ""));
  const timespec times[2] = {{.tv_sec = 1000, .tv_nsec = 0}, {.tv_sec = 3000, .tv_nsec = 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("root/etc").c_str(), times, 0), 0);
  stubs.Remove();
  EXPECT_EQ(EtcMtime(), 3000);
}

}  // namespace
}  // namespace farm
