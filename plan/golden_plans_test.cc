// Golden cases: testdata/CASE has a Dockerfile, maybe `options` (lines "target X", "build-arg K=V",
// "label K=V", "platform P", "network none") and `base_config.json` (the config of every image),
// and `expected`, the dump below. Each was compared with what BuildKit's converter does. To write
// the dumps anew, after a change that is meant:
//   FARM_UPDATE_GOLDEN=$PWD/plan/testdata bazel-bin/plan/golden_plans_test
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"
#include "plan/go_format.h"
#include "plan/planner.h"
#include "plan/testing/plan_of.h"

namespace farm {
namespace {

std::string Name(const FileSystemRef& file_system) {
  switch (file_system.kind) {
    case FileSystemRef::Kind::kScratch:
      return "scratch";
    case FileSystemRef::Kind::kContext:
      return "context";
    case FileSystemRef::Kind::kBase:
      return absl::StrCat("base ", file_system.index);
    case FileSystemRef::Kind::kRemote:
      return absl::StrCat("remote ", file_system.index);
    case FileSystemRef::Kind::kStep:
      return absl::StrCat("step ", file_system.index);
  }
  return "";
}

std::string Quoted(const std::vector<std::string>& texts) { return GoQuotedList(texts); }

void DumpMount(const PlanStep& step, const v1::RunMount& mount, std::string& dump) {
  absl::StrAppend(&dump, "  mount ", v1::RunMount::Kind_Name(mount.kind()), " ", mount.target());
  if (mount.source() >= 0) {
    absl::StrAppend(&dump, " from ", Name(step.sources[mount.source()].from), " /", mount.path());
  }
  if (!mount.read_only()) absl::StrAppend(&dump, " writable");
  if (!mount.id().empty()) absl::StrAppend(&dump, " id ", mount.id());
  if (mount.sharing() != v1::RunMount::SHARING_UNSPECIFIED) {
    absl::StrAppend(&dump, " ", v1::RunMount::Sharing_Name(mount.sharing()));
  }
  if (mount.mode() != 0) {
    absl::StrAppend(&dump, absl::StrFormat(" %d:%d %04o", mount.uid(), mount.gid(), mount.mode()));
  }
  if (mount.size_bytes() > 0) absl::StrAppend(&dump, " bytes ", mount.size_bytes());
  if (mount.required()) absl::StrAppend(&dump, " required");
  if (!mount.env().empty()) absl::StrAppend(&dump, " env ", mount.env());
  if (!mount.contents().empty()) absl::StrAppend(&dump, " holds ", Quoted({mount.contents()}));
  dump += '\n';
}

std::string DumpOperation(const PlanStep& step) {
  if (step.identity.has_run()) {
    const v1::RunOperation& run = step.identity.run();
    std::string dump =
        absl::StrCat("  args ", Quoted({run.args().begin(), run.args().end()}), "\n");
    for (const std::string& variable : run.env()) absl::StrAppend(&dump, "  env ", variable, "\n");
    absl::StrAppend(&dump, "  cwd ", run.cwd(), "\n");
    if (!run.user().empty()) absl::StrAppend(&dump, "  user ", run.user(), "\n");
    if (run.network() != v1::NETWORK_MODE_UNSPECIFIED) {
      absl::StrAppend(&dump, "  network ", v1::NetworkMode_Name(run.network()), "\n");
    }
    if (run.insecure()) absl::StrAppend(&dump, "  insecure\n");
    for (const v1::RunMount& mount : run.mounts()) DumpMount(step, mount, dump);
    return dump;
  }
  if (step.identity.has_make_directory()) {
    const v1::MakeDirectoryOperation& make = step.identity.make_directory();
    return absl::StrCat("  directory ", make.path(), "\n",
                        make.user().empty() ? "" : absl::StrCat("  user ", make.user(), "\n"));
  }
  const v1::CopyOperation& copy = step.identity.copy();
  std::string dump;
  for (const SourceRequest& request : step.sources) {
    absl::StrAppend(&dump, "  from ", Name(request.from), " ", Quoted(request.patterns),
                    request.includes.empty() ? "" : " parents " + Quoted(request.includes),
                    request.excludes.empty() ? "" : " but not " + Quoted(request.excludes),
                    request.unpack ? " unpacked" : "", "\n");
  }
  for (const InlineFile& file : step.inline_files) {
    absl::StrAppend(&dump, "  file ", file.name, " ", Quoted({file.data}), "\n");
  }
  if (step.link) absl::StrAppend(&dump, "  linked\n");
  absl::StrAppend(&dump, "  to ", copy.dest(), "\n");
  if (!copy.chown().empty()) absl::StrAppend(&dump, "  chown ", copy.chown(), "\n");
  if (!copy.chmod().empty()) absl::StrAppend(&dump, "  chmod ", copy.chmod(), "\n");
  return dump;
}

std::string Dump(const absl::StatusOr<Plan>& plan) {
  if (!plan.ok()) {
    return absl::StrCat(absl::StatusCodeToString(plan.status().code()), ": ",
                        plan.status().message(), "\n");
  }
  std::string dump;
  for (size_t i = 0; i < plan->bases.size(); ++i) {
    const BaseImage& base = plan->bases[i];
    // Seldom told, as it is seldom another.
    const bool is_other = base.platform != plan->config.platform.ToString();
    absl::StrAppend(&dump, "base ", i, ": ", base.reference,
                    is_other ? absl::StrCat(" for ", base.platform) : "", "\n");
  }
  for (size_t i = 0; i < plan->remotes.size(); ++i) {
    const RemoteSource& remote = plan->remotes[i];
    absl::StrAppend(&dump, "remote ", i, ": ",
                    remote.kind == RemoteSource::Kind::kGit ? "git " : "http ", remote.url, " ",
                    remote.file_name, " ", remote.checksum,
                    remote.git.keep_git_dir.value_or(false) ? " with .git" : "",
                    remote.git.submodules ? "" : " without submodules", "\n");
  }
  for (const PlanStep& step : plan->steps) {
    absl::StrAppend(&dump, "step ", step.id, ": ", step.name, "\n  at ", step.position.ToString(),
                    " on ", Name(step.parent), "\n", DumpOperation(step));
  }
  absl::StrAppend(&dump, "result: ", Name(plan->result), "\nhistory:\n");
  for (const PlanHistory& line : plan->history) {
    absl::StrAppend(&dump, "  ", line.step < 0 ? "-" : absl::StrCat(line.step), " ",
                    line.created_by, "\n");
  }
  absl::StrAppend(&dump, "config: ", SerializeImageConfig(plan->config), "\n");
  for (const std::string& variable : plan->proxy_env) {
    absl::StrAppend(&dump, "proxy: ", variable, "\n");
  }
  for (const std::string& warning : plan->warnings) {
    absl::StrAppend(&dump, "warning: ", warning, "\n");
  }
  return dump;
}

PlanOptions ReadOptions(const std::string& text) {
  PlanOptions options = OnAmd64();
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    const std::pair<std::string, std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    const std::pair<std::string, std::string> pair =
        absl::StrSplit(words.second, absl::MaxSplits('=', 1));
    if (words.first == "target") options.target = words.second;
    if (words.first == "build-arg") options.build_args.insert(pair);
    if (words.first == "label") options.labels.insert(pair);
    if (words.first == "network") options.network = v1::NETWORK_MODE_NONE;
    if (words.first == "platform") {
      const std::vector<std::string> parts = absl::StrSplit(words.second, '/');
      options.platform.set_os(parts[0]);
      options.platform.set_architecture(parts[1]);
      options.platform.set_variant(parts.size() > 2 ? parts[2] : "");
    }
  }
  return options;
}

std::string GoldenDirectory() {
  const char* update = std::getenv("FARM_UPDATE_GOLDEN");
  return update != nullptr ? update : "plan/testdata";
}

std::vector<std::string> GoldenCases() {
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenDirectory())) {
    cases.push_back(entry.path().filename());
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

class GoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, DumpIsTheExpectedOne) {
  const std::string directory = absl::StrCat(GoldenDirectory(), "/", GetParam());
  const absl::StatusOr<std::string> text = ReadFile(directory + "/Dockerfile");
  ASSERT_OK(text);
  const PlanOptions options = ReadOptions(ReadFile(directory + "/options").value_or(""));
  ImageConfig config = OneLayer();
  if (const auto json = ReadFile(directory + "/base_config.json"); json.ok()) {
    const absl::StatusOr<ImageConfig> parsed = ParseImageConfig(*json);
    ASSERT_OK(parsed);
    config = *parsed;
  }
  const std::string dump = Dump(PlanOf(*text, options, config));
  if (std::getenv("FARM_UPDATE_GOLDEN") != nullptr) {
    ASSERT_OK(WriteFileAtomically(directory + "/expected", dump));
  }
  EXPECT_EQ(dump, ReadFile(directory + "/expected").value_or("no such file"));
}

INSTANTIATE_TEST_SUITE_P(Cases, GoldenTest, testing::ValuesIn(GoldenCases()),
                         [](const auto& info) { return info.param; });

TEST(MakePlanTest, EqualArgumentsGiveEqualPlans) {
  const std::string text = "FROM alpine\nARG A=1\nRUN x\nCOPY a b /c/\n";
  EXPECT_EQ(Dump(PlanOf(text)), Dump(PlanOf(text)));
}

}  // namespace
}  // namespace farm
