#include <nlohmann/json.hpp>

#include "base/testing/status_matchers.h"
#include "cli/go_template.h"
#include "cli/human_units.h"
#include "cli/image_listing.h"
#include "cli/tab_table.h"
#include "cli/terminal_text.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// ---- Sizes and times.

TEST(HumanUnitsTest, SizesHaveThreeDigitsAndADecimalUnit) {
  EXPECT_EQ(HumanSize(0), "0B");
  EXPECT_EQ(HumanSize(999), "999B");
  EXPECT_EQ(HumanSize(1000), "1kB");
  EXPECT_EQ(HumanSize(7'049'688), "7.05MB");
  EXPECT_EQ(HumanSize(203'950'000), "204MB");
  EXPECT_EQ(HumanSize(999'600), "1MB");
  EXPECT_EQ(HumanSize(1'090'000'000), "1.09GB");
}

TEST(HumanUnitsTest, DurationsAreSpokenOfAsDockerDoes) {
  EXPECT_EQ(HumanDuration(absl::Milliseconds(5)), "Less than a second");
  EXPECT_EQ(HumanDuration(absl::Seconds(1)), "1 second");
  EXPECT_EQ(HumanDuration(absl::Seconds(59)), "59 seconds");
  EXPECT_EQ(HumanDuration(absl::Seconds(60)), "About a minute");
  EXPECT_EQ(HumanDuration(absl::Minutes(59)), "59 minutes");
  EXPECT_EQ(HumanDuration(absl::Minutes(60)), "About an hour");
  EXPECT_EQ(HumanDuration(absl::Hours(47)), "47 hours");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 13)), "13 days");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 21)), "3 weeks");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 90)), "3 months");
  EXPECT_EQ(HumanDuration(absl::Hours(24 * 365 * 4)), "4 years");
}

TEST(HumanUnitsTest, SizesAreReadWithDecimalAndBinaryUnits) {
  EXPECT_THAT(ParseSize("512"), IsOkAndHolds(512));
  EXPECT_THAT(ParseSize("64k"), IsOkAndHolds(64'000));
  EXPECT_THAT(ParseSize("1.5GB"), IsOkAndHolds(1'500'000'000));
  EXPECT_THAT(ParseSize("2GiB"), IsOkAndHolds(int64_t{2} << 30));
}

TEST(HumanUnitsTest, WhatIsNoSizeIsRefused) {
  for (const char* text : {"", "GB", "-1", "1x", "1ib", "1e3", "99999999999TB", "1..2"}) {
    EXPECT_THAT(ParseSize(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(HumanUnitsTest, ThousandsAreSeparated) {
  EXPECT_EQ(WithThousands(0), "0");
  EXPECT_EQ(WithThousands(999), "999");
  EXPECT_EQ(WithThousands(20000), "20,000");
  EXPECT_EQ(WithThousands(-1234567), "-1,234,567");
}

// ---- Text of others on a terminal.

TEST(TerminalTextTest, WideAndCombiningCharactersHaveTheirWidth) {
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("é"), 1u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u);
  EXPECT_EQ(DisplayWidth("漢字"), 4u);
  EXPECT_EQ(DisplayWidth("\xff"), 1u);
}

TEST(TerminalTextTest, CuttingKeepsCharactersWhole) {
  EXPECT_EQ(TruncateToWidth("abcdef", 6), "abcdef");
  EXPECT_EQ(TruncateToWidth("abcdef", 4), "abc…");
  EXPECT_EQ(TruncateToWidth("漢字漢字", 4), "漢…");
  EXPECT_EQ(TruncateToWidth("abc", 0), "");
}

TEST(TerminalTextTest, EscapeSequencesOfAStepAreRemoved) {
  EXPECT_EQ(HarmlessLine("a\x1b[2Jb\x1b]0;title\x07"
                         "c\x1b[31md",
                         false),
            "abcd");
  EXPECT_EQ(HarmlessLine("a\x1b]52;c;ZXZpbA==\x1b\\b", false), "ab");
  EXPECT_EQ(HarmlessLine("cut off\x1b[12", false), "cut off");
}

TEST(TerminalTextTest, ColorsAreKeptWhereAskedForAndEndWithTheLine) {
  EXPECT_EQ(HarmlessLine("\x1b[31mred\x1b[2K", true), "\x1b[31mred\x1b[0m");
}

TEST(TerminalTextTest, WhatACarriageReturnOverwroteIsDropped) {
  EXPECT_EQ(HarmlessLine("10%\r50%\r100%\r\n", false), "100%");
}

TEST(TerminalTextTest, EmojiAreWide) {
  // ⌚ ✅ ⭐ 🆎 🟢 🥇 🩹 🫶
  for (const char* emoji : {"\u231a", "\u2705", "\u2b50", "\U0001f18e", "\U0001f7e2", "\U0001f947",
                            "\U0001fa79", "\U0001faf6"}) {
    EXPECT_EQ(DisplayWidth(emoji), 2u) << emoji;
  }
  // → ✓ ■ ©
  for (const char* narrow : {"\u2192", "\u2713", "\u25a0", "\u00a9"}) {
    EXPECT_EQ(DisplayWidth(narrow), 1u) << narrow;
  }
}

TEST(TerminalTextTest, EachLineOfATextIsMadeHarmless) {
  EXPECT_EQ(HarmlessText("a\x1b[2Jb\n\x1b]0;t\x07"
                         "c\n"),
            "ab\nc\n");
}

TEST(TerminalTextTest, ControlCharactersAreShown) {
  EXPECT_EQ(HarmlessLine("a\x07\tb", false), "a^G     b");
  EXPECT_EQ(HarmlessLine("\xff\u202e", false), "\\xFF\\u202E");
}

// ---- Tables.

TEST(TabTableTest, ColumnsAreTenWideAtLeastAndThreeApart) {
  EXPECT_EQ(AlignTabs({"TAG\tIMAGE ID\tSIZE", "a-long-name\t12\t1MB"}),
            "TAG           IMAGE ID   SIZE\n"
            "a-long-name   12         1MB\n");
}

// ---- Templates.

const nlohmann::json kImage = nlohmann::json::parse(R"({
    "Name": "app", "Size": 12, "Tags": ["a", "b"], "None": [],
    "Config": {"Env": ["A=1"], "Labels": {"x": "y"}}, "On": true,
    "Nil": {"Labels": null, "Cmd": null}, "Layers": [{"Size": 7}]})");

absl::StatusOr<std::string> Execute(absl::string_view text) {
  absl::StatusOr<GoTemplate> parsed = GoTemplate::Parse(text);
  if (!parsed.ok()) return parsed.status();
  return parsed->Execute(kImage);
}

TEST(GoTemplateTest, FieldsArePrintedAsGoDoes) {
  EXPECT_THAT(Execute("{{.Name}}:{{ .Size }}\\t{{.Tags}} {{.On}}"),
              IsOkAndHolds("app:12\t[a b] true"));
  EXPECT_THAT(Execute("{{.Config.Labels}}"), IsOkAndHolds("map[x:y]"));
}

TEST(GoTemplateTest, FunctionsTakeArgumentsAndPipes) {
  EXPECT_THAT(Execute("{{json .Config.Env}}"), IsOkAndHolds("[\"A=1\"]"));
  EXPECT_THAT(Execute("{{.Config | json}}"),
              IsOkAndHolds("{\"Env\":[\"A=1\"],\"Labels\":{\"x\":\"y\"}}"));
  EXPECT_THAT(Execute("{{join .Tags \", \"}}"), IsOkAndHolds("a, b"));
  EXPECT_THAT(Execute("{{index .Tags 1}} {{len .Tags}} {{upper .Name}}"), IsOkAndHolds("b 2 APP"));
  EXPECT_THAT(Execute("{{index .Config.Labels \"x\"}}"), IsOkAndHolds("y"));
  EXPECT_THAT(Execute("{{upper (index .Tags 0)}}"), IsOkAndHolds("A"));
}

TEST(GoTemplateTest, BlocksRepeatAndChoose) {
  EXPECT_THAT(Execute("{{range .Tags}}<{{.}}>{{end}}"), IsOkAndHolds("<a><b>"));
  EXPECT_THAT(Execute("{{range .None}}x{{else}}none{{end}}"), IsOkAndHolds("none"));
  EXPECT_THAT(Execute("{{if eq .Name \"app\"}}yes{{else}}no{{end}}"), IsOkAndHolds("yes"));
  EXPECT_THAT(Execute("{{if and .On (not .None)}}yes{{end}}"), IsOkAndHolds("yes"));
}

TEST(GoTemplateTest, NilMapsAndSlicesHaveNoElements) {
  EXPECT_THAT(Execute("{{index .Nil.Labels \"x\"}}{{len .Nil.Cmd}}{{json .Nil.Cmd}}"),
              IsOkAndHolds("0null"));
  EXPECT_THAT(Execute("{{range .Nil.Cmd}}x{{else}}none{{end}}"), IsOkAndHolds("none"));
  EXPECT_THAT(Execute("{{range $k, $v := .Nil.Labels}}x{{end}}"), IsOkAndHolds(""));
  EXPECT_THAT(Execute("{{if .Nil.Labels}}x{{end}}{{.Nil.Labels}} {{.Nil.Cmd}}"),
              IsOkAndHolds("map[] []"));
  EXPECT_THAT(Execute("{{.Config.Labels.none}}|{{index .Config.Labels \"none\"}}"),
              IsOkAndHolds("<no value>|"));
  EXPECT_THAT(Execute("{{len .Config.ExposedPorts}}{{json .Config.ExposedPorts}}"),
              IsOkAndHolds("0null"));
  EXPECT_THAT(Execute("{{index .Nil.Cmd 0}}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("out of range")));
}

TEST(GoTemplateTest, VariablesAreKnownInTheirBlock) {
  EXPECT_THAT(Execute("{{range $i, $v := .Tags}}{{if $i}}, {{end}}{{$i}}={{$v}}{{end}}"),
              IsOkAndHolds("0=a, 1=b"));
  EXPECT_THAT(Execute("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}"),
              IsOkAndHolds("x=y"));
  EXPECT_THAT(Execute("{{range $v := .Tags}}{{$v}}{{$.Name}}{{end}}"), IsOkAndHolds("aappbapp"));
  EXPECT_THAT(Execute("{{$n:=.Name}}{{with .Config}}{{$n}}{{len .Env}}{{end}}"),
              IsOkAndHolds("app1"));
  EXPECT_THAT(Execute("{{$x := 1}}{{range .Tags}}{{$x = .}}{{end}}{{$x}}"), IsOkAndHolds("b"));
  EXPECT_THAT(Execute("{{with $c := .Config}}{{$c.Labels.x}}{{end}}"), IsOkAndHolds("y"));
  EXPECT_THAT(Execute("{{if .On}}{{$x := 1}}{{end}}{{$x}}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("'$x' is not known")));
}

TEST(GoTemplateTest, BranchesCanBeChained) {
  constexpr char kChain[] =
      "{{if gt .Size 20}}large{{else if ge .Size 12}}middle{{else}}small{{end}}";
  EXPECT_THAT(Execute(kChain), IsOkAndHolds("middle"));
  EXPECT_THAT(Execute("{{with .None}}x{{else with .Name}}{{.}}{{end}}"), IsOkAndHolds("app"));
  EXPECT_THAT(Execute("{{with .None}}x{{else}}nothing{{end}}"), IsOkAndHolds("nothing"));
  EXPECT_THAT(Execute("{{lt 1 2}} {{le 2 1}} {{lt \"a\" \"b\"}}"), IsOkAndHolds("true false true"));
}

TEST(GoTemplateTest, TextIsCutPaddedAndFormatted) {
  EXPECT_THAT(Execute("{{printf \"%-5s|%5s|%03d|%q|%.1s|%v|%%\" .Name .Name 7 .Name .Name .Tags}}"),
              IsOkAndHolds("app  |  app|007|\"app\"|a|[a b]|%"));
  EXPECT_THAT(Execute("{{truncate .Name 2}}{{truncate .Name 9}}"), IsOkAndHolds("apapp"));
  EXPECT_THAT(Execute("{{pad .Name 1 2}}|"), IsOkAndHolds(" app  |"));
  EXPECT_THAT(Execute("{{slice .Name 1}} {{slice .Name 0 1}} {{slice .Tags 1 2}}"),
              IsOkAndHolds("pp a [b]"));
  EXPECT_THAT(Execute("{{.Name | printf \"%s:%d\" .Name 1 | upper}}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more values than verbs")));
}

TEST(GoTemplateTest, FieldsOfAValueInParenthesesAreFound) {
  EXPECT_THAT(Execute("{{(index .Layers 0).Size}}"), IsOkAndHolds("7"));
}

TEST(GoTemplateTest, WhatCantMatterIsNotLookedAt) {
  EXPECT_THAT(Execute("{{if and .None (index .None 3)}}x{{else}}none{{end}}"),
              IsOkAndHolds("none"));
}

TEST(GoTemplateTest, DashesTrimBlanks) {
  EXPECT_THAT(Execute("a  {{- .Name -}}  b"), IsOkAndHolds("aappb"));
}

TEST(GoTemplateTest, AnUnknownFieldIsAnErrorWithASuggestion) {
  EXPECT_THAT(Execute("{{.Nane}}"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean Name?")));
}

TEST(GoTemplateTest, BrokenTemplatesAreRefused) {
  for (const char* text : {"{{.Name",
                           "{{}}",
                           "{{end}}",
                           "{{if .On}}",
                           "{{jsn .}}",
                           "{{.Name .Size}}",
                           "{{\"a}}",
                           "{{len}}",
                           "{{(.Name}}",
                           "{{else}}",
                           "{{if .On}}{{else}}{{else}}{{end}}",
                           "{{if .On}}{{else foo}}{{end}}",
                           "{{$x}}",
                           "{{$x = 1}}",
                           "{{$x, $y := .Tags}}",
                           "{{range}}",
                           "{{printf \"%\"}}",
                           "{{printf \"%z\" 1}}",
                           "{{printf \"%9999d\" 1}}",
                           "{{lt 1 \"a\"}}",
                           "{{slice .Name 9}}",
                           "{{pad .Name 1 99999}}",
                           "{{truncate .Name .Name}}",
                           "{{.Name)}}",
                           "{{..}}",
                           "{{index .Tags 7}}",
                           "{{len .Size}}"}) {
    EXPECT_THAT(Execute(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
}

TEST(GoTemplateTest, DeepNestingIsRefused) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += "{{if .On}}";
  EXPECT_THAT(Execute(text), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Execute("{{" + std::string(1000, '(') + "}}"),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// ---- Listings.

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

v1::Image Image() {
  v1::Image image;
  image.mutable_config()->set_hash("0123456789abcdef" + std::string(48, '0'));
  image.mutable_manifest()->set_hash(std::string(64, 'f'));
  image.add_tags("centos:cz");
  image.add_tags("localhost:5000/team/app:1");
  image.mutable_created()->set_seconds(absl::ToUnixSeconds(kNow - absl::Hours(3)));
  image.set_size_bytes(204'000'000);
  image.add_layer_sizes_bytes(203'000'000);
  image.add_layer_sizes_bytes(1'000'000);
  image.set_config_json(R"({"created":"2023-11-14T19:13:20Z","architecture":"amd64","os":"linux",
    "config":{"Cmd":["bash"],"Labels":{"x":"y"}},
    "rootfs":{"type":"layers","diff_ids":["sha256:)" +
                        std::string(64, '1') + R"(","sha256:)" + std::string(64, '2') + R"("]},
    "history":[
      {"created":"2023-11-14T19:13:20Z","created_by":"ADD file:1 in /"},
      {"created":"2023-11-14T19:13:20Z","created_by":"CMD [\"bash\"]","empty_layer":true},
      {"created":"2023-11-14T21:13:20Z","created_by":"RUN /bin/sh -c apt-get update && apt-get install -y a-package","comment":"farm"}]})");
  return image;
}

v1::ListImagesResponse Images() {
  v1::ListImagesResponse images;
  *images.add_images() = Image();
  v1::Image& dangling = *images.add_images();
  dangling = Image();
  dangling.clear_tags();
  dangling.mutable_config()->set_hash(std::string(64, 'e'));
  return images;
}

TEST(ImageListingTest, EachNameIsARow) {
  EXPECT_THAT(
      ListImages(Images(), {}, kNow),
      IsOkAndHolds("REPOSITORY                TAG       IMAGE ID       CREATED       SIZE\n"
                   "centos                    cz        0123456789ab   3 hours ago   204MB\n"
                   "localhost:5000/team/app   1         0123456789ab   3 hours ago   204MB\n"
                   "<none>                    <none>    eeeeeeeeeeee   3 hours ago   204MB\n"));
}

ImageFilters FiltersOf(const std::vector<std::string>& texts) {
  return ImageFilters::Parse(texts).value();
}

TEST(ImageListingTest, FiltersChooseByNameAndDangling) {
  ImageListOptions options = {.filters = FiltersOf({"reference=cent*"}),
                              .format = "{{.Repository}}:{{.Tag}}"};
  EXPECT_THAT(ListImages(Images(), options, kNow), IsOkAndHolds("centos:cz\n"));
  options.filters = FiltersOf({"dangling=true"});
  EXPECT_THAT(ListImages(Images(), options, kNow), IsOkAndHolds("<none>:<none>\n"));
  EXPECT_THAT(ImageFilters::Parse({"color=red"}), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ImageListingTest, FiltersByLabelWantAllOfThem) {
  ImageListOptions options = {.format = "{{.Repository}}"};
  const auto listed = [&](const std::vector<std::string>& filters) {
    options.filters = FiltersOf(filters);
    return !ListImages(Images(), options, kNow)->empty();
  };
  EXPECT_TRUE(listed({"label=x"}));
  EXPECT_TRUE(listed({"label=x=y"}));
  EXPECT_FALSE(listed({"label=x=z"}));
  EXPECT_FALSE(listed({"label=x=y", "label=other"}));
}

TEST(ImageListingTest, FiltersByTimeLeaveOutTheImageItself) {
  ImageListOptions options = {.format = "{{.Repository}}"};
  options.created_before = CreatedAt(Image());
  EXPECT_THAT(ListImages(Images(), options, kNow), IsOkAndHolds(""));
  options.created_before = absl::InfiniteFuture();
  options.created_after = CreatedAt(Image());
  EXPECT_THAT(ListImages(Images(), options, kNow), IsOkAndHolds(""));
  options.created_after -= absl::Seconds(1);
  EXPECT_THAT(ListImages(Images(), options, kNow), IsOkAndHolds(HasSubstr("centos")));
}

TEST(ImageListingTest, JsonIsOneObjectALine) {
  ImageListOptions options = {
      .truncate = false, .filters = FiltersOf({"reference=centos"}), .format = "json"};
  ASSERT_OK_AND_ASSIGN(const std::string text, ListImages(Images(), options, kNow));
  const nlohmann::json row = nlohmann::json::parse(text);
  EXPECT_EQ(row["ID"], "sha256:" + Image().config().hash());
  EXPECT_EQ(row["Size"], "204MB");
}

TEST(ImageListingTest, HistoryIsNewestFirstWithTheImageOnTop) {
  const ImageListOptions options = {.format = "{{.ID}}|{{.CreatedSince}}|{{.Size}}|{{.Comment}}"};
  EXPECT_THAT(ListHistory(Image(), options, kNow),
              IsOkAndHolds("0123456789ab|About an hour ago|1MB|farm\n"
                           "<missing>|3 hours ago|0B|\n"
                           "<missing>|3 hours ago|203MB|\n"));
}

TEST(ImageListingTest, HistoryCutsLongCommandsUnlessAskedNotTo) {
  ImageListOptions options = {.format = "{{.CreatedBy}}"};
  ASSERT_OK_AND_ASSIGN(const std::string cut, ListHistory(Image(), options, kNow));
  EXPECT_THAT(cut, StartsWith("RUN /bin/sh -c apt-get update && apt-get ins…\n"));
  options.truncate = false;
  ASSERT_OK_AND_ASSIGN(const std::string whole, ListHistory(Image(), options, kNow));
  EXPECT_THAT(whole, StartsWith("RUN /bin/sh -c apt-get update && apt-get install -y a-package\n"));
}

TEST(ImageListingTest, LayersWithoutHistoryAreShownAllTheSame) {
  v1::Image image = Image();
  image.add_layer_sizes_bytes(7);
  const ImageListOptions options = {.human = false, .format = "{{.ID}} {{.Size}}"};
  EXPECT_THAT(
      ListHistory(image, options, kNow),
      IsOkAndHolds("0123456789ab 7\n<missing> 1000000\n<missing> 0\n<missing> 203000000\n"));
}

TEST(ImageListingTest, HistoryOfABrokenConfigIsAnError) {
  v1::Image image = Image();
  image.set_config_json("[]");
  EXPECT_THAT(ListHistory(image, {}, kNow), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST(ImageListingTest, InspectHasDockersKeys) {
  ASSERT_OK_AND_ASSIGN(const nlohmann::ordered_json json, InspectJson(Image()));
  EXPECT_EQ(json["Id"], "sha256:" + Image().config().hash());
  EXPECT_EQ(json["RepoTags"][0], "centos:cz");
  EXPECT_EQ(json["Config"]["Labels"]["x"], "y");
  EXPECT_EQ(json["RootFS"]["Layers"].size(), 2u);
  EXPECT_EQ(json["Created"], "2023-11-14T19:13:20Z");
  EXPECT_THAT(json.dump(), StartsWith("{\"Id\""));
}

TEST(ImageListingTest, InspectHasDockersFieldsOfTheConfigEvenIfTheImageHasThemNot) {
  ASSERT_OK_AND_ASSIGN(const nlohmann::ordered_json json, InspectJson(Image()));
  EXPECT_EQ(json["Config"]["User"], "");
  EXPECT_TRUE(json["Config"]["Entrypoint"].is_null());
  ASSERT_OK_AND_ASSIGN(const GoTemplate text,
                       GoTemplate::Parse("{{index .Config.Volumes \"/d\"}}{{.Config.User}}."));
  EXPECT_THAT(text.Execute(nlohmann::json(json)), IsOkAndHolds("."));
}

}  // namespace
}  // namespace farm
