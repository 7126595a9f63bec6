// Each folder of tests/e2e/differential is built by farm and by docker's builder from one context
// and one base, and the images have to be equal. The README there says what a folder holds.
//
// Then docker's engine loads the images that farm made, and has to see the trees that farm says.
//
// All builds are done before the first test, several at once; the tests compare what came out.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "tests/testing/farm_under_test.h"
#include "tests/testing/image_facts.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr char kCases[] = "tests/e2e/differential";
constexpr int kBuildsAtOnce = 4;
// All images at once, on a machine that has other things to do.
constexpr absl::Duration kLoadTimeout = absl::Minutes(12);

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(kCases)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A file of a case, absolute.
std::string CaseFile(const std::string& name, const std::string& file) {
  return absl::StrCat(fs::current_path().string(), "/", kCases, "/", name, "/", file);
}

// A builder of images: farm, or docker.
class Builder {
 public:
  virtual ~Builder() = default;
  virtual CommandResult Build(std::vector<std::string> args) const = 0;
  virtual CommandResult Save(const std::vector<std::string>& tags,
                             const std::string& path) const = 0;
};

class FarmBuilder final : public Builder {
 public:
  CommandResult Build(std::vector<std::string> args) const override {
    args.insert(args.begin(), {"build", "--progress=plain"});
    return farm_.Farm(args);
  }
  CommandResult Save(const std::vector<std::string>& tags, const std::string& path) const override {
    std::vector<std::string> args = {"save", "-o", path};
    args.insert(args.end(), tags.begin(), tags.end());
    return farm_.Farm(args);
  }
  const LocalFarmUnderTest& farm() const { return farm_; }

 private:
  LocalFarmUnderTest farm_;
};

class DockerBuilder final : public Builder {
 public:
  CommandResult Build(std::vector<std::string> args) const override {
    // The engine has no bridge here.
    args.insert(args.begin(), {"build", "--progress=plain", "--network=host"});
    return docker_.Docker(args);
  }
  CommandResult Save(const std::vector<std::string>& tags, const std::string& path) const override {
    std::vector<std::string> args = {"save", "-o", path};
    args.insert(args.end(), tags.begin(), tags.end());
    return docker_.Docker(args);
  }
  const DockerUnderTest& docker() const { return docker_; }

 private:
  DockerUnderTest docker_;
};

// A Dockerfile of a case and what a builder made of it. The second of a case builds on the first.
struct Built {
  std::string tag;
  Facts facts;
  std::string output;
  absl::Status trouble;  // what kept it from being seen; a build that fails is seen
  // Of farm's: the tree that docker's engine has when it has loaded the image.
  absl::StatusOr<Facts> loaded = absl::UnknownError("it was not loaded");

  bool succeeded() const { return facts.count("build") > 0 && facts.at("build") == "succeeds"; }
};

std::vector<std::string> DockerfilesOf(const std::string& name) {
  std::vector<std::string> files = {"Dockerfile"};
  if (fs::exists(CaseFile(name, "then/Dockerfile"))) files.push_back("then/Dockerfile");
  return files;
}

absl::StatusOr<Facts> TreeOfFile(const std::string& path, absl::Time start) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  StringSource tar(bytes);
  return FactsOfTree(tar, start);
}

// Builds an image, and its tree into a file.
absl::StatusOr<Facts> BuildOne(const Builder& builder, const std::vector<std::string>& args,
                               absl::Time start, Built& built) {
  std::vector<std::string> image_args = args;
  image_args.insert(image_args.begin(), {"-t", built.tag});
  const CommandResult image = builder.Build(image_args);
  built.output = image.all();
  if (image.exit_code == -1) return absl::DeadlineExceededError(built.output);
  if (image.exit_code != 0) return Facts{{"build", "fails"}};
  // The same again, now as a tree: nothing is left to be done.
  const ScratchDir out;
  std::vector<std::string> tree_args = args;
  tree_args.insert(tree_args.begin(), {"-o", absl::StrCat("type=tar,dest=", out / "tree.tar")});
  const CommandResult tree = builder.Build(tree_args);
  if (tree.exit_code != 0) return absl::UnknownError(tree.all());
  ASSIGN_OR_RETURN(Facts facts, TreeOfFile(out / "tree.tar", start));
  facts["build"] = "succeeds";
  return facts;
}

std::vector<Built> BuildCase(const Builder& builder, const std::string& name,
                             const std::string& context, absl::Time start) {
  std::vector<Built> all;
  std::vector<std::string> args = absl::StrSplit(ReadFile(CaseFile(name, "args")).value_or(""),
                                                 absl::ByAnyChar(" \n"), absl::SkipEmpty());
  args.insert(args.end(), {"-f", "", context});
  for (const std::string& dockerfile : DockerfilesOf(name)) {
    // Docker's client sends a symlink as such, and Bazel links the test's data.
    args[args.size() - 2] = fs::canonical(CaseFile(name, dockerfile));
    Built& built = all.emplace_back();
    built.tag = absl::StrCat("case-", name, all.size() > 1 ? "-then" : "", ":latest");
    absl::StatusOr<Facts> facts = BuildOne(builder, args, start, built);
    built.trouble = facts.status();
    if (facts.ok()) built.facts = *std::move(facts);
    if (!built.succeeded()) break;
  }
  return all;
}

// Adds the configs of images, all saved at once.
void AddConfigs(const Builder& builder, const std::string& archive,
                const std::vector<Built*>& all) {
  std::vector<std::string> tags;
  for (const Built* built : all) {
    if (built->succeeded()) tags.push_back(built->tag);
  }
  if (tags.empty()) return;
  const CommandResult saved = builder.Save(tags, archive);
  ASSERT_EQ(saved.exit_code, 0) << saved.all();
  const UniqueFd fd(open(archive.c_str(), O_RDONLY | O_CLOEXEC));
  FdSource source(fd.get());
  ASSERT_OK_AND_ASSIGN(const auto configs, FactsOfArchive(source));
  for (Built* built : all) {
    const auto config = configs.find(built->tag);
    if (config != configs.end()) built->facts.insert(config->second.begin(), config->second.end());
  }
}

// What the engine's `docker create` puts into each root, in whatever state the image has it.
bool IsOfEngine(const std::string& fact) {
  const std::string path = fact.substr(0, fact.find(' '));
  for (const char* made : {"/.dockerenv", "/dev/console", "/dev/pts", "/dev/shm", "/etc/hostname",
                           "/etc/hosts", "/etc/mtab", "/etc/resolv.conf"}) {
    if (path == made) return true;
  }
  for (const char* changed : {"/", "/dev", "/etc", "/proc", "/sys"}) {
    if (path == changed) return true;
  }
  // `docker export` leaves them out.
  return absl::StrContains(fact, " xattr user.");
}

// Facts of the tree of an image alone: without those of its config, and of the build.
Facts TreeFacts(const Facts& facts) {
  Facts tree;
  for (const auto& [name, value] : facts) {
    if (absl::StartsWith(name, "/") && !IsOfEngine(name)) tree[name] = value;
  }
  return tree;
}

absl::StatusOr<Facts> TreeInEngine(const DockerUnderTest& docker, const std::string& tag,
                                   absl::Time start) {
  const CommandResult created = docker.Docker({"create", tag, "/none"});
  if (created.exit_code != 0) return absl::UnknownError(created.all());
  const std::string container(absl::StripSuffix(created.out, "\n"));
  const ScratchDir out;
  const CommandResult exported = docker.Docker({"export", "-o", out / "tree.tar", container});
  docker.Docker({"rm", container});
  if (exported.exit_code != 0) return absl::UnknownError(exported.all());
  ASSIGN_OR_RETURN(const Facts facts, TreeOfFile(out / "tree.tar", start));
  return TreeFacts(facts);
}

// Runs the case's context.sh in an empty directory. Files that it gives no time of their own get
// one that is not the build's, so that a builder that loses it is found out.
CommandResult MakeContext(const std::string& name, const std::string& directory) {
  fs::create_directory(directory);
  CommandOptions options;
  options.dir = directory;
  return RunShell(absl::StrCat("set -e; umask 022; if [ -e ", CaseFile(name, "context.sh"),
                               " ]; then . ", CaseFile(name, "context.sh"),
                               "; fi\n"
                               "find . ! -type d -newermt '1 hour ago' -exec touch -h -d "
                               "2010-10-10T10:10:10Z {} +"),
                  options);
}

bool IsSelected(const std::string& test_name) {
  const testing::UnitTest& all = *testing::UnitTest::GetInstance();
  for (int i = 0; i < all.total_test_suite_count(); ++i) {
    const testing::TestSuite& suite = *all.GetTestSuite(i);
    for (int j = 0; j < suite.total_test_count(); ++j) {
      const testing::TestInfo& test = *suite.GetTestInfo(j);
      if (absl::EndsWith(test.name(), "/" + test_name) && test.should_run()) return true;
    }
  }
  return false;
}

class DifferentialTest : public testing::TestWithParam<std::string> {
 protected:
  struct Case {
    std::string name;
    std::vector<Built> farm;
    std::vector<Built> docker;
  };

  static void SetUpTestSuite() {
    if (!DockerUnderTest::Available()) {
      why_not_ = "docker.io is not installed";
      return;
    }
    const DockerBuilder docker;
    if (!docker.docker().ready()) {
      why_not_ = "dockerd does not start here: " + docker.docker().Logs();
      return;
    }
    const FarmBuilder farm;
    const ScratchDir dir;
    ShareBase(docker.docker(), farm.farm(), dir);
    const absl::Time start = absl::FromUnixSeconds(absl::ToUnixSeconds(absl::Now()));
    if (!HasFatalFailure()) BuildAll(docker, farm, dir, start);
    if (!HasFatalFailure()) LoadAll(docker.docker(), dir, start);
  }

  // The same images in both, with one id. base:1 has the files that an engine mounts over in each
  // RUN; bare:1 lacks them.
  static void ShareBase(const DockerUnderTest& docker, const LocalFarmUnderTest& farm,
                        const ScratchDir& dir) {
    const CommandResult made = RunShell(absl::StrCat(
        "set -e; cd ", dir.path(), "; mkdir -p stubs/etc; touch stubs/etc/hosts ",
        "stubs/etc/resolv.conf; cp ", BusyboxRootTar(), " base-root.tar; tar --numeric-owner ",
        "--owner=0 --group=0 --mtime=2024-01-02 -C stubs -rf base-root.tar etc/hosts ",
        "etc/resolv.conf"));
    ASSERT_EQ(made.exit_code, 0) << made.all();
    const std::string archive = dir / "bases.tar";
    for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
             {"import", "--change", "ENV PATH=/bin", dir / "base-root.tar", "base:1"},
             {"import", "--change", "ENV PATH=/bin", BusyboxRootTar(), "bare:1"},
             {"save", "-o", archive, "base:1", "bare:1"}}) {
      const CommandResult result = docker.Docker(command);
      ASSERT_EQ(result.exit_code, 0) << result.all();
    }
    ASSERT_EQ(farm.FarmOk({"load", "-i", archive}).exit_code, 0);
  }

  static void BuildAll(const Builder& docker, const Builder& farm, const ScratchDir& dir,
                       absl::Time start) {
    cases_ = new std::map<std::string, Case>;
    std::vector<Case*> cases;
    for (const std::string& name : CaseNames()) {
      if (!IsSelected(name)) continue;
      const CommandResult made = MakeContext(name, dir / name);
      EXPECT_EQ(made.exit_code, 0) << name << ": " << made.all();
      cases.push_back(&(*cases_)[name]);
      cases.back()->name = name;
    }
    InParallel(2 * cases.size(), [&](size_t task) {
      Case& one = *cases[task / 2];
      (task % 2 == 0 ? one.docker : one.farm) =
          BuildCase(task % 2 == 0 ? docker : farm, one.name, dir / one.name, start);
    });
    std::vector<Built*> by_docker, by_farm;
    for (Case* one : cases) {
      for (Built& built : one->docker) by_docker.push_back(&built);
      for (Built& built : one->farm) by_farm.push_back(&built);
    }
    AddConfigs(docker, dir / "docker.tar", by_docker);
    AddConfigs(farm, dir / "farm.tar", by_farm);
  }

  // In place of docker's own, which are of the same names and have been looked at.
  static void LoadAll(const DockerUnderTest& docker, const ScratchDir& dir, absl::Time start) {
    std::vector<Built*> all;
    for (auto& [name, one] : *cases_) {
      for (Built& built : one.farm) {
        if (built.succeeded()) all.push_back(&built);
      }
    }
    if (all.empty()) return;
    CommandOptions load_options;
    load_options.timeout = kLoadTimeout;
    const CommandResult loaded = docker.Docker({"load", "-i", dir / "farm.tar"}, load_options);
    ASSERT_EQ(loaded.exit_code, 0) << loaded.all() << docker.Logs();
    const absl::Time begin = absl::Now();
    InParallel(all.size(), [&](size_t task) {
      all[task]->loaded = TreeInEngine(docker, all[task]->tag, start);
    });
    std::printf("%zu images looked at in the engine in %s\n", all.size(),
                absl::FormatDuration(absl::Now() - begin).c_str());
  }

  static void InParallel(size_t tasks, const std::function<void(size_t)>& run) {
    std::atomic<size_t> next = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kBuildsAtOnce; ++i) {
      threads.emplace_back([&] {
        for (size_t task = next.fetch_add(1); task < tasks; task = next.fetch_add(1)) run(task);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  void SetUp() override {
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
    ASSERT_NE(cases_, nullptr);
  }

  static std::string why_not_;
  static std::map<std::string, Case>* cases_;  // Lives as long as the program.
};
std::string DifferentialTest::why_not_;
std::map<std::string, DifferentialTest::Case>* DifferentialTest::cases_ = nullptr;

// Facts of a case's builds together; those of the second begin with "then: ".
Facts AllFacts(const std::vector<Built>& all) {
  Facts facts;
  for (size_t i = 0; i < all.size(); ++i) {
    for (const auto& [name, value] : all[i].facts) facts[(i > 0 ? "then: " : "") + name] = value;
  }
  return facts;
}

void ExpectSeen(const char* builder, const std::vector<Built>& all) {
  for (const Built& built : all) {
    ASSERT_TRUE(built.trouble.ok()) << builder << ": " << built.trouble << built.output;
  }
}

TEST_P(DifferentialTest, FarmBuildsWhatDockerBuilds) {
  const Case& one = cases_->at(GetParam());
  ASSERT_NO_FATAL_FAILURE(ExpectSeen("docker", one.docker));
  ASSERT_NO_FATAL_FAILURE(ExpectSeen("farm", one.farm));
  const Facts differing = ParseFacts(ReadFile(CaseFile(one.name, "differs.md")).value_or(""));
  Facts docker = AllFacts(one.docker);
  Facts farm = AllFacts(one.farm);
  if (one.docker.back().succeeded() != one.farm.back().succeeded()) {
    // There is one image only: what the case says of it, and no more, can be checked.
    for (Facts* facts : {&docker, &farm}) {
      std::erase_if(*facts, [&](const auto& fact) {
        return fact.first != "build" && differing.count(fact.first) == 0;
      });
    }
  }
  const std::vector<std::string> differences = Differences(docker, farm, differing);
  EXPECT_TRUE(differences.empty())
      << absl::StrJoin(differences, "\n") << "\n"
      << (one.docker.back().succeeded() ? "" : "docker: " + one.docker.back().output)
      << (one.farm.back().succeeded() ? "" : "farm: " + one.farm.back().output);
  for (const auto& [name, value] :
       ParseFacts(ReadFile(CaseFile(one.name, "facts.md")).value_or(""))) {
    EXPECT_THAT(farm, testing::Contains(testing::Pair(name, value)));
  }
  const absl::StatusOr<std::string> error = ReadFile(CaseFile(one.name, "error"));
  EXPECT_NE(one.farm.back().succeeded(), error.ok()) << one.farm.back().output;
  if (error.ok()) {
    EXPECT_THAT(one.farm.back().output, testing::HasSubstr(absl::StripSuffix(*error, "\n")));
  }
}

TEST_P(DifferentialTest, TheEngineHasTheTreeOfFarmsImage) {
  const Case& one = cases_->at(GetParam());
  ASSERT_NO_FATAL_FAILURE(ExpectSeen("farm", one.farm));
  for (const Built& built : one.farm) {
    if (!built.succeeded()) continue;  // There is no image, which the other test looks into.
    ASSERT_OK(built.loaded);
    const std::vector<std::string> differences =
        Differences(TreeFacts(built.facts), *built.loaded, {});
    EXPECT_TRUE(differences.empty()) << built.tag << "\n" << absl::StrJoin(differences, "\n");
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, DifferentialTest, testing::ValuesIn(CaseNames()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace farm
