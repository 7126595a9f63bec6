// The tables of cases, asked of docker's builder. The one of Debian 12 is of 2020: forms that came
// later are left out here, and where it reads otherwise what BuildKit does today is the rule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <iostream>
#include <map>
#include <regex>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/dockerfile/reading_cases.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr int kBuildsAtOnce = 4;

class DockerAgreesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (DockerUnderTest::Available()) docker_ = new DockerUnderTest;
  }
  static void TearDownTestSuite() {
    delete docker_;
    docker_ = nullptr;
  }
  void SetUp() override {
    if (docker_ == nullptr) GTEST_SKIP() << "docker.io is not installed";
    if (!docker_->ready()) GTEST_SKIP() << "dockerd does not start here: " << docker_->Logs();
  }

  static CommandResult Build(const std::string& dockerfile, const std::vector<std::string>& args) {
    std::vector<std::string> all = {"build", "--network=none", "-f", dockerfile};
    all.insert(all.end(), args.begin(), args.end());
    return docker_->Docker(all);
  }

  static DockerUnderTest* docker_;
};

DockerUnderTest* DockerAgreesTest::docker_ = nullptr;

// A value as a word that no variable is looked for in.
std::string Quoted(const std::string& value) {
  return absl::StrContains(value, '\'') ? absl::StrCat("\"", value, "\"")
                                        : absl::StrCat("'", value, "'");
}

std::string VariablesAsEnv() {
  std::string text = "FROM scratch\n";
  for (const auto& [name, value] : CaseVariables()) {
    absl::StrAppend(&text, "ENV ", name, "=", Quoted(value), "\n");
  }
  return text;
}

// Whether docker's builder can be asked for the word: it knows :- and :+, but neither patterns, nor
// errors, nor - and + without a colon; and an ENV must give it as it is.
bool MayBeAsked(const nlohmann::json& c) {
  const std::string word = c["word"].get<std::string>();
  if (c.value("error", false) || word.empty() || absl::StrContains(word, '\n') ||
      word.front() == ' ' || word.back() == ' ') {
    return false;
  }
  if (word.back() == c.value("escape", "\\")[0]) return false;  // It would go on in the next line.
  static const auto* const newer = new std::regex(R"(\$\{\w+([^:}\w]|:[^-+]))");
  return !std::regex_search(word, *newer);
}

TEST_F(DockerAgreesTest, VariablesExpand) {
  for (const std::string escape : {"\\", "`"}) {
    std::vector<nlohmann::json> asked;
    std::string text = absl::StrCat("# escape=", escape, "\n", VariablesAsEnv());
    for (const nlohmann::json& c : ReadCases("expansion.jsonl")) {
      if (c.value("escape", "\\") != escape || !MayBeAsked(c)) continue;
      absl::StrAppend(&text, "ENV W", asked.size(), " ", c["word"].get<std::string>(), "\n");
      asked.push_back(c);
    }
    const ScratchDir dir;
    const std::string dockerfile = dir.Write("Dockerfile", text);
    const CommandResult built = Build(dockerfile, {"-t", "words", dir.path()});
    ASSERT_EQ(built.exit_code, 0) << built.all();
    const CommandResult shown =
        docker_->Docker({"image", "inspect", "--format", "{{json .Config.Env}}", "words"});
    ASSERT_EQ(shown.exit_code, 0) << shown.all();
    std::set<std::string> env;
    for (const nlohmann::json& variable : nlohmann::json::parse(shown.out)) {
      env.insert(variable.get<std::string>());
    }
    for (size_t i = 0; i < asked.size(); ++i) {
      EXPECT_TRUE(env.contains(absl::StrCat("W", i, "=", asked[i]["result"].get<std::string>())))
          << asked[i];
    }
    std::cout << asked.size() << " words with the escape character " << escape << "\n";
  }
}

// Files of which none is a directory of another, and how many of the paths were taken.
std::set<std::string> TakeFiles(std::set<std::string>& paths) {
  std::set<std::string> files;
  for (const std::string& path : paths) {
    const bool is_directory =
        std::any_of(paths.begin(), paths.end(),
                    [&](const std::string& other) { return absl::StartsWith(other, path + "/"); });
    if (!is_directory) files.insert(path);
  }
  for (const std::string& path : files) paths.erase(path);
  return files;
}

// Files that the builder of 2020 judges otherwise under an ignore file.
const std::map<std::string, std::set<std::string>>& ReadOtherwise() {
  static const auto* const otherwise = new std::map<std::string, std::set<std::string>>{
      // It took these characters for those of regular expressions.
      {"(a)", {"(a)", "a/b", "a"}},
      {"^a", {"^a", "a/b", "a"}},
      {"a+b", {"a+b"}},
      {"a|b", {"a/b", "b", "a"}},
      // ** was only for whole names.
      {"**a", {"#a", "^a", "ba"}},
      // What stands in a directory that is ignored was not looked at.
      {"**\n!**/*.c", {"dir/s/x.c", "dir/x.c"}},
      // An exception for a directory was one for all in it.
      {"a/b\n!a", {"a/b/c", "a/b"}},
  };
  return *otherwise;
}

// One build: a context of some files with an ignore file.
struct Context {
  std::string ignore;
  std::set<std::string> files;
  std::set<std::string> sent;
  std::string trouble;
};

TEST_F(DockerAgreesTest, IgnoreFilesIgnore) {
  std::map<std::string, std::map<std::string, bool>> by_ignore;
  for (const nlohmann::json& c : ReadCases("dockerignore.jsonl")) {
    by_ignore[c["ignore"].get<std::string>()][c["path"].get<std::string>()] =
        c["ignored"].get<bool>();
  }
  std::vector<Context> contexts;
  for (const auto& [ignore, paths] : by_ignore) {
    std::set<std::string> left;
    for (const auto& [path, ignored] : paths) left.insert(path);
    while (!left.empty()) contexts.push_back({.ignore = ignore, .files = TakeFiles(left)});
  }
  const ScratchDir dockerfiles;
  const std::string dockerfile = dockerfiles.Write("Dockerfile", "FROM scratch\nCOPY . /\n");
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < contexts.size(); i = next++) {
      Context& context = contexts[i];
      const ScratchDir dir, out;
      dir.Write(".dockerignore", context.ignore);
      for (const std::string& file : context.files) dir.Write(file, "");
      const CommandResult built =
          Build(dockerfile, {"-o", absl::StrCat("type=local,dest=", out.path()), dir.path()});
      if (built.exit_code != 0) context.trouble = built.all();
      for (const auto& entry : fs::recursive_directory_iterator(out.path())) {
        if (!entry.is_directory()) context.sent.insert(fs::relative(entry.path(), out.path()));
      }
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kBuildsAtOnce; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  for (const Context& context : contexts) {
    EXPECT_EQ(context.trouble, "") << "with the ignore file " << context.ignore;
    const auto otherwise = ReadOtherwise().find(context.ignore);
    for (const std::string& file : context.files) {
      const bool differs = otherwise != ReadOtherwise().end() && otherwise->second.contains(file);
      EXPECT_EQ(!context.sent.contains(file), by_ignore[context.ignore][file] != differs)
          << file << " with the ignore file " << context.ignore;
    }
  }
}

}  // namespace
}  // namespace farm
