#ifndef FARM_TESTS_DOCKERFILE_READING_CASES_H_
#define FARM_TESTS_DOCKERFILE_READING_CASES_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace farm {

// The cases of a table of this folder, one JSON object a line. Their results are those of
// BuildKit's rules, worked out apart from this project's code.
//   expansion.jsonl     "word" with variables becomes "result", or is an "error": true; "escape" is
//                       the escape character, if it is another one than a backslash
//   dockerignore.jsonl  "path" is "ignored" or not, if the ignore file's text is "ignore"
std::vector<nlohmann::json> ReadCases(const std::string& name);

// The variables that the words of expansion.jsonl see.
const std::map<std::string, std::string>& CaseVariables();

}  // namespace farm

#endif  // FARM_TESTS_DOCKERFILE_READING_CASES_H_
