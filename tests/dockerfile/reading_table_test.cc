// The tables of cases, read by farm.
#include <optional>
#include <string>
#include <vector>

#include "dockerfile/dockerignore.h"
#include "dockerfile/expand.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/dockerfile/reading_cases.h"

namespace farm {
namespace {

std::optional<std::string> Lookup(absl::string_view name) {
  const auto found = CaseVariables().find(std::string(name));
  return found == CaseVariables().end() ? std::nullopt : std::make_optional(found->second);
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
