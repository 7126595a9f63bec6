#include "tests/dockerfile/reading_cases.h"

#include <fstream>

#include "base/check.h"

namespace farm {

std::vector<nlohmann::json> ReadCases(const std::string& name) {
  std::ifstream file("tests/dockerfile/" + name);
  std::vector<nlohmann::json> cases;
  for (std::string line; std::getline(file, line);) {
    cases.push_back(nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false));
    FARM_CHECK(cases.back().is_object()) << line;
  }
  return cases;
}

const std::map<std::string, std::string>& CaseVariables() {
  static const auto* const variables = new std::map<std::string, std::string>{
      {"A", "alpha"},  {"B", "beta"},       {"EMPTY", ""},     {"SP", "one  two"},
      {"P", "/a/b/c"}, {"F", "lib.tar.gz"}, {"STAR", "a*b*c"}, {"Q", "it's"},
      {"U", "äöü"},    {"D", "$A"},         {"R", "aXbXc"},    {"BS", "a\\b"},
      {"_x", "under"}, {"1", "first"},      {"12", "twelfth"}};
  return *variables;
}

}  // namespace farm
