// Tables of cases, one JSON object a line. Their results are those of BuildKit's rules, worked out
// apart from this project's code.
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dockerfile/dockerignore.h"
#include "dockerfile/expand.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace farm {
namespace {

std::vector<nlohmann::json> ReadCases(const std::string& name) {
  std::ifstream file("tests/dockerfile/" + name);
  std::vector<nlohmann::json> cases;
  for (std::string line; std::getline(file, line);) {
    cases.push_back(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(cases.back().is_object()) << line;
  }
  return cases;
}

std::optional<std::string> Lookup(absl::string_view name) {
  static const auto* const variables = new std::map<std::string, std::string>{
      {"A", "alpha"},  {"B", "beta"},       {"EMPTY", ""},     {"SP", "one  two"},
      {"P", "/a/b/c"}, {"F", "lib.tar.gz"}, {"STAR", "a*b*c"}, {"Q", "it's"},
      {"U", "äöü"},    {"D", "$A"},         {"R", "aXbXc"},    {"BS", "a\\b"},
      {"_x", "under"}, {"1", "first"},      {"12", "twelfth"}};
  const auto found = variables->find(std::string(name));
  return found == variables->end() ? std::nullopt : std::make_optional(found->second);
}

TEST(ReadingTableTest, VariablesExpand) {
  const std::vector<nlohmann::json> cases = ReadCases("expansion.jsonl");
  ASSERT_GE(cases.size(), 500u);
  for (const nlohmann::json& c : cases) {
    const Expander expander({.escape = c.value("escape", "\\")[0]}, Lookup);
    const absl::StatusOr<std::string> result = expander.ExpandWord(c["word"].get<std::string>());
    if (c.value("error", false)) {
      EXPECT_FALSE(result.ok()) << c << " is " << *result;
    } else {
      EXPECT_TRUE(result.ok()) << c << ": " << result.status();
      EXPECT_EQ(result.value_or(""), c["result"].get<std::string>()) << c;
    }
  }
}

TEST(ReadingTableTest, IgnoreFilesIgnore) {
  const std::vector<nlohmann::json> cases = ReadCases("dockerignore.jsonl");
  ASSERT_GE(cases.size(), 300u);
  for (const nlohmann::json& c : cases) {
    const auto ignore = DockerIgnore::Parse(".dockerignore", c["ignore"].get<std::string>());
    ASSERT_TRUE(ignore.ok()) << c << ": " << ignore.status();
    EXPECT_EQ(ignore->Ignores(c["path"].get<std::string>()), c["ignored"].get<bool>()) << c;
  }
}

}  // namespace
}  // namespace farm
