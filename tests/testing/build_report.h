#ifndef FARM_TESTS_TESTING_BUILD_REPORT_H_
#define FARM_TESTS_TESTING_BUILD_REPORT_H_

#include <string>
#include <vector>

namespace farm {

struct StepReport {
  std::string stage;  // "" if the Dockerfile has one without a name
  std::string instruction;
  std::string cause;
  std::string diff_id;
  bool ran = false;
};

// The steps that make layers, in the plan's order, from --progress=rawjson.
std::vector<StepReport> ReadSteps(const std::string& progress);

std::string Describe(const std::vector<StepReport>& steps);

// Of the layers of the image: those of the last stage.
std::vector<std::string> DiffIds(const std::vector<StepReport>& steps);

}  // namespace farm

#endif  // FARM_TESTS_TESTING_BUILD_REPORT_H_
