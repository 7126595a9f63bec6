#include "tests/testing/image_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/status_matchers.h"
#include "tests/testing/process.h"

namespace farm {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kMakeTree[] =
    "mkdir -p t/d && cd t && printf hello > d/file && chmod 4750 d/file && ln d/file link &&"
    " ln -s 'a b' symlink && mkfifo fifo && printf %200s x > long &&"
    " find . -exec touch -h -d 2001-02-03T04:05:06Z {} + && ";

// Facts of a tree that `change` has changed, `change` being shell commands run in its root.
Facts FactsAfter(const std::string& change) {
  ScratchDir dir;
  const CommandResult made = RunShell(std::string(kMakeTree) + change + " && tar -cf - .",
                                      {.dir = dir.path(), .env = {}, .input = ""});
  EXPECT_EQ(made.exit_code, 0) << made.err;
  StringSource tar(made.out);
  absl::StatusOr<Facts> facts = FactsOfTree(tar, absl::FromUnixSeconds(1'500'000'000));
  EXPECT_OK(facts);
  return facts.value_or(Facts());
}

TEST(ImageFactsTest, ATreeIsSaidInFacts) {
  const Facts facts = FactsAfter("touch d");
  EXPECT_EQ(facts.at("/ type"), "directory");
  EXPECT_EQ(facts.at("/d mtime"), "now");
  EXPECT_EQ(facts.at("/d/file content"), "\"hello\"");
  EXPECT_EQ(facts.at("/d/file link"), "\"/link\"");
  EXPECT_EQ(facts.at("/d/file mode"), "4750");
  EXPECT_EQ(facts.at("/d/file mtime"), "2001-02-03 04:05:06");
  EXPECT_EQ(facts.at("/link link"), "\"/d/file\"");
  EXPECT_EQ(facts.at("/link content"), "\"hello\"");
  EXPECT_EQ(facts.at("/symlink target"), "\"a b\"");
  EXPECT_EQ(facts.at("/fifo type"), "fifo");
}

// Each change of a tree is seen: what the comparison is for.
TEST(ImageFactsTest, EveryChangeOfATreeIsADifference) {
  const Facts before = FactsAfter("true");
  EXPECT_THAT(Differences(before, FactsAfter("true"), {}), IsEmpty());
  for (const char* change : {
           "chmod 4751 link",
           "printf Hello > link && touch -d 2001-02-03T04:05:06Z link",
           "printf %200s y > long && touch -d 2001-02-03T04:05:06Z long",
           "touch -d 2001-02-03T04:05:07Z d",
           "ln -sfn 'a c' symlink && touch -h -d 2001-02-03T04:05:06Z symlink . ",
           "cp -p link new && mv new link && touch -d 2001-02-03T04:05:06Z .",
           "rm fifo && touch -d 2001-02-03T04:05:06Z .",
           "mkdir new && touch -d 2001-02-03T04:05:06Z .",
       }) {
    EXPECT_NE(FactsAfter(change), before) << change;
  }
}

TEST(ImageFactsTest, XattrsAreFacts) {
  ScratchDir dir;
  // A pax header of GNU tar's, since not each file system here has xattrs.
  const CommandResult made =
      RunShell("touch f && tar --pax-option='SCHILY.xattr.user.x:=v' -cf - f",
               {.dir = dir.path(), .env = {}, .input = ""});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  StringSource tar(made.out);
  ASSERT_OK_AND_ASSIGN(const Facts facts, FactsOfTree(tar, absl::UnixEpoch()));
  EXPECT_EQ(facts.at("/f xattr user.x"), "\"v\"");
}

TEST(ImageFactsTest, AConfigIsSaidInFacts) {
  ASSERT_OK_AND_ASSIGN(
      const Facts facts,
      FactsOfConfig(R"({"os":"linux","created":"2024","config":{"Env":["A=1"],"Tty":false,
          "Cmd":null,"Labels":{"a":"b"}},"rootfs":{"diff_ids":["x","y"]},
          "history":[{"created":"2024","created_by":"RUN x"},{"empty_layer":true}]})"));
  EXPECT_THAT(facts, UnorderedElementsAre(Pair("os", "\"linux\""), Pair("layers", "2"),
                                          Pair("config Env", "[\"A=1\"]"),
                                          Pair("config Labels", "{\"a\":\"b\"}"),
                                          Pair("history 1 created_by", "\"RUN x\""),
                                          Pair("history 2 empty_layer", "true")));
}

TEST(ImageFactsTest, ImagesOfAnArchiveAreFoundByName) {
  ScratchDir dir;
  dir.Write("one.json", R"({"os":"linux","rootfs":{}})");
  dir.Write("manifest.json", R"([{"Config":"one.json","RepoTags":["a:1","b:2"]}])");
  const CommandResult made =
      RunShell("tar -cf - *.json", {.dir = dir.path(), .env = {}, .input = ""});
  StringSource archive(made.out);
  ASSERT_OK_AND_ASSIGN(const auto images, FactsOfArchive(archive));
  EXPECT_THAT(images, ElementsAre(Pair("a:1", Contains(Pair("os", "\"linux\""))),
                                  Pair("b:2", Contains(Pair("os", "\"linux\"")))));
}

TEST(ImageFactsTest, DifferencesAreAllowedWhereTheyAreNamedAndOnlyThere) {
  const Facts differing = ParseFacts("Because.\n\n    /a mode = 0755\nend = of it\n");
  EXPECT_THAT(differing, ElementsAre(Pair("/a mode", "0755")));
  EXPECT_THAT(Differences({{"/a mode", "0700"}}, {{"/a mode", "0755"}}, differing), IsEmpty());
  EXPECT_THAT(Differences({{"/a mode", "0700"}}, {{"/a mode", "0711"}}, differing),
              ElementsAre("/a mode = 0711, not 0755"));
  EXPECT_THAT(Differences({{"/a mode", "0755"}}, {{"/a mode", "0755"}}, differing),
              ElementsAre("/a mode = 0755, and does not differ"));
  EXPECT_THAT(Differences({{"/b mode", "0700"}}, {}, {}),
              ElementsAre("/b mode = (absent), not 0700"));
}

}  // namespace
}  // namespace farm
