#include "layer/applier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include <atomic>
#include <random>
#include <thread>

#include "absl/strings/str_join.h"
#include "base/testing/status_matchers.h"
#include "layer/differ.h"
#include "layer/testing/scratch_directory.h"
#include "layer/testing/table_builders.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const absl::Time kTime = absl::FromUnixSeconds(1'700'000'000);

// The root stands beside a canary that no tar may touch.
class ApplierTest : public ::testing::Test {
 protected:
  ApplierTest() {
    outer_.Directory("root");
    outer_.Directory("root/layer");
    outer_.File("canary", "alive");
    outer_.File("root/canary", "alive");
    before_ = outer_.Stat("canary");
    root_ = outer_.Open("root/layer");
  }
  ~ApplierTest() override {
    const struct stat after = outer_.Stat("canary");
    EXPECT_EQ(before_.st_ino, after.st_ino);
    EXPECT_EQ(before_.st_nlink, after.st_nlink);
    EXPECT_EQ(before_.st_mode, after.st_mode);
    EXPECT_EQ(outer_.Read("canary"), "alive");
    EXPECT_EQ(outer_.Read("root/canary"), "alive");
    EXPECT_THAT(outer_.Names(), ElementsAre("canary", "root"));
    EXPECT_THAT(outer_.Names("root"), ElementsAre("canary", "layer"));
  }

  absl::StatusOr<AppliedLayer> Apply(const std::string& tar, const ApplyOptions& options = {}) {
    StringSource source(tar);
    return ApplyLayer(source, root_.get(), options);
  }
  absl::Status Extract(const std::string& tar, const ExtractOptions& options = {}) {
    StringSource source(tar);
    return ExtractTar(source, root_.get(), options);
  }
  std::string In(absl::string_view name) const { return absl::StrCat("root/layer/", name); }

  ScratchDirectory outer_;
  struct stat before_;
  UniqueFd root_;
};

TEST_F(ApplierTest, RestoresEveryKindWithItsMetadata) {
  TarEntry file;
  file.name = "d/f";
  file.mode = 04755;
  file.uid = 1000;
  file.gid = 2000;
  file.mtime = kTime;
  file.xattrs = {
      {"user.a", "b"},
      {"security.capability", std::string("\1\0\0\2\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20)}};
  TarEntry directory;
  directory.name = "d";
  directory.type = TarType::kDirectory;
  directory.mode = 0511;
  directory.uid = 7;
  directory.mtime = kTime + absl::Seconds(1);
  const std::string tar = TarBuilder()
                              .Add(directory)
                              .Add(file, "hello")
                              .HardLink("d/g", "d/f")
                              .Symlink("s", "d/f")
                              .Device("null", TarType::kCharDevice, 1, 3)
                              .Device("disk", TarType::kBlockDevice, 7, 0)
                              .Device("fifo", TarType::kFifo, 0, 0)
                              .Build();
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(tar));
  EXPECT_EQ(layer.diff_id, DigestOf(tar));
  EXPECT_FALSE(layer.parents_from_below);
  const struct stat stat = outer_.Stat(In("d/f"));
  EXPECT_EQ(stat.st_mode, S_IFREG | 04755u);
  EXPECT_EQ(stat.st_uid, 1000u);
  EXPECT_EQ(stat.st_gid, 2000u);
  EXPECT_EQ(stat.st_nlink, 2u);
  EXPECT_EQ(outer_.Stat(In("d/g")).st_ino, stat.st_ino);
  EXPECT_EQ(outer_.Mtime(In("d/f")), kTime);
  EXPECT_EQ(outer_.Mtime(In("d")), kTime + absl::Seconds(1));
  EXPECT_EQ(outer_.Stat(In("d")).st_mode, S_IFDIR | 0511u);
  EXPECT_EQ(outer_.Xattr(In("d/f"), "user.a"), "b");
  EXPECT_EQ(outer_.Xattr(In("d/f"), "security.capability").size(), 20u);
  EXPECT_EQ(outer_.Stat(In("null")).st_rdev, makedev(1, 3));
  EXPECT_EQ(outer_.Stat(In("disk")).st_rdev, makedev(7, 0));
  EXPECT_EQ(layer.table.Find("d/g")->hard_link_to, "d/f");
  EXPECT_EQ(layer.table.Find("d/f")->content, DigestOf("hello"));
  EXPECT_EQ(layer.table.Find("s")->link_target, "d/f");
  EXPECT_EQ(layer.table.size(), 7u);
}

// Paths out of the root.

TEST_F(ApplierTest, DotDotOutOfTheRootIsRefused) {
  for (const char* name : {"../canary", "a/../../canary", "/../canary", "./../../canary", ".."}) {
    EXPECT_THAT(Apply(TarBuilder().File(name, "dead").Build()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("leads out of the root")))
        << name;
  }
}

TEST_F(ApplierTest, DotDotWithinTheRootIsCleaned) {
  ASSERT_OK(Apply(TarBuilder().Directory("a").File("a/../b", "x").Build()));
  EXPECT_EQ(outer_.Read(In("b")), "x");
}

TEST_F(ApplierTest, AbsoluteNamesAreBeneathTheRoot) {
  const std::string canary = outer_.At("canary");
  ASSERT_OK(Apply(TarBuilder().File(canary, "dead").File("/etc/passwd", "x").Build()));
  EXPECT_EQ(outer_.Read(In(canary)), "dead");
  EXPECT_EQ(outer_.Read(In("etc/passwd")), "x");
}

TEST_F(ApplierTest, ASymlinkParentIsResolvedWithinTheRoot) {
  const std::string tar = TarBuilder()
                              .Directory("real")
                              .Symlink("relative", "real")
                              .Symlink("absolute", "/real")
                              .Symlink("up", "../../../..")
                              .Symlink("outside", outer_.path())
                              .File("relative/a", "1")
                              .File("absolute/b", "2")
                              .File("up/canary", "dead")
                              .File("outside/canary", "dead")
                              .Build();
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(tar));
  EXPECT_EQ(outer_.Read(In("real/a")), "1");
  EXPECT_EQ(outer_.Read(In("real/b")), "2");
  EXPECT_EQ(outer_.Read(In("canary")), "dead");
  EXPECT_EQ(outer_.Read(In(outer_.path() + "/canary")), "dead");
  EXPECT_NE(layer.table.Find("real/a"), nullptr);  // The table says where things really are.
}

TEST_F(ApplierTest, ASymlinkAtTheEndIsReplacedNotFollowed) {
  ASSERT_OK(
      Apply(TarBuilder().Symlink("canary", outer_.At("canary")).File("canary", "mine").Build()));
  EXPECT_EQ(outer_.Read(In("canary")), "mine");
  EXPECT_TRUE(S_ISREG(outer_.Stat(In("canary")).st_mode));
}

TEST_F(ApplierTest, SymlinkLoopsEnd) {
  EXPECT_THAT(Apply(TarBuilder().Symlink("a", "b").Symlink("b", "a").File("a/f", "").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too many symlinks")));
}

TEST_F(ApplierTest, AFileIsNoParent) {
  EXPECT_THAT(Apply(TarBuilder().File("a", "").File("a/b", "").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no directory")));
}

TEST_F(ApplierTest, HardLinksToOutsideAreRefused) {
  for (const std::string& target : {std::string("../../canary"), outer_.At("canary"),
                                    std::string("link/canary"), std::string("missing")}) {
    EXPECT_FALSE(Apply(TarBuilder().Symlink("link", "../..").HardLink("h", target).Build()).ok())
        << target;
    EXPECT_FALSE(outer_.Exists(In("h")));
  }
}

TEST_F(ApplierTest, AHardLinkToASymlinkDoesNotFollowIt) {
  ASSERT_OK_AND_ASSIGN(
      const AppliedLayer layer,
      Apply(TarBuilder().Symlink("s", outer_.At("canary")).HardLink("h", "s").Build()));
  EXPECT_TRUE(S_ISLNK(outer_.Stat(In("h")).st_mode));
  EXPECT_EQ(layer.table.Find("h")->type, EntryType::kSymlink);
}

TEST_F(ApplierTest, AHardLinkToItselfOrADirectoryIsRefused) {
  EXPECT_THAT(Apply(TarBuilder().File("f", "").HardLink("f", "f").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Apply(TarBuilder().Directory("d").HardLink("h", "d").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ApplierTest, ASymlinkSwappedMeanwhileNeverLeadsOut) {
  outer_.Directory(In("swap"));
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    const std::string path = outer_.At(In("swap"));
    const std::string aside = outer_.At(In("aside"));
    while (!stop) {
      if (rename(path.c_str(), aside.c_str()) != 0) continue;
      (void)!symlink("../..", path.c_str());
      unlink(path.c_str());
      (void)!rename(aside.c_str(), path.c_str());
    }
  });
  std::string tar;
  {
    TarBuilder builder;
    for (int i = 0; i < 200; ++i) {
      builder.File("swap/canary", "dead").File(absl::StrCat("other", i), "");
    }
    tar = builder.Build();
  }
  const absl::Time end = absl::Now() + absl::Seconds(2);
  while (absl::Now() < end) (void)Extract(tar);  // It may fail, but not write elsewhere.
  stop = true;
  swapper.join();
}

// Marks of overlayfs.

TEST_F(ApplierTest, OverlayXattrsOfATarAreDropped) {
  TarEntry entry;
  entry.name = "d";
  entry.type = TarType::kDirectory;
  entry.mode = 0755;
  for (const char* key :
       {"trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy",
        "user.overlay.opaque", "trusted.x", "security.selinux"}) {
    entry.xattrs[key] = "y";
  }
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder().Add(entry).Build()));
  char names[512];
  EXPECT_EQ(llistxattr(outer_.At(In("d")).c_str(), names, sizeof(names)), 0);
  EXPECT_TRUE(layer.table.Find("d")->xattrs.empty());
}

TEST_F(ApplierTest, WhiteoutDevicesAreRefused) {
  EXPECT_THAT(Apply(TarBuilder().Device("secret", TarType::kCharDevice, 0, 0).Build()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0:0")));
  // Numbers that the kernel would cut down to 0:0.
  EXPECT_THAT(Apply(TarBuilder().Device("secret", TarType::kCharDevice, 1 << 12, 0).Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Apply(TarBuilder().Device("secret", TarType::kCharDevice, 0, 1 << 20).Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_FALSE(outer_.Exists(In("secret")));
}

TEST_F(ApplierTest, WhiteoutsBecomeDevicesOfOverlayfs) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer,
                       Apply(TarBuilder().Directory("d").File("d/.wh.gone", "").Build()));
  EXPECT_TRUE(outer_.IsWhiteout(In("d/gone")));
  EXPECT_EQ(layer.table.Find("d/gone")->type, EntryType::kWhiteout);
}

TEST_F(ApplierTest, AnOpaqueWhiteoutMarksItsDirectory) {
  ASSERT_OK_AND_ASSIGN(
      const AppliedLayer layer,
      Apply(TarBuilder().File("d/.wh..wh..opq", "").File("d/f", "").Directory("d", 0700).Build()));
  EXPECT_EQ(outer_.Xattr(In("d"), "trusted.overlay.opaque"), "y");
  EXPECT_EQ(outer_.Stat(In("d")).st_mode, S_IFDIR | 0700u);
  EXPECT_TRUE(layer.table.Find("d")->opaque);
  EXPECT_THAT(outer_.Names(In("d")), ElementsAre("f"));
}

TEST_F(ApplierTest, AnOpaqueMarkAloneGivesTheSameEntryOnAnyStack) {
  ScratchDirectory lower;
  lower.Directory("d", 0700);
  lower.SetMtime("d", kTime);
  const UniqueFd fd = lower.Open();
  const LowerView below({fd.get()});
  const std::string tar = TarBuilder().File("d/.wh..wh..opq", "").File("d/f", "").Build();
  outer_.Directory("root/layer/alone");
  outer_.Directory("root/layer/stacked");
  const UniqueFd alone = outer_.Open(In("alone"));
  const UniqueFd stacked = outer_.Open(In("stacked"));
  StringSource source(tar);
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, ApplyLayer(source, alone.get(), {}));
  StringSource again(tar);
  EXPECT_OK(
      ApplyLayer(again, stacked.get(), {.below = &below, .expected_table = &layer.table}).status());
  for (const char* name : {"alone/d", "stacked/d"}) {
    EXPECT_EQ(outer_.Stat(In(name)).st_mode, S_IFDIR | 0755u) << name;
    EXPECT_EQ(outer_.Xattr(In(name), "trusted.overlay.opaque"), "y") << name;
  }
}

// The kernel would go on showing what is below.
TEST_F(ApplierTest, AnOpaqueRootIsRefused) {
  for (const char* name : {".wh..wh..opq", "./.wh..wh..opq"}) {
    EXPECT_THAT(Apply(TarBuilder().File(name, "").Build()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("root")));
  }
}

TEST_F(ApplierTest, ANameBesideItsWhiteoutStaysAndHidesWhatIsBelow) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder()
                                                           .File(".wh.a", "")
                                                           .Directory("a")
                                                           .Directory("b")
                                                           .File(".wh.b", "")
                                                           .File("c", "")
                                                           .File(".wh.c", "")
                                                           .File(".wh.d", "")
                                                           .File("d/f", "")
                                                           .Build()));
  for (const char* name : {"a", "b", "d"}) {
    EXPECT_EQ(outer_.Xattr(In(name), "trusted.overlay.opaque"), "y") << name;
    EXPECT_TRUE(layer.table.Find(name)->opaque) << name;
  }
  EXPECT_EQ(layer.table.Find("c")->type, EntryType::kFile);
}

TEST_F(ApplierTest, OddWhiteoutsAreRefusedAndThoseOfAufsSkipped) {
  for (const char* name : {".wh.", ".wh..", ".wh...", "d/.wh...", ".wh.a/b"}) {
    EXPECT_THAT(Apply(TarBuilder().File(name, "").Build()),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << name;
  }
  ASSERT_OK_AND_ASSIGN(
      const AppliedLayer layer,
      Apply(TarBuilder().File(".wh..wh.plnk/1", "").File(".wh..wh.aufs", "").Build()));
  EXPECT_TRUE(layer.table.empty());
}

// Order, repetition, gaps.

TEST_F(ApplierTest, TheLaterOfTwoEntriesWins) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder()
                                                           .Directory("d")
                                                           .File("d/old", "")
                                                           .File("d", "file now")
                                                           .File("e", "")
                                                           .Directory("e")
                                                           .File("e/f", "1")
                                                           .File("e/f", "22")
                                                           .Directory("e", 0700)
                                                           .Build()));
  EXPECT_EQ(outer_.Read(In("d")), "file now");
  EXPECT_EQ(outer_.Read(In("e/f")), "22");
  EXPECT_EQ(layer.table.size(), 3u);
  EXPECT_EQ(layer.table.Find("e")->mode, 0700u);
}

TEST_F(ApplierTest, AHardLinkOutlivesItsFirstName) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder()
                                                           .File("a", "x")
                                                           .HardLink("c", "a")
                                                           .HardLink("b", "c")
                                                           .File("a", "y")
                                                           .Build()));
  EXPECT_EQ(layer.table.Find("a")->hard_link_to, "");
  EXPECT_EQ(layer.table.Find("b")->hard_link_to, "");
  EXPECT_EQ(layer.table.Find("c")->hard_link_to, "b");
  EXPECT_EQ(layer.table.Find("b")->content, DigestOf("x"));
}

TEST_F(ApplierTest, MissingParentsAreMadeButNotInTheTable) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder().File("a/b/f", "").Build()));
  EXPECT_EQ(outer_.Stat(In("a/b")).st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(outer_.Mtime(In("a")), absl::UnixEpoch());
  EXPECT_EQ(layer.table.size(), 1u);
}

TEST_F(ApplierTest, MissingParentsAreAsTheyAreBelow) {
  ScratchDirectory lower;
  lower.Directory("tmp", 01777);
  lower.SetMtime("tmp", kTime);
  lower.Directory("usr");
  lower.Directory("usr/lib");
  lower.Symlink("lib", "usr/lib");
  const UniqueFd fd = lower.Open();
  const LowerView below({fd.get()});
  ASSERT_OK_AND_ASSIGN(
      const AppliedLayer layer,
      Apply(TarBuilder().File("tmp/f", "").File("lib/so", "").Build(), {.below = &below}));
  EXPECT_EQ(outer_.Stat(In("tmp")).st_mode, S_IFDIR | 01777u);
  EXPECT_EQ(outer_.Mtime(In("tmp")), kTime);
  EXPECT_TRUE(outer_.Exists(In("usr/lib/so")));
  EXPECT_FALSE(outer_.Exists(In("lib")));
  EXPECT_TRUE(layer.parents_from_below);
}

TEST_F(ApplierTest, TheRootMayBeAnEntry) {
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(TarBuilder().Directory("./", 0700).Build()));
  EXPECT_EQ(outer_.Stat("root/layer").st_mode, S_IFDIR | 0700u);
  EXPECT_EQ(layer.table.Find("")->mode, 0700u);
  EXPECT_THAT(Apply(TarBuilder().Symlink(".", "x").Build()),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(ApplierTest, ARootThatIsNoEntryIsTheSameOnAnyStack) {
  ScratchDirectory lower;
  FARM_CHECK(chmod(lower.At(".").c_str(), 0700) == 0);
  const UniqueFd fd = lower.Open();
  const LowerView below({fd.get()});
  ASSERT_OK(Apply(TarBuilder().File("f", "").Build(), {.below = &below}));
  EXPECT_EQ(outer_.Stat("root/layer").st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(outer_.Mtime("root/layer"), absl::UnixEpoch());
}

TEST_F(ApplierTest, TheGroupOfTheDirectoryAroundIsNotPassedOn) {
  FARM_CHECK(fchown(root_.get(), 0, 50) == 0);
  FARM_CHECK(fchmod(root_.get(), 02755) == 0);
  ASSERT_OK(Apply(TarBuilder().File("f", "").Directory("d").File("d/g", "").Build()));
  for (const char* name : {"f", "d", "d/g"}) {
    EXPECT_EQ(outer_.Stat(In(name)).st_gid, 0u) << name;
    EXPECT_EQ(outer_.Stat(In(name)).st_mode & 07000, 0u) << name;
  }
}

// Expectations and limits.

TEST_F(ApplierTest, AnotherTableOrHashIsDataLoss) {
  const std::string tar = TarBuilder().File("f", "x").Build();
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(tar));
  EXPECT_OK(Apply(tar, {.expected_table = &layer.table, .expected_diff_id = &layer.diff_id}));
  ASSERT_OK_AND_ASSIGN(const Table other, Table::FromEntries({FileEntry("g", "x")}));
  EXPECT_THAT(Apply(tar, {.expected_table = &other}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("differs at \"f\"")));
  const Digest hash_only(layer.diff_id.hash(), 0);
  EXPECT_OK(Apply(tar, {.expected_diff_id = &hash_only}));
  const Digest wrong = DigestOf("");
  EXPECT_THAT(Apply(tar, {.expected_diff_id = &wrong}), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ApplierTest, BytesAfterTheEndMarkCountForTheDiffId) {
  const std::string tar = TarBuilder().File("f", "x").Build() + std::string(10240, '\0');
  ASSERT_OK_AND_ASSIGN(const AppliedLayer layer, Apply(tar));
  EXPECT_EQ(layer.diff_id, DigestOf(tar));
}

TEST_F(ApplierTest, LimitsAreNamed) {
  const std::string tar = TarBuilder().File("a", "").File("b/c", "0123456789").Build();
  EXPECT_THAT(Apply(tar, {.limits = {.entries_max = 1}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("entries_max 1")));
  EXPECT_THAT(Apply(tar, {.tar_bytes_max = 1500}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("tar_bytes_max 1500")));
  EXPECT_THAT(Apply(tar, {.limits = {.path_depth_max = 1}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_depth_max 1")));
  const std::vector<std::string> names(10'000, "d");
  EXPECT_THAT(Apply(TarBuilder().File(absl::StrJoin(names, "/"), "").Build()),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(Apply(TarBuilder().File(std::string(256, 'n'), "").Build()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("255")));
}

TEST_F(ApplierTest, WhatATarSaysOfItsEntriesIsBoundedAtOnce) {
  TarEntry entry;
  entry.name = "a";
  entry.xattrs["user.a"] = "123";
  EXPECT_THAT(Apply(TarBuilder().Add(entry).Build(), {.limits = {.xattr_bytes_max = 8}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("xattr_bytes_max 8")));
  EXPECT_THAT(Apply(TarBuilder().File("b", "").Build(), {.limits = {.memory_bytes_max = 100}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("memory_bytes_max 100")));
  EXPECT_THAT(Apply(TarBuilder().Symlink("c", std::string(5000, 'x')).Build()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_bytes_max 4095")));
}

TEST_F(ApplierTest, SymlinksDoNotLeadDeeperThanATableMayBe) {
  EXPECT_THAT(Apply(TarBuilder().Directory("a/b/c").Symlink("s", "a/b/c").File("s/d/f", "").Build(),
                    {.limits = {.path_depth_max = 3}}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_depth_max 3")));
}

TEST_F(ApplierTest, ATarThatEndsEarlyIsDataLoss) {
  const std::string tar = TarBuilder().File("a", std::string(2000, 'x')).Build();
  for (const size_t size : {512u, 513u, 1024u, 2512u}) {
    EXPECT_THAT(Apply(tar.substr(0, size)), StatusIs(absl::StatusCode::kDataLoss)) << size;
  }
}

TEST_F(ApplierTest, CanBeCancelled) {
  CancelToken cancel;
  cancel.Cancel();
  EXPECT_THAT(Apply(TarBuilder().File("a", "").Build(), {.cancel = &cancel}),
              StatusIs(absl::StatusCode::kCancelled));
}

// Plain extraction.

TEST_F(ApplierTest, ExtractingGoesOverWhatIsThere) {
  outer_.Directory(In("d"), 0700);
  outer_.File(In("d/kept"), "");
  outer_.File(In("d/f"), "old");
  outer_.Symlink(In("out"), "../..");
  outer_.Symlink(In("x"), "../../canary");
  ASSERT_OK(Extract(TarBuilder()
                        .Directory(".", 0700)
                        .Directory("d")
                        .File("d/f", "new")
                        .File("out/canary", "contained")
                        .File("x", "mine")
                        .File(".wh.x", "just a name")
                        .Build()));
  EXPECT_EQ(outer_.Stat("root/layer").st_mode, S_IFDIR | 0755u);  // Was there before.
  EXPECT_THAT(outer_.Names(In("d")), ElementsAre("f", "kept"));
  EXPECT_EQ(outer_.Stat(In("d")).st_mode, S_IFDIR | 0755u);
  EXPECT_EQ(outer_.Read(In("d/f")), "new");
  EXPECT_EQ(outer_.Read(In("canary")), "contained");
  EXPECT_EQ(outer_.Read(In("x")), "mine");
  EXPECT_EQ(outer_.Read(In(".wh.x")), "just a name");
}

TEST_F(ApplierTest, WithoutOwnersAllIsOurs) {
  TarEntry file;
  file.name = "f";
  file.mode = 06755;
  file.uid = 1000;
  ASSERT_OK(Extract(TarBuilder().Add(file).Build(), {.restore_owner = false}));
  EXPECT_EQ(outer_.Stat(In("f")).st_uid, 0u);
  EXPECT_EQ(outer_.Stat(In("f")).st_mode, S_IFREG | 0755u);
}

// Round trips.

void MakeSomeTree(const ScratchDirectory& tree) {
  tree.Directory("a", 01777);
  tree.Directory("a/" + std::string(120, 'n'));
  tree.File("a/" + std::string(120, 'n') + "/f", std::string(3000, 'x'), 0640);
  tree.HardLink("a/h", "a/" + std::string(120, 'n') + "/f");
  tree.File("a-b", "", 04711);
  tree.SetXattr("a-b", "user.empty", "");
  tree.Symlink("l", std::string(200, 't'));
  tree.Node("n", S_IFCHR | 0600, 5, 1);
  tree.Directory("z");
  FARM_CHECK(lchown(tree.At("l").c_str(), 70'000, 3'000'000) == 0);
  tree.SetAllMtimes(kTime);
  tree.SetMtime("a-b", absl::FromUnixSeconds(-5));
}

TEST_F(ApplierTest, PackApplyPackGivesTheSameBytes) {
  ScratchDirectory tree;
  MakeSomeTree(tree);
  StringSink first;
  const UniqueFd fd = tree.Open();
  ASSERT_OK_AND_ASSIGN(const PackedLayer packed, PackTree(fd.get(), {}, first));
  ASSERT_OK_AND_ASSIGN(
      const AppliedLayer applied,
      Apply(first.bytes(), {.expected_table = &packed.table, .expected_diff_id = &packed.diff_id}));
  StringSink second;
  ASSERT_OK(PackTree(root_.get(), {}, second));
  EXPECT_EQ(first.bytes(), second.bytes());
}

class ScopedOverlay {
 public:
  // With an empty `upper` it is read-only.
  ScopedOverlay(std::string at, const std::string& lowers, const std::string& upper = "",
                const std::string& work = "")
      : at_(std::move(at)) {
    std::string options = "redirect_dir=off,metacopy=off,index=off,xino=off,lowerdir=" + lowers;
    if (!upper.empty()) options += ",upperdir=" + upper + ",workdir=" + work;
    FARM_CHECK(mount("overlay", at_.c_str(), "overlay", 0, options.c_str()) == 0)
        << options << ": " << strerror(errno);
  }
  ~ScopedOverlay() { FARM_CHECK(umount2(at_.c_str(), MNT_DETACH) == 0); }

 private:
  const std::string at_;
};

PackedLayer PackAll(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  StringSink sink;
  absl::StatusOr<PackedLayer> packed = PackTree(fd.get(), {}, sink);
  FARM_CHECK_OK(packed.status());
  return *std::move(packed);
}

// What a step might do to a tree.
void EditAtRandom(const ScratchDirectory& tree, absl::string_view root, std::mt19937& random) {
  std::vector<std::string> directories = {std::string(root)};
  std::vector<std::string> files;
  for (const auto& item : std::filesystem::recursive_directory_iterator(tree.At(root))) {
    const std::string name = item.path().string().substr(tree.path().size() + 1);
    (item.is_directory() && !item.is_symlink() ? directories : files).push_back(name);
  }
  const auto pick = [&](const std::vector<std::string>& from) {
    return from[random() % from.size()];
  };
  const std::string fresh = absl::StrCat(pick(directories), "/n", random() % 6);
  const std::string victim = files.empty() || random() % 3 == 0 ? pick(directories) : pick(files);
  const bool is_root = victim == root;
  std::error_code ignored;
  switch (random() % 9) {
    case 0:
    case 1:
      if (!tree.Exists(fresh)) tree.File(fresh, absl::StrCat(random()));
      break;
    case 2:
      if (!tree.Exists(fresh)) tree.Directory(fresh);
      break;
    case 3:
      if (!is_root) std::filesystem::remove_all(tree.At(victim), ignored);
      break;
    case 4:  // Replaced by another kind.
      if (is_root) break;
      std::filesystem::remove_all(tree.At(victim), ignored);
      if (random() % 2 == 0) {
        tree.Directory(victim);
        tree.File(victim + "/inner", "");
      } else {
        tree.File(victim, "was something else");
      }
      break;
    case 5:
      if (!is_root && !S_ISLNK(tree.Stat(victim).st_mode)) chmod(tree.At(victim).c_str(), 0750);
      break;
    case 6:
      if (!files.empty()) (void)!link(tree.At(pick(files)).c_str(), tree.At(fresh).c_str());
      break;
    case 7:
      (void)!symlink("somewhere", tree.At(fresh).c_str());
      break;
    case 8:
      if (!is_root) (void)!rename(tree.At(victim).c_str(), tree.At(fresh).c_str());
      break;
  }
}

// For whatever a step does in a real overlay: the packed upper, unpacked elsewhere over the same
// layers, shows the same tree, and merging the tables says what that is.
TEST(OverlayRoundTripTest, ALayerUnpackedElsewhereShowsTheSameTree) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  ScratchDirectory room;
  std::string lowers;
  std::vector<Table> tables;
  std::vector<std::string> layers;  // Topmost first.
  for (int step = 0; step < 8; ++step) {
    const std::string prefix = absl::StrCat(step);
    for (const char* name : {"upper", "work", "root", "layer", "seen"}) {
      room.Directory(prefix + name);
    }
    if (step == 0) room.Directory("empty");
    const std::string below = layers.empty() ? room.At("empty") : absl::StrJoin(layers, ":");
    Table in_overlay;
    {
      ScopedOverlay root(room.At(prefix + "root"), below, room.At(prefix + "upper"),
                         room.At(prefix + "work"));
      const int edits = step == 0 ? 40 : 1 + static_cast<int>(random() % 12);
      for (int i = 0; i < edits; ++i) EditAtRandom(room, prefix + "root", random);
    }
    std::vector<UniqueFd> fds;
    std::vector<int> lower_fds;
    for (const std::string& layer : layers) {
      fds.emplace_back(open(layer.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      lower_fds.push_back(fds.back().get());
    }
    const LowerView view(lower_fds);
    StringSink tar;
    const UniqueFd upper = room.Open(prefix + "upper");
    ASSERT_OK_AND_ASSIGN(const PackedLayer packed, PackLayer(upper.get(), view, {}, tar));
    {
      ScopedOverlay root(room.At(prefix + "root"), below, room.At(prefix + "upper"),
                         room.At(prefix + "work"));
      in_overlay = PackAll(room.At(prefix + "root")).table;
    }
    StringSource source(tar.bytes());
    const UniqueFd layer = room.Open(prefix + "layer");
    ASSERT_OK(ApplyLayer(source, layer.get(),
                         {.expected_table = &packed.table, .expected_diff_id = &packed.diff_id}));
    layers.insert(layers.begin(), room.At(prefix + "layer"));
    {
      ScopedOverlay seen(room.At(prefix + "seen"),
                         absl::StrJoin(layers, ":") + ":" + room.At("empty"));
      ASSERT_EQ(PackAll(room.At(prefix + "seen")).table, in_overlay) << "step " << step;
    }
    tables.push_back(packed.table);
    std::vector<const Table*> stack;
    for (const Table& table : tables) stack.push_back(&table);
    ASSERT_EQ(Table::Merge(stack), in_overlay) << "step " << step;
  }
}

}  // namespace
}  // namespace farm
