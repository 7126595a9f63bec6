#include "layer/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"
#include "layer/testing/table_builders.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Table TableOf(std::vector<TableEntry> entries) {
  absl::StatusOr<Table> table = Table::FromEntries(std::move(entries));
  EXPECT_OK(table);
  return table.ok() ? *table : Table();
}

std::vector<std::string> PathsOf(const Table& table) {
  std::vector<std::string> paths;
  for (const TableEntry& entry : table.entries()) paths.push_back(entry.path);
  return paths;
}

Digest ContentOf(const Table& table, absl::string_view path) {
  absl::StatusOr<Digest> digest = table.ContentDigest(path);
  EXPECT_OK(digest);
  return digest.value_or(Digest());
}

Table MergeOf(const std::vector<Table>& base_to_top) {
  std::vector<const Table*> tables;
  for (const Table& table : base_to_top) tables.push_back(&table);
  return Table::Merge(tables);
}

// One entry of each kind, with each optional part.
Table TableOfAllKinds() {
  TableEntry directory = DirectoryEntry("d", 01777);
  directory.opaque = true;
  TableEntry file = FileEntry("d/file", "hello\n", 04755);
  file.uid = 1000;
  file.gid = 70000;
  file.mtime = absl::FromUnixSeconds(1'700'000'000) + absl::Nanoseconds(5);
  file.xattrs = {{"security.capability", std::string("\x01\0\xff", 3)}, {"user.a", ""}};
  TableEntry device = FileEntry("null", "");
  device.type = EntryType::kCharDevice;
  device.content = Digest();
  device.device_major = 1;
  device.device_minor = 3;
  TableEntry block = device;
  block.path = "loop0";
  block.type = EntryType::kBlockDevice;
  TableEntry fifo = FileEntry("pipe", "");
  fifo.type = EntryType::kFifo;
  fifo.content = Digest();
  fifo.mtime = absl::FromUnixSeconds(-1) + absl::Nanoseconds(999'999'999);
  return TableOf({directory, file, HardLinkEntry("d/same", file), device, block, fifo,
                  SymlinkEntry("sym", "../d/file"), WhiteoutEntry("gone")});
}

TEST(PathLessTest, OrdersByComponent) {
  std::vector<std::string> paths = {"a-b", "a/b", "a", "a/b/c", "a b", "ab", "", "a/b-c", "\xff"};
  std::sort(paths.begin(), paths.end(), [](auto& a, auto& b) { return PathLess(a, b); });
  EXPECT_THAT(paths, ElementsAre("", "a", "a/b", "a/b/c", "a/b-c", "a b", "a-b", "ab", "\xff"));
}

TEST(TableTest, DecodesWhatItEncoded) {
  const Table table = TableOfAllKinds();
  EXPECT_THAT(Table::Decode(table.Encode()), IsOkAndHolds(table));
}

TEST(TableTest, EmptyTableDecodes) {
  EXPECT_THAT(Table::Decode(Table().Encode()), IsOkAndHolds(Table()));
}

TEST(TableTest, ManyBlocksDecode) {
  std::vector<TableEntry> entries;
  for (int i = 0; i < 5000; ++i) {
    entries.push_back(FileEntry(absl::StrCat("dir", i / 100, "/file", i), absl::StrCat(i)));
  }
  const Table table = TableOf(std::move(entries));
  EXPECT_THAT(Table::Decode(table.Encode()), IsOkAndHolds(table));
}

// The same bytes come from layer/testdata/vectors.py, which knows only docs/formats/table.md.
TEST(TableTest, EncodingIsThatOfTheDocumentedVersion) {
  EXPECT_EQ(DigestOf(TableOfAllKinds().Encode()).hex(),
            "8caca0b98c6f08da325c73a7e437afaa2c1c8b923c357e2f0a5462c9814757d3");
}

TEST(TableTest, ContentDigestIsThatOfTheDocumentedVersion) {
  EXPECT_EQ(ContentOf(TableOfAllKinds(), "").hex(),
            "6016cfaa129f98fd78b149b6316bf5d9ed3757eb506b6dfb2c3c7f1669366141");
  EXPECT_EQ(ContentOf(TableOfAllKinds(), "d/file").hex(),
            "2e33c562a0c69adb44c339146720f86ea07d43c89a8975d6b235470420307005");
}

TEST(TableTest, CanonicalDigestIsThatOfTheDocumentedVersion) {
  const absl::Time start = absl::FromUnixSeconds(1'700'000'000);
  EXPECT_EQ(TableOfAllKinds().CanonicalDigest(start, start + absl::Seconds(1)).hex(),
            "d33f7e455ab4c1447b41b123a2a465fd4689db0894c6705ebdccdde7c6ee2734");
}

TEST(TableTest, EveryDamagedByteIsRefusedOrGivesAnotherTable) {
  const Table table = TableOfAllKinds();
  const std::string good = table.Encode();
  for (size_t i = 0; i < good.size(); ++i) {
    for (const char flip : {'\x01', '\x80', '\x10'}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      const absl::StatusOr<Table> decoded = Table::Decode(bad);
      if (!decoded.ok()) continue;
      EXPECT_NE(*decoded, table) << "byte " << i;
    }
  }
}

TEST(TableTest, EveryCutIsRefused) {
  const std::string good = TableOfAllKinds().Encode();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(Table::Decode(absl::string_view(good).substr(0, size)).ok()) << size << " bytes";
  }
}

TEST(TableTest, BytesAfterTheEndAreRefused) {
  EXPECT_FALSE(Table::Decode(TableOfAllKinds().Encode() + "x").ok());
}

TEST(TableTest, BadPathsAreRefused) {
  for (const char* path : {"/a", "a/", "a//b", ".", "..", "a/../b", "a/.", "./a", "../a"}) {
    EXPECT_THAT(Table::FromEntries({FileEntry(path, "")}),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << path;
  }
  EXPECT_THAT(Table::FromEntries({FileEntry(std::string("a\0b", 3), "")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("zero byte")));
}

TEST(TableTest, TheSamePathTwiceIsRefused) {
  EXPECT_THAT(Table::FromEntries({FileEntry("a", ""), FileEntry("b", ""), FileEntry("a", "x")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
}

TEST(TableTest, AnEntryUnderAFileIsRefused) {
  EXPECT_THAT(Table::FromEntries({FileEntry("a", ""), FileEntry("a/b/c", "")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is under a file")));
}

TEST(TableTest, FieldsThatTheTypeDoesNotHaveAreRefused) {
  TableEntry entry = DirectoryEntry("a");
  entry.content = DigestOf("x");
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
  entry = WhiteoutEntry("a");
  entry.mode = 0644;
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
  entry = SymlinkEntry("a", "");
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
  entry = FileEntry("a", "");
  entry.opaque = true;
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
  entry = FileEntry("a", "", 010000);
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
  entry = FileEntry("a", "");
  entry.mtime = absl::InfiniteFuture();
  EXPECT_THAT(Table::FromEntries({entry}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(TableTest, EachLimitIsNamed) {
  const auto error = [](const TableEntry& entry, const TableLimits& limits) {
    return Table::FromEntries({FileEntry("0", ""), entry}, limits).status();
  };
  EXPECT_THAT(error(FileEntry("a", ""), {.entries_max = 1}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("entries_max 1")));
  EXPECT_THAT(error(FileEntry("abcd", ""), {.path_bytes_max = 3}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_bytes_max 3")));
  EXPECT_THAT(error(FileEntry("a/b/c", ""), {.path_depth_max = 2}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("path_depth_max 2")));
  EXPECT_THAT(error(FileEntry(std::string(256, 'a'), ""), {}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("255")));
  TableEntry entry = FileEntry("a", "");
  entry.xattrs["user.a"] = "123";
  EXPECT_THAT(error(entry, {.xattr_bytes_max = 8}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("xattr_bytes_max 8")));
  EXPECT_THAT(Table::Decode(TableOfAllKinds().Encode(), {.table_bytes_max = 100}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("table_bytes_max 100")));
  EXPECT_THAT(Table::Decode(TableOfAllKinds().Encode(), {.entries_max = 7}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("entries_max 7")));
}

// Few bytes may stand for many: paths are shortened by what they share.
TEST(TableTest, ShortEncodingsOfMuchAreRefused) {
  std::vector<TableEntry> entries;
  const std::string prefix = absl::StrCat(std::string(200, 'a'), "/", std::string(200, 'b'));
  for (int i = 0; i < 1000; ++i) entries.push_back(FileEntry(absl::StrCat(prefix, i), ""));
  const Table table = TableOf(entries);
  const std::string encoded = table.Encode();
  EXPECT_GT(table.memory_bytes(), 400'000);
  EXPECT_LT(encoded.size(), 60'000u);
  EXPECT_OK(Table::Decode(encoded, {.memory_bytes_max = table.memory_bytes()}));
  EXPECT_THAT(Table::Decode(encoded, {.memory_bytes_max = 400'000}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("memory_bytes_max 400000")));
  EXPECT_THAT(Table::FromEntries(entries, {.memory_bytes_max = 400'000}),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("memory_bytes_max 400000")));
}

TEST(TableTest, NamesOfFirstLinksCountForMemory) {
  const TableEntry last = FileEntry("z", "");
  std::vector<TableEntry> entries = {last};
  // Sorts first, so that all others come to name it.
  entries.push_back(HardLinkEntry(std::string(255, 'a'), last));
  for (int i = 0; i < 100; ++i) entries.push_back(HardLinkEntry(absl::StrCat("m", i), last));
  const int64_t bytes = TableOf(entries).memory_bytes();
  EXPECT_THAT(Table::FromEntries(entries, {.memory_bytes_max = bytes - 1000}),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(TableTest, HardLinksAreMadeToNameTheFirst) {
  TableEntry c = FileEntry("c", "x");
  TableEntry b = HardLinkEntry("b", c);
  TableEntry a = HardLinkEntry("a", b);
  const Table table = TableOf({a, b, c});
  EXPECT_EQ(table.Find("a")->hard_link_to, "");
  EXPECT_EQ(table.Find("b")->hard_link_to, "a");
  EXPECT_EQ(table.Find("c")->hard_link_to, "a");
}

TEST(TableTest, HardLinksThatLeadNowhereAreRefused) {
  TableEntry a = FileEntry("a", "x");
  TableEntry b = FileEntry("b", "x");
  a.hard_link_to = "missing";
  EXPECT_THAT(Table::FromEntries({a, b}), StatusIs(absl::StatusCode::kInvalidArgument));
  a.hard_link_to = "b";
  b.hard_link_to = "a";
  EXPECT_THAT(Table::FromEntries({a, b}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("circle")));
  a.hard_link_to = "a";
  EXPECT_THAT(Table::FromEntries({a}), StatusIs(absl::StatusCode::kInvalidArgument));
  a.hard_link_to = "d";
  EXPECT_THAT(Table::FromEntries({a, DirectoryEntry("d")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a directory")));
  a.hard_link_to = "b";
  EXPECT_THAT(Table::FromEntries({a, FileEntry("b", "y")}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("other metadata")));
}

TEST(TableTest, ChildrenAreThoseOfTheDirectoryAlone) {
  const Table table = TableOf({DirectoryEntry("a"), FileEntry("a/x", ""), DirectoryEntry("a/y"),
                               FileEntry("a/y/1", ""), FileEntry("a/y/2", ""), FileEntry("a/z", ""),
                               FileEntry("a-b", ""), FileEntry("implied/f", "")});
  const auto names = [&](absl::string_view path) {
    std::vector<std::string> result;
    for (const TableEntry* child : table.Children(path)) result.push_back(child->path);
    return result;
  };
  EXPECT_THAT(names(""), ElementsAre("a", "a-b"));
  EXPECT_THAT(names("a"), ElementsAre("a/x", "a/y", "a/z"));
  EXPECT_THAT(names("implied"), ElementsAre("implied/f"));
  EXPECT_THAT(names("a-b"), ElementsAre());
  EXPECT_EQ(table.Subtree("a").size(), 6u);
  EXPECT_EQ(table.Subtree("").size(), 8u);
  EXPECT_EQ(table.Subtree("b").size(), 0u);
}

TEST(TableTest, DirectoriesMayBeImplied) {
  const Table table = TableOf({FileEntry("a/b/c", "")});
  EXPECT_TRUE(table.IsDirectory(""));
  EXPECT_TRUE(table.IsDirectory("a/b"));
  EXPECT_FALSE(table.IsDirectory("a/b/c"));
  EXPECT_FALSE(table.IsDirectory("b"));
  EXPECT_EQ(table.Find("a"), nullptr);
}

TEST(ContentDigestTest, DoesNotDependOnTimesOrPlace) {
  TableEntry file = FileEntry("a/d/f", "x");
  const Table one = TableOf({DirectoryEntry("a"), DirectoryEntry("a/d"), file});
  file.path = "other/place/f";
  file.mtime = absl::FromUnixSeconds(9);
  const Table two = TableOf({DirectoryEntry("other"), DirectoryEntry("other/place"), file});
  EXPECT_EQ(ContentOf(one, "a/d"), ContentOf(two, "other/place"));
  EXPECT_EQ(ContentOf(one, "a/d/f"), ContentOf(two, "other/place/f"));
  EXPECT_NE(ContentOf(one, ""), ContentOf(two, ""));  // Names below the selection count.
}

TEST(ContentDigestTest, DependsOnEverythingElse) {
  const auto digest = [](const TableEntry& file) {
    return ContentOf(TableOf({DirectoryEntry("d"), DirectoryEntry("d/e"), file}), "d");
  };
  std::vector<Digest> digests;
  const TableEntry base = FileEntry("d/e/f", "x");
  digests.push_back(digest(base));
  TableEntry other = base;
  other.mode = 0600;
  digests.push_back(digest(other));
  other = base;
  other.uid = 1;
  digests.push_back(digest(other));
  other = base;
  other.gid = 1;
  digests.push_back(digest(other));
  other = base;
  other.xattrs["user.a"] = "b";
  digests.push_back(digest(other));
  digests.push_back(digest(FileEntry("d/e/f", "y")));
  digests.push_back(digest(FileEntry("d/e/g", "x")));
  digests.push_back(digest(FileEntry("d/f", "x")));
  digests.push_back(digest(SymlinkEntry("d/e/f", "x")));
  digests.push_back(digest(SymlinkEntry("d/e/f", "y")));
  digests.push_back(digest(DirectoryEntry("d/e/f")));
  digests.push_back(
      ContentOf(TableOf({DirectoryEntry("d", 0700), DirectoryEntry("d/e"), base}), "d"));
  digests.push_back(
      ContentOf(TableOf({DirectoryEntry("d"), DirectoryEntry("d/e", 0700), base}), "d"));
  digests.push_back(ContentOf(TableOf({DirectoryEntry("d"), base}), "d"));
  std::sort(digests.begin(), digests.end());
  EXPECT_EQ(std::adjacent_find(digests.begin(), digests.end()), digests.end());
}

TEST(ContentDigestTest, HardLinksWithinTheSelectionCountByTheirPlaceInIt) {
  const TableEntry f = FileEntry("a/f", "x");
  const std::vector<TableEntry> copies = {DirectoryEntry("a"), f, FileEntry("a/g", "x")};
  const std::vector<TableEntry> linked = {DirectoryEntry("a"), f, HardLinkEntry("a/g", f)};
  const TableEntry moved = FileEntry("b/f", "x");
  const std::vector<TableEntry> elsewhere = {DirectoryEntry("b"), moved,
                                             HardLinkEntry("b/g", moved)};
  EXPECT_NE(ContentOf(TableOf(copies), "a"), ContentOf(TableOf(linked), "a"));
  EXPECT_EQ(ContentOf(TableOf(linked), "a"), ContentOf(TableOf(elsewhere), "b"));
  EXPECT_EQ(ContentOf(TableOf(copies), "a/g"), ContentOf(TableOf(linked), "a/g"));
}

TEST(ContentDigestTest, HardLinksToOutsideOfTheSelectionDoNotCount) {
  const TableEntry outside = FileEntry("0", "x");
  const Table linked = TableOf({outside, DirectoryEntry("a"), HardLinkEntry("a/f", outside)});
  const Table alone = TableOf({DirectoryEntry("a"), FileEntry("a/f", "x")});
  EXPECT_EQ(ContentOf(linked, "a"), ContentOf(alone, "a"));
  // Two names in the selection are still one inode, though the first name is not in it.
  const Table both = TableOf(
      {outside, DirectoryEntry("a"), HardLinkEntry("a/f", outside), HardLinkEntry("a/g", outside)});
  const TableEntry f = FileEntry("a/f", "x");
  EXPECT_EQ(ContentOf(both, "a"),
            ContentOf(TableOf({DirectoryEntry("a"), f, HardLinkEntry("a/g", f)}), "a"));
}

TEST(ContentDigestTest, AMissingPathIsNotFound) {
  EXPECT_THAT(TableOf({FileEntry("a", "")}).ContentDigest("b"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(ContentsDigestTest, DependsOnAllOfADirectoryButItsOwnMetadata) {
  const Table table = TableOf({DirectoryEntry("a"), FileEntry("a/f", "x")});
  const Table other_mode = TableOf({DirectoryEntry("b", 0700), FileEntry("b/f", "x")});
  const Table other_file = TableOf({DirectoryEntry("a"), FileEntry("a/f", "y")});
  EXPECT_EQ(*other_mode.ContentsDigest("b"), *table.ContentsDigest("a"));
  EXPECT_EQ(*TableOf({FileEntry("f", "x")}).ContentsDigest(""), *table.ContentsDigest("a"));
  EXPECT_NE(*other_file.ContentsDigest("a"), *table.ContentsDigest("a"));
}

TEST(ContentsDigestTest, WhatIsNoDirectoryIsNotFound) {
  EXPECT_THAT(TableOf({FileEntry("a", "")}).ContentsDigest("a"),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(TableOf({FileEntry("a", "")}).ContentsDigest("b"),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST(CanonicalDigestTest, TimesOfTheStepAreAllNow) {
  const absl::Time start = absl::FromUnixSeconds(1000) + absl::Milliseconds(700);
  const auto digest = [&](absl::Time mtime, absl::Duration later) {
    TableEntry file = FileEntry("f", "x");
    file.mtime = mtime;
    return TableOf({file}).CanonicalDigest(start + later, start + later + absl::Seconds(2));
  };
  const Digest now = digest(absl::FromUnixSeconds(1000), absl::ZeroDuration());  // Start, floored.
  EXPECT_EQ(digest(absl::FromUnixSeconds(1002), absl::ZeroDuration()), now);
  EXPECT_EQ(digest(absl::FromUnixSeconds(5001), absl::Seconds(4000)), now);
  EXPECT_EQ(digest(start + absl::Seconds(2), absl::ZeroDuration()), now);  // The end is included.
  EXPECT_NE(digest(absl::FromUnixSeconds(999), absl::ZeroDuration()), now);
  EXPECT_NE(digest(absl::FromUnixSeconds(1003), absl::ZeroDuration()), now);
}

TEST(CanonicalDigestTest, TheKernelsClockMayLagByATick) {
  TableEntry file = FileEntry("f", "x");
  const auto digest = [&](int64_t mtime, absl::Duration start_after) {
    file.mtime = absl::FromUnixSeconds(mtime);
    const absl::Time start = absl::FromUnixSeconds(1000) + start_after;
    return TableOf({file}).CanonicalDigest(start, start + absl::Seconds(1));
  };
  EXPECT_EQ(digest(999, absl::Milliseconds(5)), digest(1000, absl::ZeroDuration()));
  EXPECT_NE(digest(999, absl::Milliseconds(20)), digest(1000, absl::ZeroDuration()));
}

TEST(CanonicalDigestTest, OtherTimesAndNamesCount) {
  const auto digest = [&](const char* path, int64_t seconds) {
    TableEntry file = FileEntry(path, "x");
    file.mtime = absl::FromUnixSeconds(seconds);
    return TableOf({file}).CanonicalDigest(absl::FromUnixSeconds(100), absl::FromUnixSeconds(200));
  };
  EXPECT_NE(digest("f", 1), digest("f", 2));
  EXPECT_NE(digest("f", 150), digest("g", 150));
}

TEST(MergeTest, UpperEntriesReplaceLowerOnes) {
  const Table merged =
      MergeOf({TableOf({DirectoryEntry("d"), FileEntry("d/f", "old"), FileEntry("d/g", "kept")}),
               TableOf({DirectoryEntry("d", 0700), FileEntry("d/f", "new")})});
  EXPECT_EQ(merged, TableOf({DirectoryEntry("d", 0700), FileEntry("d/f", "new"),
                             FileEntry("d/g", "kept")}));
}

TEST(MergeTest, AWhiteoutRemovesASubtreeAndVanishes) {
  const Table merged =
      MergeOf({TableOf({DirectoryEntry("d"), FileEntry("d/f", ""), FileEntry("d-e", "")}),
               TableOf({WhiteoutEntry("d"), WhiteoutEntry("never/was")})});
  EXPECT_THAT(PathsOf(merged), ElementsAre("d-e"));
}

TEST(MergeTest, AnOpaqueDirectoryHidesWhatIsBelow) {
  TableEntry opaque = DirectoryEntry("d");
  opaque.opaque = true;
  const Table merged = MergeOf({TableOf({DirectoryEntry("d"), FileEntry("d/old", "")}),
                                TableOf({opaque, FileEntry("d/new", "")})});
  EXPECT_EQ(merged, TableOf({DirectoryEntry("d"), FileEntry("d/new", "")}));
}

TEST(MergeTest, ANonDirectoryHidesADirectory) {
  const Table base = TableOf({DirectoryEntry("d"), FileEntry("d/f", ""), FileEntry("e", "")});
  const Table over = TableOf({SymlinkEntry("d", "e")});
  EXPECT_EQ(MergeOf({base, over}), TableOf({SymlinkEntry("d", "e"), FileEntry("e", "")}));
  // A later directory there starts from nothing.
  const Table again = TableOf({DirectoryEntry("d"), FileEntry("d/g", "")});
  EXPECT_THAT(PathsOf(MergeOf({base, over, again})), ElementsAre("d", "d/g", "e"));
}

TEST(MergeTest, AnEntryUnderAFileBelowReplacesTheFile) {
  const Table merged = MergeOf(
      {TableOf({FileEntry("a", ""), FileEntry("a-b", "")}), TableOf({FileEntry("a/b", "")})});
  EXPECT_EQ(merged, TableOf({DirectoryEntry("a"), FileEntry("a/b", ""), FileEntry("a-b", "")}));
}

TEST(MergeTest, ImpliedDirectoriesBecomeEntriesAndKeepMetadataFromBelow) {
  const Table merged =
      MergeOf({TableOf({DirectoryEntry("tmp", 01777)}),
               TableOf({FileEntry("tmp/a/b/f", ""), FileEntry("x/y", ""), FileEntry("x/z", "")})});
  EXPECT_EQ(merged, TableOf({DirectoryEntry("tmp", 01777), DirectoryEntry("tmp/a"),
                             DirectoryEntry("tmp/a/b"), FileEntry("tmp/a/b/f", ""),
                             DirectoryEntry("x"), FileEntry("x/y", ""), FileEntry("x/z", "")}));
}

TEST(MergeTest, HardLinksLoseNamesThatAreReplaced) {
  const TableEntry a = FileEntry("a", "x");
  const Table base = TableOf({a, HardLinkEntry("b", a), HardLinkEntry("c", a)});
  const Table merged = MergeOf({base, TableOf({FileEntry("a", "x")})});
  EXPECT_EQ(merged.Find("a")->hard_link_to, "");
  EXPECT_EQ(merged.Find("b")->hard_link_to, "");
  EXPECT_EQ(merged.Find("c")->hard_link_to, "b");
}

TEST(MergeTest, HardLinksOfDifferentLayersStayApart) {
  const TableEntry a = FileEntry("a", "x");
  const Table one = TableOf({a, HardLinkEntry("b", a)});
  const Table two = TableOf({a, HardLinkEntry("c", a)});
  const Table merged = MergeOf({one, two});
  EXPECT_EQ(merged.Find("b")->hard_link_to, "");
  EXPECT_EQ(merged.Find("c")->hard_link_to, "a");
}

TEST(MergeTest, NoLayersGiveAnEmptyTable) { EXPECT_TRUE(Table::Merge({}).empty()); }

}  // namespace
}  // namespace farm
