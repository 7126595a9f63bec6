#include "plan/resolve_sources.h"

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TableEntry Directory(const std::string& path) {
  TableEntry entry;
  entry.path = path;
  entry.type = EntryType::kDirectory;
  entry.mode = 0755;
  return entry;
}

TableEntry File(const std::string& path) {
  TableEntry entry;
  entry.path = path;
  entry.mode = 0644;
  entry.content = DigestOf(path);
  return entry;
}

TableEntry Symlink(const std::string& path, const std::string& target) {
  TableEntry entry;
  entry.path = path;
  entry.type = EntryType::kSymlink;
  entry.mode = 0777;
  entry.link_target = target;
  return entry;
}

class ResolveSourcesTest : public testing::Test {
 protected:
  ResolveSourcesTest() {
    step_.position = {"Dockerfile", 3, 1};
    step_.source_line = "COPY ...";
    step_.sources.resize(1);
    step_.sources[0].from.kind = FileSystemRef::Kind::kContext;
    Fill({Directory("src"), File("src/main.c"), File("src/util.c"), Directory("src/lib"),
          File("src/lib/a.c"), File("go.mod"), File("go.sum"), File("a.tar")});
  }

  void Fill(std::vector<TableEntry> entries) {
    absl::StatusOr<Table> table = Table::FromEntries(std::move(entries));
    ASSERT_OK(table);
    table_ = *std::move(table);
  }

  absl::Status Resolve(absl::Span<const Table* const> tables) {
    ASSIGN_OR_RETURN(ResolvedSources resolved,
                     ResolveSources(step_, tables, cancel_, match_steps_max_));
    operation_ = resolved.identity.copy();
    selections_ = std::move(resolved.selections);
    return absl::OkStatus();
  }

  absl::Status Resolve(std::vector<std::string> patterns) {
    step_.sources[0].patterns = std::move(patterns);
    const Table* const table = &table_;
    return Resolve(absl::MakeConstSpan(&table, 1));
  }

  // "path" of what has no name, "path=name" of the others, "!" after what is to be unpacked.
  std::vector<std::string> Items() const {
    std::vector<std::string> items;
    for (const v1::CopyItem& item : operation_.items()) {
      items.push_back(absl::StrCat(item.path(), item.name().empty() ? "" : "=", item.name(),
                                   item.unpack_archive() ? "!" : ""));
    }
    return items;
  }

  std::vector<std::string> ItemsOf(std::vector<std::string> patterns) {
    EXPECT_OK(Resolve(std::move(patterns)));
    return Items();
  }

  // The paths of each selection.
  std::vector<std::string> Selected(size_t index) const {
    std::vector<std::string> paths;
    for (const TableEntry& entry : selections_.at(index).entries()) paths.push_back(entry.path);
    return paths;
  }

  CancelToken cancel_;
  uint64_t match_steps_max_ = kMatchStepsMax;
  Table table_;
  PlanStep step_;
  v1::CopyOperation operation_;
  std::vector<Table> selections_;
};

TEST_F(ResolveSourcesTest, AFileHasItsNameAndADirectoryNone) {
  EXPECT_THAT(ItemsOf({"go.mod", "src", "src/main.c"}),
              ElementsAre("go.mod=go.mod", "src", "src/main.c=main.c"));
}

TEST_F(ResolveSourcesTest, TheRootIsADirectory) { EXPECT_THAT(ItemsOf({""}), ElementsAre("")); }

TEST_F(ResolveSourcesTest, ContentIsTheTablesDigest) {
  ASSERT_OK(Resolve({"src", "go.mod"}));
  EXPECT_EQ(operation_.items(0).content().hash(), table_.ContentsDigest("src")->hex());
  EXPECT_EQ(operation_.items(1).content().hash(), table_.ContentDigest("go.mod")->hex());
}

TEST_F(ResolveSourcesTest, MetadataOfACopiedDirectoryItselfDoesNotCount) {
  TableEntry sub = Directory("src/sub");
  Fill({Directory("src"), sub});
  ASSERT_OK(Resolve({"src"}));
  const std::string before = operation_.items(0).content().hash();
  TableEntry src = Directory("src");
  src.mode = 0700;
  src.uid = 7;
  Fill({src, sub});
  ASSERT_OK(Resolve({"src"}));
  EXPECT_EQ(operation_.items(0).content().hash(), before);
  sub.mode = 0700;
  Fill({src, sub});
  ASSERT_OK(Resolve({"src"}));
  EXPECT_NE(operation_.items(0).content().hash(), before);
}

TEST_F(ResolveSourcesTest, ResolvingTwiceGivesTheSameItems) {
  ASSERT_OK(Resolve({"src"}));
  EXPECT_THAT(ItemsOf({"src"}), ElementsAre("src"));
}

TEST_F(ResolveSourcesTest, ItemsKnowTheirSource) {
  step_.sources.resize(2);
  step_.sources[0].patterns = {"go.mod"};
  step_.sources[1].patterns = {"go.sum"};
  const Table* const table = &table_;
  const Table* const tables[] = {table, table};
  ASSERT_OK(Resolve(absl::MakeConstSpan(tables)));
  EXPECT_EQ(operation_.items(0).source(), 0);
  EXPECT_EQ(operation_.items(1).source(), 1);
}

TEST_F(ResolveSourcesTest, WildcardsMatchWithinOneComponent) {
  EXPECT_THAT(ItemsOf({"go.*"}), ElementsAre("go.mod=go.mod", "go.sum=go.sum"));
  EXPECT_THAT(ItemsOf({"*/*.c"}), ElementsAre("src/main.c=main.c", "src/util.c=util.c"));
  EXPECT_THAT(ItemsOf({"src/[m-z]*.c"}), ElementsAre("src/main.c=main.c", "src/util.c=util.c"));
  EXPECT_THAT(ItemsOf({"src/?????c"}), ElementsAre("src/main.c=main.c", "src/util.c=util.c"));
}

TEST_F(ResolveSourcesTest, WhatAWildcardMatchedIsNotSearchedFurther) {
  Fill({Directory("a"), Directory("a/b"), File("a/b/a"), File("a-b"), File("ab")});
  EXPECT_THAT(ItemsOf({"a*"}), ElementsAre("a", "a-b=a-b", "ab=ab"));
}

TEST_F(ResolveSourcesTest, AWildcardThatMatchesNothingIsNoError) {
  EXPECT_THAT(ItemsOf({"*.rs", "go.mod"}), ElementsAre("go.mod=go.mod"));
  EXPECT_THAT(ItemsOf({"*.rs"}), IsEmpty());
}

TEST_F(ResolveSourcesTest, TheDirectoryBeforeAWildcardMustExist) {
  EXPECT_THAT(Resolve({"lib/*.c"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"/lib\": not found")));
}

TEST_F(ResolveSourcesTest, ABadWildcardIsAnErrorWithPosition) {
  EXPECT_THAT(Resolve({"src/[a"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(StartsWith("Dockerfile:3:1: "), HasSubstr("src/[a"))));
}

TEST_F(ResolveSourcesTest, AMissingSourceNamesPositionPlaceAndWhatMayBeMeant) {
  const absl::Status status = Resolve({"src/mian.c"});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound,
                               "Dockerfile:3:1: \"/src/mian.c\": not found in the build context, "
                               "did you mean \"/src/main.c\"?"));
  std::string line;
  ASSERT_TRUE(PositionOf(status, &line).has_value());
  EXPECT_EQ(line, "COPY ...");
}

TEST_F(ResolveSourcesTest, TheSuggestionRepairsTheFirstComponentThatIsMissing) {
  EXPECT_THAT(Resolve({"scr/main.c"}),
              StatusIs(absl::StatusCode::kNotFound, EndsWith("did you mean \"/src/main.c\"?")));
}

TEST_F(ResolveSourcesTest, AFileHasNothingBelowIt) {
  EXPECT_THAT(Resolve({"go.mod/x"}), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ResolveSourcesTest, OnlyFilesOfAddAreUnpacked) {
  EXPECT_THAT(ItemsOf({"a.tar"}), ElementsAre("a.tar=a.tar"));
  step_.sources[0].unpack = true;
  EXPECT_THAT(ItemsOf({"a.tar", "src"}), ElementsAre("a.tar=a.tar!", "src"));
}

TEST_F(ResolveSourcesTest, SymlinksAreFollowedWithinTheRoot) {
  Fill({Directory("real"), File("real/f"), Symlink("abs", "/real"), Symlink("rel", "real/f"),
        Symlink("up", "../../real/../real"), Symlink("real/back", "..")});
  EXPECT_THAT(ItemsOf({"abs/f"}), ElementsAre("real/f=f"));
  EXPECT_THAT(ItemsOf({"rel"}), ElementsAre("real/f=rel"));
  EXPECT_THAT(ItemsOf({"up"}), ElementsAre("real"));
  EXPECT_THAT(ItemsOf({"real/back/abs/f"}), ElementsAre("real/f=f"));
  EXPECT_THAT(ItemsOf({"abs/*f"}), ElementsAre("real/f=f"));
}

TEST_F(ResolveSourcesTest, AMatchThatIsASymlinkIsFollowed) {
  Fill({Directory("d"), File("d/f"), Symlink("link-d", "d"), Symlink("link-f", "d/f")});
  EXPECT_THAT(ItemsOf({"link-*"}), ElementsAre("d", "d/f=link-f"));
}

TEST_F(ResolveSourcesTest, WildcardsDoNotLookThroughSymlinks) {
  Fill({Directory("d"), File("d/f"), Symlink("link", "d")});
  EXPECT_THAT(ItemsOf({"l*/f"}), IsEmpty());
}

TEST_F(ResolveSourcesTest, ADanglingSymlinkIsNotFound) {
  Fill({Symlink("link", "gone")});
  EXPECT_THAT(Resolve({"link"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("a symlink leads to \"/gone\"")));
}

TEST_F(ResolveSourcesTest, ALoopOfSymlinksIsAnError) {
  Fill({Symlink("a", "b"), Symlink("b", "a")});
  EXPECT_THAT(Resolve({"a"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("too many symlinks")));
}

TEST_F(ResolveSourcesTest, AMissingSourceOfAnotherStageNamesThatStage) {
  step_.sources[0].stage = 0;
  step_.sources[0].from_written = "build";
  for (const auto kind : {FileSystemRef::Kind::kStep, FileSystemRef::Kind::kBase}) {
    step_.sources[0].from.kind = kind;
    EXPECT_THAT(Resolve({"x"}),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("not found in the stage build")));
  }
  step_.sources[0].stage = -1;
  EXPECT_THAT(Resolve({"x"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("not found in the image build")));
}

// ---- CheckSource

class CheckSourceTest : public ResolveSourcesTest {
 protected:
  absl::Status Check(std::vector<std::string> patterns) {
    step_.sources[0].patterns = std::move(patterns);
    return CheckSource(step_, 0, table_, ignore_);
  }

  DockerIgnore ignore_;
};

TEST_F(CheckSourceTest, FindsWhatIsThereAndWhatIsNot) {
  Fill({Directory("src"), File("src/main.c"), Symlink("dangling", "gone")});
  EXPECT_OK(Check({"", "src", "src/main.c", "*.rs", "src/*.c"}));
  for (const char* missing : {"x", "src/x", "x/*.c", "dangling"}) {
    EXPECT_THAT(Check({"src", missing}), StatusIs(absl::StatusCode::kNotFound)) << missing;
  }
  EXPECT_THAT(Check({"src/[a"}), StatusIs(absl::StatusCode::kInvalidArgument));
  step_.sources[0].includes = {"src/x"};
  EXPECT_THAT(Check({""}), StatusIs(absl::StatusCode::kNotFound));
  step_.sources[0].includes = {"src/*.x"};
  EXPECT_OK(Check({""}));
}

TEST_F(CheckSourceTest, LooksAtTheMountsOfTheSource) {
  step_.sources.resize(2);
  step_.sources[1].patterns = {"missing"};
  for (int i : {0, 1}) step_.identity.mutable_run()->add_mounts()->set_source(i);
  EXPECT_OK(Check({"go.mod"}));
  EXPECT_THAT(CheckSource(step_, 1, table_, ignore_), StatusIs(absl::StatusCode::kNotFound));
  step_.identity.mutable_run()->mutable_mounts(0)->set_kind(v1::RunMount::KIND_CACHE);
  EXPECT_THAT(Check({"go.mod"}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(CheckSourceTest, WhatIsIgnoredIsToldWithItsPattern) {
  ASSERT_OK_AND_ASSIGN(ignore_, DockerIgnore::Parse(".dockerignore", "a\nsrc/*.o\nscr\n"));
  EXPECT_THAT(Check({"src/x.o"}),
              StatusIs(absl::StatusCode::kNotFound,
                       "Dockerfile:3:1: \"/src/x.o\": not found in the build context: "
                       ".dockerignore:2 excludes it by \"src/*.o\""));
  EXPECT_THAT(Check({"src/y"}), StatusIs(absl::StatusCode::kNotFound,
                                         EndsWith("\"/src/y\": not found in the build context")));
  EXPECT_THAT(Check({"scr/main.c"}),
              StatusIs(absl::StatusCode::kNotFound,
                       EndsWith("excludes it by \"scr\", did you mean \"/src/main.c\"?")));
}

TEST_F(CheckSourceTest, DotsThatLeadOutAreToldAsTheReason) {
  step_.sources[0].lead_out = {false, true};
  EXPECT_THAT(Check({"x", "go.mod"}),
              StatusIs(absl::StatusCode::kNotFound, EndsWith("not found in the build context")));
  EXPECT_THAT(Check({"go.mod", "x"}),
              StatusIs(absl::StatusCode::kNotFound,
                       EndsWith("\"/x\": not found in the build context, which \"..\" does not "
                                "leave (name other directories with --build-context "
                                "NAME=DIRECTORY)")));
  EXPECT_OK(Check({"go.mod", "go.sum"}));
  step_.sources[0].from.kind = FileSystemRef::Kind::kStep;
  step_.sources[0].from_written = "build";
  EXPECT_THAT(Check({"go.mod", "x"}),
              StatusIs(absl::StatusCode::kNotFound,
                       EndsWith("in the stage build, which \"..\" does not leave")));
}

// ----

TEST_F(ResolveSourcesTest, ParentsSelectThePathWithItsDirectories) {
  step_.sources[0].includes = {"src/lib/a.c"};
  EXPECT_THAT(ItemsOf({""}), ElementsAre(""));
  EXPECT_THAT(Selected(0), ElementsAre("src", "src/lib", "src/lib/a.c"));
}

TEST_F(ResolveSourcesTest, ParentsKeepOnlyWhatIsBehindThePivot) {
  step_.sources[0].includes = {"lib/a.c"};
  EXPECT_THAT(ItemsOf({"src"}), ElementsAre("src"));
  EXPECT_THAT(Selected(0), ElementsAre("lib", "lib/a.c"));
}

TEST_F(ResolveSourcesTest, ParentsSelectAllBelowADirectory) {
  step_.sources[0].includes = {"src"};
  ASSERT_OK(Resolve({""}));
  EXPECT_THAT(Selected(0),
              ElementsAre("src", "src/lib", "src/lib/a.c", "src/main.c", "src/util.c"));
}

TEST_F(ResolveSourcesTest, ParentsMatchWildcardsAcrossDirectories) {
  step_.sources[0].includes = {"**/*.c"};
  ASSERT_OK(Resolve({""}));
  EXPECT_THAT(Selected(0),
              ElementsAre("src", "src/lib", "src/lib/a.c", "src/main.c", "src/util.c"));
}

TEST_F(ResolveSourcesTest, ParentsOfAPathThatIsMissingAreAnError) {
  step_.sources[0].includes = {"src/lib/b.c"};
  EXPECT_THAT(Resolve({""}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("src/lib/b.c")));
}

TEST_F(ResolveSourcesTest, ParentsOfAWildcardThatMatchesNothingCopyNothing) {
  step_.sources[0].includes = {"*.rs"};
  ASSERT_OK(Resolve({""}));
  EXPECT_THAT(Selected(0), ElementsAre());
}

TEST_F(ResolveSourcesTest, ExcludesAreRelativeToTheCopiedDirectory) {
  step_.sources[0].excludes = {"lib", "*.c", "!main.c"};
  ASSERT_OK(Resolve({"src"}));
  EXPECT_THAT(Selected(0), ElementsAre("main.c"));
}

TEST_F(ResolveSourcesTest, ExcludesHoldForFilesThatAWildcardMatched) {
  step_.sources[0].excludes = {"*.sum"};
  EXPECT_THAT(ItemsOf({"go.*"}), ElementsAre("go.mod=go.mod"));
}

TEST_F(ResolveSourcesTest, WhatIsExcludedIsNotInTheContentDigest) {
  step_.sources[0].excludes = {"*.c"};
  ASSERT_OK(Resolve({"src"}));
  const std::string before = operation_.items(0).content().hash();
  Fill({Directory("src"), File("src/other.c"), Directory("src/lib"), File("src/lib/a.c")});
  ASSERT_OK(Resolve({"src"}));
  EXPECT_EQ(operation_.items(0).content().hash(), before);
}

TEST_F(ResolveSourcesTest, AHardLinkWhoseFirstNameIsExcludedStaysALink) {
  const TableEntry a = File("d/a");
  TableEntry b = a, c = a;
  b.path = "d/b";
  c.path = "d/c";
  b.hard_link_to = c.hard_link_to = "d/a";
  Fill({Directory("d"), a, b, c});
  step_.sources[0].excludes = {"a"};
  ASSERT_OK(Resolve({"d"}));
  ASSERT_THAT(Selected(0), ElementsAre("b", "c"));
  EXPECT_EQ(selections_[0].entries()[1].hard_link_to, "b");
}

TEST_F(ResolveSourcesTest, ExcludesSeeDirectoriesThatHaveNoEntries) {
  Fill({File("d/a/b/c"), File("d/a/e"), File("d/ab"), File("d/f/c")});
  step_.sources[0].excludes = {"a", "f/*"};
  ASSERT_OK(Resolve({"d"}));
  EXPECT_THAT(Selected(0), ElementsAre("ab"));
}

TEST_F(ResolveSourcesTest, AnExceptionBelowAnExcludedDirectoryIsKept) {
  Fill({Directory("d"), Directory("d/a"), Directory("d/a/b"), File("d/a/b/c"), File("d/a/b/e"),
        Directory("d/a-"), File("d/a-/b")});
  step_.sources[0].excludes = {"a", "!a/b/c"};
  ASSERT_OK(Resolve({"d"}));
  EXPECT_THAT(Selected(0), ElementsAre("a", "a/b", "a/b/c", "a-", "a-/b"));
}

TEST_F(ResolveSourcesTest, TheWorkOfMatchingIsBounded) {
  match_steps_max_ = 40;
  EXPECT_THAT(Resolve({"*.c"}), StatusIs(absl::StatusCode::kResourceExhausted,
                                         StartsWith("Dockerfile:3:1: matching the files")));
  step_.sources[0].excludes = {"*x", "*y"};
  EXPECT_THAT(Resolve({"src"}), StatusIs(absl::StatusCode::kResourceExhausted));
  step_.sources[0].excludes = {"*x"};
  EXPECT_OK(Resolve({"go.mod"}));
}

TEST_F(ResolveSourcesTest, MatchingStopsWhenItIsCancelled) {
  cancel_.Cancel();
  EXPECT_THAT(Resolve({"*.c"}), StatusIs(absl::StatusCode::kCancelled));
  step_.sources[0].excludes = {"x"};
  EXPECT_THAT(Resolve({"src"}), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ResolveSourcesTest, InlineFilesComeLast) {
  step_.inline_files = {{.name = "EOF", .data = "text"}};
  ASSERT_OK(Resolve({"go.mod"}));
  ASSERT_EQ(operation_.items_size(), 2);
  EXPECT_EQ(operation_.items(1).name(), "EOF");
  EXPECT_EQ(operation_.items(1).inline_(), "text");
}

TEST_F(ResolveSourcesTest, AMountHasTheContentOfWhatItShows) {
  v1::RunMount& mount = *step_.identity.mutable_run()->add_mounts();
  mount.set_source(0);
  step_.sources[0].patterns = {"src/lib"};
  const Table* const table = &table_;
  ASSERT_OK_AND_ASSIGN(const ResolvedSources resolved,
                       ResolveSources(step_, absl::MakeConstSpan(&table, 1), cancel_));
  EXPECT_EQ(resolved.identity.run().mounts(0).content().hash(),
            table_.ContentDigest("src/lib")->hex());
}

TEST_F(ResolveSourcesTest, FilesAndDirectoriesAreMountedAndACacheBeginsWithADirectory) {
  TableEntry fifo = File("fifo");
  fifo.type = EntryType::kFifo;
  fifo.content = {};
  Fill({Directory("dir"), File("file"), fifo, Symlink("link", "/fifo")});
  v1::RunMount& mount = *step_.identity.mutable_run()->add_mounts();
  mount.set_source(0);
  const auto resolve = [&](v1::RunMount::Kind kind, const std::string& path) {
    mount.set_kind(kind);
    return Resolve(std::vector<std::string>{path});
  };
  EXPECT_OK(resolve(v1::RunMount::KIND_BIND, "file"));
  EXPECT_OK(resolve(v1::RunMount::KIND_CACHE, "dir"));
  EXPECT_THAT(resolve(v1::RunMount::KIND_CACHE, "file"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("Dockerfile:3:1: \"/file\" is a file")));
  EXPECT_THAT(resolve(v1::RunMount::KIND_BIND, "link"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"/link\" is neither a file nor a directory")));
}

}  // namespace
}  // namespace farm
