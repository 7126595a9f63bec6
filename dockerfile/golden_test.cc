// Each folder of testdata/ is a case: what its Dockerfile means must read as its file `expected`.
// With the environment variable UPDATE_TESTDATA set to the path of testdata/, `expected` is written
// instead.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "dockerfile/parser.h"
#include "dockerfile/stage_graph.h"

namespace farm {
namespace {

std::string Quote(absl::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\"");
}

std::string QuoteAll(const std::vector<std::string>& texts) {
  return absl::StrJoin(texts, " ", [](std::string* out, const std::string& text) {
    absl::StrAppend(out, Quote(text));
  });
}

// "  name value\n", if there is a value.
std::string Field(absl::string_view name, const std::string& value) {
  return value.empty() ? "" : absl::StrCat("  ", name, " ", Quote(value), "\n");
}

std::string Dump(const CommandLine& command) {
  return absl::StrCat("  ", command.shell_form ? "shell " : "argv ", QuoteAll(command.words), "\n");
}

std::string Dump(const std::vector<KeyValue>& pairs) {
  std::string out;
  for (const KeyValue& pair : pairs) {
    absl::StrAppend(&out, "  pair ", Quote(pair.key), " = ", Quote(pair.value),
                    pair.separated_by_space ? " separated by space" : "", "\n");
  }
  return out;
}

std::string Dump(const CopyArguments& copy) {
  std::string out;
  for (const CopyArguments::CopySource& source : copy.sources) {
    absl::StrAppend(&out, "  source ", Quote(source.path));
    if (source.heredoc.has_value()) absl::StrAppend(&out, " heredoc ", *source.heredoc);
    absl::StrAppend(&out, "\n");
  }
  absl::StrAppend(&out, Field("dest", copy.dest), Field("chown", copy.chown),
                  Field("chmod", copy.chmod), copy.link ? "  link\n" : "",
                  copy.parents ? "  parents\n" : "");
  for (const std::string& pattern : copy.exclude) absl::StrAppend(&out, Field("exclude", pattern));
  return out;
}

std::string Dump(absl::string_view name, std::optional<bool> flag) {
  return flag.has_value() ? absl::StrCat("  ", name, *flag ? " true\n" : " false\n") : "";
}

std::string Dump(absl::string_view name, absl::Duration duration) {
  if (duration == absl::ZeroDuration()) return "";
  return absl::StrCat("  ", name, " ", absl::FormatDuration(duration), "\n");
}

struct DumpBody {
  std::string operator()(const AddInstruction& add) const {
    return absl::StrCat(Dump(add.copy), Field("checksum", add.checksum),
                        Dump("keep_git_dir", add.keep_git_dir), Dump("unpack", add.unpack));
  }
  std::string operator()(const ArgInstruction& arg) const {
    std::string out;
    for (const ArgDeclaration& declaration : arg.args) {
      absl::StrAppend(&out, "  arg ", Quote(declaration.name));
      if (declaration.value.has_value()) absl::StrAppend(&out, " = ", Quote(*declaration.value));
      absl::StrAppend(&out, "\n");
    }
    return out;
  }
  std::string operator()(const CmdInstruction& cmd) const { return Dump(cmd.command); }
  std::string operator()(const CopyInstruction& copy) const {
    return absl::StrCat(Field("from", copy.from), Dump(copy.copy));
  }
  std::string operator()(const EntrypointInstruction& entrypoint) const {
    return Dump(entrypoint.command);
  }
  std::string operator()(const EnvInstruction& env) const { return Dump(env.pairs); }
  std::string operator()(const ExposeInstruction& expose) const {
    return absl::StrCat("  ports ", QuoteAll(expose.ports), "\n");
  }
  std::string operator()(const FromInstruction& from) const {
    return absl::StrCat(Field("base", from.base), Field("as", from.as_keyword),
                        Field("name", from.name), Field("name as written", from.name_as_written),
                        Field("platform", from.platform));
  }
  std::string operator()(const HealthcheckInstruction& health) const {
    if (health.none) return "  none\n";
    return absl::StrCat(Dump(health.command), Dump("interval", health.interval),
                        Dump("timeout", health.timeout), Dump("start_period", health.start_period),
                        Dump("start_interval", health.start_interval), "  retries ", health.retries,
                        "\n");
  }
  std::string operator()(const LabelInstruction& label) const { return Dump(label.pairs); }
  std::string operator()(const MaintainerInstruction& maintainer) const {
    return Field("maintainer", maintainer.maintainer);
  }
  std::string operator()(const OnbuildInstruction& onbuild) const {
    return Field(onbuild.trigger_name, onbuild.trigger);
  }
  std::string operator()(const RunInstruction& run) const {
    std::string out = Dump(run.command);
    for (const std::string& mount : run.mounts) absl::StrAppend(&out, Field("mount", mount));
    return absl::StrCat(out, Field("network", run.network), Field("security", run.security));
  }
  std::string operator()(const ShellInstruction& shell) const {
    return absl::StrCat("  words ", QuoteAll(shell.words), "\n");
  }
  std::string operator()(const StopsignalInstruction& signal) const {
    return Field("signal", signal.signal);
  }
  std::string operator()(const UserInstruction& user) const { return Field("user", user.user); }
  std::string operator()(const VolumeInstruction& volume) const {
    return absl::StrCat("  paths ", QuoteAll(volume.paths), "\n");
  }
  std::string operator()(const WorkdirInstruction& workdir) const {
    return Field("path", workdir.path);
  }
};

std::string Dump(const Instruction& instruction) {
  std::string out =
      absl::StrCat(instruction.position.line, ":", instruction.position.column, "-",
                   instruction.end_line, " ", instruction.name, instruction.json ? " json" : "",
                   "\n", Field("original", instruction.original));
  for (const InstructionFlag& flag : instruction.flags) {
    absl::StrAppend(&out, "  flag ", Quote(flag.ToString()), " at ", flag.position.line, ":",
                    flag.position.column, "\n");
  }
  for (const std::string& comment : instruction.comments) {
    absl::StrAppend(&out, Field("comment", comment));
  }
  absl::StrAppend(&out, std::visit(DumpBody(), instruction.body));
  for (const Heredoc& heredoc : instruction.heredocs) {
    absl::StrAppend(&out, "  heredoc ", heredoc.name, heredoc.expand ? " expand" : "",
                    heredoc.chomp ? " chomp " : " ", Quote(heredoc.data), "\n");
  }
  return out;
}

std::string Dump(const SourceRef& ref) {
  switch (ref.kind) {
    case SourceRef::Kind::kScratch:
      return "scratch";
    case SourceRef::Kind::kStage:
      return absl::StrCat("stage ", ref.stage);
    case SourceRef::Kind::kImage:
      return absl::StrCat("image ", ref.image);
    case SourceRef::Kind::kContext:
      return absl::StrCat("context ", ref.context);
  }
  return "";
}

std::string Dump(const StageGraph& graph) {
  std::string out;
  for (const Stage& stage : graph.stages()) {
    absl::StrAppend(&out, "stage ", stage.index, " ", Quote(stage.name), " on ", Dump(stage.base),
                    stage.platform.empty() ? "" : " for ", stage.platform, " reads [",
                    absl::StrJoin(graph.DependenciesOf(stage.index), " ",
                                  [](std::string* out, const auto& dependency) {
                                    absl::StrAppend(out, dependency.first);
                                  }),
                    "]\n");
  }
  return out;
}

// The message, and what a person is shown below it.
std::string Dump(const absl::Status& status) {
  std::string line;
  (void)PositionOf(status, &line);
  return absl::StrCat("error: ", std::string(status.message()), "\n",
                      line.empty() ? "" : absl::StrCat("  | ", absl::Utf8SafeCEscape(line), "\n"));
}

std::string Dump(const Dockerfile& file) {
  std::string out;
  for (const ParserDirective& directive : file.directives) {
    absl::StrAppend(&out, "directive ", directive.name, " ", Quote(directive.value), " at ",
                    directive.line, "\n");
  }
  for (const int line : file.empty_continuation_lines) {
    absl::StrAppend(&out, "empty continuation in the instruction up to line ", line, "\n");
  }
  for (const Instruction& instruction : file.instructions) absl::StrAppend(&out, Dump(instruction));
  return out;
}

std::string DumpText(std::string text) {
  absl::StatusOr<DockerfileSource> source = DockerfileSource::Create("Dockerfile", std::move(text));
  if (!source.ok()) return Dump(source.status());
  const absl::StatusOr<Dockerfile> file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return Dump(file.status());
  const absl::StatusOr<StageGraph> graph = StageGraph::Create(*file, {});
  return absl::StrCat(Dump(*file), graph.ok() ? Dump(*graph) : Dump(graph.status()));
}

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> Cases() {
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator("dockerfile/testdata")) {
    cases.push_back(entry.path().filename().string());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

class GoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, MeansWhatIsExpected) {
  const std::filesystem::path folder = std::filesystem::path("dockerfile/testdata") / GetParam();
  const std::string dump = DumpText(ReadFile(folder / "Dockerfile"));
  if (const char* testdata = std::getenv("UPDATE_TESTDATA"); testdata != nullptr) {
    std::ofstream(std::filesystem::path(testdata) / GetParam() / "expected") << dump;
    return;
  }
  EXPECT_EQ(dump, ReadFile(folder / "expected"));
}

INSTANTIATE_TEST_SUITE_P(Testdata, GoldenTest, testing::ValuesIn(Cases()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace farm
