#include "layer/differ.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/status_matchers.h"
#include "layer/lower_view.h"
#include "layer/testing/scratch_directory.h"
#include "layer/testing/table_builders.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const absl::Time kTime = absl::FromUnixSeconds(1'700'000'000);

std::vector<std::string> PathsOf(const Table& table) {
  std::vector<std::string> paths;
  for (const TableEntry& entry : table.entries()) {
    paths.push_back(entry.type == EntryType::kWhiteout ? "-" + entry.path : entry.path);
  }
  return paths;
}

TableEntry At(absl::Time mtime, TableEntry entry) {
  entry.mtime = mtime;
  return entry;
}

class PackTreeTest : public ::testing::Test {
 protected:
  absl::StatusOr<PackedLayer> Pack(const PackOptions& options = {}) {
    tar_.Take();
    const UniqueFd fd = tree_.Open();
    return PackTree(fd.get(), options, tar_);
  }

  ScratchDirectory tree_;
  StringSink tar_;
};

TEST_F(PackTreeTest, WritesEveryKindInOrderOfComponents) {
  tree_.Directory("a", 01777);
  tree_.File("a/z", "hello", 0600);
  tree_.File("a-b", "");
  tree_.Symlink("link", "a/z");
  tree_.Node("fifo", S_IFIFO | 0640, 0, 0);
  tree_.Node("null", S_IFCHR | 0666, 1, 3);
  tree_.HardLink("z", "a/z");
  FARM_CHECK(lchown(tree_.At("link").c_str(), 1, 2) == 0);
  tree_.SetAllMtimes(kTime + absl::Milliseconds(900));
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  TableEntry fifo = FileEntry("fifo", "", 0640);
  fifo.type = EntryType::kFifo;
  fifo.content = Digest();
  TableEntry null = fifo;
  null.path = "null";
  null.type = EntryType::kCharDevice;
  null.mode = 0666;
  null.device_major = 1;
  null.device_minor = 3;
  TableEntry link = SymlinkEntry("link", "a/z");
  link.uid = 1;
  link.gid = 2;
  const TableEntry z = At(kTime, FileEntry("a/z", "hello", 0600));
  EXPECT_THAT(
      layer.table.entries(),
      ElementsAre(At(kTime, DirectoryEntry("a", 01777)), z, At(kTime, FileEntry("a-b", "")),
                  At(kTime, fifo), At(kTime, link), At(kTime, null), HardLinkEntry("z", z)));
  EXPECT_EQ(layer.diff_id, DigestOf(tar_.bytes()));
  EXPECT_EQ(tree_.Mtime("a/z"), kTime + absl::Milliseconds(900));  // Not touched.
}

TEST_F(PackTreeTest, KeepsUserXattrsAndCapabilitiesOnly) {
  // Version 3 with root id 1000, as written in a user namespace; the effective bit, CAP_NET_RAW.
  const std::string v3("\x01\0\0\x03\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe8\x03\0\0", 24);
  const std::string v2("\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  tree_.File("f", "");
  tree_.SetXattr("f", "security.capability", v3);
  tree_.SetXattr("f", "user.a", "b");
  tree_.SetXattr("f", "user.overlay.redirect", "/x");
  tree_.SetXattr("f", "trusted.a", "b");
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  const std::map<std::string, std::string> expected = {{"security.capability", v2},
                                                       {"user.a", "b"}};
  EXPECT_EQ(layer.table.Find("f")->xattrs, expected);
}

TEST_F(PackTreeTest, SkipsSockets) {
  tree_.Socket("socket");
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  EXPECT_TRUE(layer.table.empty());
  EXPECT_TRUE(tree_.Exists("socket"));
}

TEST_F(PackTreeTest, NamesThatWouldDeleteAreRefused) {
  tree_.Directory("d");
  tree_.File("d/.wh.f", "");
  EXPECT_THAT(Pack(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"d/.wh.f\"")));
}

TEST_F(PackTreeTest, WhiteoutDevicesAreRefused) {
  tree_.Whiteout("w");
  EXPECT_THAT(Pack(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0:0")));
}

TEST_F(PackTreeTest, KnownDigestsAreNotComputedAgain) {
  tree_.File("f", "hello");
  absl::flat_hash_map<std::string, Digest> known = {{"f", DigestOf("olleh")}};
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack({.known_files = &known}));
  EXPECT_EQ(layer.table.Find("f")->content, DigestOf("olleh"));
  known["f"] = DigestOf("shorter or longer");
  EXPECT_THAT(Pack({.known_files = &known}), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(PackTreeTest, LimitsAreNamed) {
  tree_.File("a", "");
  tree_.File("b", std::string(5000, 'x'));
  EXPECT_THAT(Pack({.limits = {.entries_max = 1}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("entries_max 1")));
  FARM_CHECK(truncate(tree_.At("b").c_str(), int64_t{1} << 40) == 0);  // Sparse: not read.
  EXPECT_THAT(Pack({.tar_bytes_max = 5000}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tar_bytes_max")));
}

TEST_F(PackTreeTest, ATreeThatIsTooDeepIsRefused) {
  // From the inside out, so that no path gets long.
  constexpr int kDepth = 5000;
  tree_.Directory("d");
  for (int i = 1; i < kDepth; ++i) {
    tree_.Directory("around");
    FARM_CHECK(rename(tree_.At("d").c_str(), tree_.At("around/d").c_str()) == 0);
    FARM_CHECK(rename(tree_.At("around").c_str(), tree_.At("d").c_str()) == 0);
  }
  EXPECT_THAT(Pack(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_depth_max")));
  while (rename(tree_.At("d/d").c_str(), tree_.At("inner").c_str()) == 0) {
    FARM_CHECK(rmdir(tree_.At("d").c_str()) == 0);
    FARM_CHECK(rename(tree_.At("inner").c_str(), tree_.At("d").c_str()) == 0);
  }
}

TEST_F(PackTreeTest, ATreeAsDeepAsATableMayBeIsPacked) {
  std::string path = "d";
  tree_.Directory(path);
  for (int64_t i = 1; i < TableLimits().path_depth_max; ++i) {
    path += "/d";
    tree_.Directory(path);
  }
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  EXPECT_EQ(layer.table.size(), static_cast<size_t>(TableLimits().path_depth_max));
}

TEST_F(PackTreeTest, MemoryIsBounded) {
  tree_.File("a", "");
  EXPECT_THAT(Pack({.limits = {.memory_bytes_max = 100}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("memory_bytes_max 100")));
}

TEST_F(PackTreeTest, CanBeCancelled) {
  tree_.File("a", "");
  CancelToken cancel;
  cancel.Cancel();
  EXPECT_THAT(Pack({.cancel = &cancel}), StatusIs(absl::StatusCode::kCancelled));
}

// An upper directory made by hand over one lower layer.
class PackLayerTest : public ::testing::Test {
 protected:
  absl::StatusOr<PackedLayer> Pack() {
    const UniqueFd upper = upper_.Open();
    const UniqueFd lower = lower_.Open();
    return PackLayer(upper.get(), LowerView({lower.get()}), {}, tar_);
  }
  std::vector<std::string> PackedPaths() {
    const absl::StatusOr<PackedLayer> layer = Pack();
    EXPECT_OK(layer);
    return layer.ok() ? PathsOf(layer->table) : std::vector<std::string>();
  }

  ScratchDirectory upper_;
  ScratchDirectory lower_;
  StringSink tar_;
};

TEST_F(PackLayerTest, AWhiteoutIsWrittenIfThereIsSomethingBelow) {
  lower_.File("below", "");
  lower_.Directory("d");
  upper_.Directory("d");
  upper_.Whiteout("below");
  upper_.Whiteout("nothing");
  upper_.Whiteout("d/nothing");
  lower_.SetMtime("d", kTime);
  upper_.SetMtime("d", kTime);
  EXPECT_THAT(PackedPaths(), ElementsAre("-below"));
  EXPECT_THAT(tar_.bytes(), HasSubstr(".wh.below"));
}

TEST_F(PackLayerTest, AnOpaqueDirectoryGivesWhiteoutsOfWhatWasBelow) {
  lower_.Directory("d");
  lower_.File("d/b", "");
  lower_.File("d/c", "");
  lower_.Directory("d/sub");
  lower_.File("d/sub/x", "");
  lower_.File("d/sub/y", "");
  upper_.Directory("d");
  upper_.Opaque("d");
  upper_.File("d/a", "");
  upper_.File("d/c", "new");
  upper_.Directory("d/sub");  // Not marked: nothing can shine through its parent.
  upper_.File("d/sub/y", "new");
  EXPECT_THAT(PackedPaths(),
              ElementsAre("d", "d/a", "-d/b", "d/c", "d/sub", "-d/sub/x", "d/sub/y"));
}

TEST_F(PackLayerTest, ADirectoryThatReplacesAFileNeedsNoWhiteouts) {
  lower_.File("d", "");
  upper_.Directory("d");
  upper_.Opaque("d");
  upper_.File("d/a", "");
  EXPECT_THAT(PackedPaths(), ElementsAre("d", "d/a"));
}

TEST_F(PackLayerTest, AnUnchangedDirectoryIsLeftOut) {
  for (ScratchDirectory* tree : {&lower_, &upper_}) {
    tree->Directory("a");
    tree->Directory("a/same");
    tree->Directory("mode");
    tree->Directory("owner");
    tree->Directory("time");
    tree->Directory("xattr");
    tree->SetAllMtimes(kTime);
  }
  upper_.Directory("mode2");
  FARM_CHECK(chmod(upper_.At("mode").c_str(), 0700) == 0);
  FARM_CHECK(chown(upper_.At("owner").c_str(), 1, 0) == 0);
  upper_.SetMtime("time", kTime + absl::Seconds(1));
  upper_.SetXattr("xattr", "user.a", "b");
  upper_.SetXattr("a", "trusted.overlay.impure", "y");
  EXPECT_THAT(PackedPaths(), ElementsAre("mode", "mode2", "owner", "time", "xattr"));
}

TEST_F(PackLayerTest, TheParentsOfWhatIsWrittenAreWritten) {
  for (ScratchDirectory* tree : {&lower_, &upper_}) {
    tree->Directory("a");
    tree->Directory("a/b");
    tree->Directory("a/c");
    tree->File("a/b/f", "old");
    tree->SetAllMtimes(kTime);
  }
  upper_.File("a/b/f", "new");
  EXPECT_THAT(PackedPaths(), ElementsAre("a", "a/b", "a/b/f"));
}

TEST_F(PackLayerTest, TimesOfTheUpperAreTruncated) {
  upper_.Directory("d");
  upper_.File("d/f", "");
  upper_.Symlink("d/s", "f");
  upper_.SetAllMtimes(kTime + absl::Nanoseconds(999'999'999));
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  for (const char* path : {"d", "d/f", "d/s"}) {
    EXPECT_EQ(layer.table.Find(path)->mtime, kTime) << path;
    EXPECT_EQ(upper_.Mtime(path), kTime) << path;
  }
}

TEST_F(PackLayerTest, ADirectoryThatIsLeftOutGetsTheTimeFromBelow) {
  lower_.Directory("d");
  lower_.SetMtime("d", kTime + absl::Milliseconds(100));
  upper_.Directory("d");
  upper_.SetMtime("d", kTime + absl::Milliseconds(700));
  EXPECT_THAT(PackedPaths(), IsEmpty());
  EXPECT_EQ(upper_.Mtime("d"), kTime + absl::Milliseconds(100));
}

// What is left in the upper is seen by the step's successors here, but not by those elsewhere.
TEST_F(PackLayerTest, WhatALayerDoesNotHoldIsRemovedFromTheUpper) {
  // user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::r-x
  const std::string acl(
      "\2\0\0\0\1\0\7\0\xff\xff\xff\xff\2\0\7\0\xe8\3\0\0\4\0\5\0\xff\xff\xff\xff"
      "\x10\0\7\0\xff\xff\xff\xff\x20\0\5\0\xff\xff\xff\xff",
      44);
  upper_.Directory("d");
  upper_.Directory("d/opaque");
  upper_.Opaque("d/opaque");
  upper_.File("d/f", "");
  upper_.Node("d/fifo", S_IFIFO | 0640, 0, 0);
  upper_.Socket("d/socket");
  for (const char* name : {"d", "d/f", "d/fifo"}) {
    upper_.SetXattr(name, "system.posix_acl_access", acl);
  }
  upper_.SetXattr("d", "system.posix_acl_default", acl);
  upper_.SetXattr("d/f", "user.overlay.redirect", "/x");
  upper_.SetXattr("d/f", "user.kept", "1");
  upper_.SetMtime("d", kTime);
  ASSERT_OK_AND_ASSIGN(const PackedLayer layer, Pack());
  EXPECT_THAT(PathsOf(layer.table), ElementsAre("d", "d/f", "d/fifo", "d/opaque"));
  EXPECT_THAT(upper_.Names("d"), ElementsAre("f", "fifo", "opaque"));
  for (const char* name : {"d", "d/f", "d/fifo"}) {
    EXPECT_EQ(upper_.Xattr(name, "system.posix_acl_access"), "") << name;
  }
  EXPECT_EQ(upper_.Xattr("d", "system.posix_acl_default"), "");
  EXPECT_EQ(upper_.Xattr("d/f", "user.overlay.redirect"), "");
  EXPECT_EQ(upper_.Xattr("d/f", "user.kept"), "1");
  EXPECT_EQ(upper_.Xattr("d/opaque", "trusted.overlay.opaque"), "y");
  EXPECT_EQ(upper_.Mtime("d"), kTime);
}

TEST_F(PackLayerTest, TheRootKeepsNothingOfTheStep) {
  FARM_CHECK(chmod(upper_.At(".").c_str(), 0700) == 0);
  FARM_CHECK(chown(upper_.At(".").c_str(), 1000, 1000) == 0);
  upper_.SetXattr(".", "user.a", "b");
  EXPECT_THAT(PackedPaths(), IsEmpty());
  const struct stat root = upper_.Stat(".");
  EXPECT_EQ(root.st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(root.st_uid, 0u);
  EXPECT_EQ(root.st_gid, 0u);
  EXPECT_EQ(upper_.Mtime("."), absl::UnixEpoch());
  EXPECT_EQ(upper_.Xattr(".", "user.a"), "");
}

TEST_F(PackLayerTest, PackingTwiceGivesTheSameBytes) {
  lower_.Directory("d");
  upper_.Directory("d");
  upper_.File("d/f", "x");
  ASSERT_OK_AND_ASSIGN(const PackedLayer first, Pack());
  ASSERT_OK_AND_ASSIGN(const PackedLayer second, Pack());
  EXPECT_EQ(first.diff_id, second.diff_id);
  EXPECT_EQ(first.table, second.table);
}

class LowerViewTest : public ::testing::Test {
 protected:
  LowerView View() {
    fds_.clear();
    fds_.push_back(top_.Open());
    fds_.push_back(middle_.Open());
    fds_.push_back(base_.Open());
    return LowerView({fds_[0].get(), fds_[1].get(), fds_[2].get()});
  }
  bool Has(absl::string_view path) {
    absl::StatusOr<std::optional<LowerEntry>> entry = View().Stat(path);
    EXPECT_OK(entry);
    return entry.ok() && entry->has_value();
  }

  ScratchDirectory base_;
  ScratchDirectory middle_;
  ScratchDirectory top_;
  std::vector<UniqueFd> fds_;
};

TEST_F(LowerViewTest, TheTopmostLayerWins) {
  base_.File("f", "1");
  top_.File("f", "333");
  ASSERT_OK_AND_ASSIGN(const std::optional<LowerEntry> entry, View().Stat("f"));
  EXPECT_EQ(entry->stat.st_size, 3);
}

TEST_F(LowerViewTest, WhiteoutsHideNamesAndTreesBelow) {
  base_.Directory("d");
  base_.File("d/f", "");
  base_.File("g", "");
  middle_.Whiteout("d");
  EXPECT_FALSE(Has("d"));
  EXPECT_FALSE(Has("d/f"));
  EXPECT_TRUE(Has("g"));
  EXPECT_THAT(View().List(""), IsOkAndHolds(ElementsAre("g")));
}

TEST_F(LowerViewTest, OpaqueDirectoriesHideWhatIsBelow) {
  base_.Directory("d");
  base_.File("d/old", "");
  middle_.Directory("d");
  middle_.Opaque("d");
  middle_.File("d/new", "");
  top_.Directory("d");
  EXPECT_FALSE(Has("d/old"));
  EXPECT_TRUE(Has("d/new"));
  EXPECT_THAT(View().List("d"), IsOkAndHolds(ElementsAre("new")));
}

TEST_F(LowerViewTest, DirectoriesMergeUntilANonDirectory) {
  base_.Directory("d");
  base_.File("d/hidden", "");
  middle_.File("d", "");
  top_.Directory("d");
  top_.File("d/f", "");
  EXPECT_FALSE(Has("d/hidden"));
  EXPECT_TRUE(Has("d/f"));
  EXPECT_THAT(View().List("d"), IsOkAndHolds(ElementsAre("f")));
}

TEST_F(LowerViewTest, SymlinksAreNotFollowed) {
  base_.Directory("d");
  base_.File("d/f", "");
  top_.Symlink("s", "d");
  EXPECT_TRUE(Has("s"));
  EXPECT_FALSE(Has("s/f"));
}

}  // namespace
}  // namespace farm
