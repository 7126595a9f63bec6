#ifndef FARM_CLI_FAILURE_REPORT_H_
#define FARM_CLI_FAILURE_REPORT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "cli/progress_model.h"

namespace farm {

// What a person needs to see of a failed build: the last lines of the step, the instruction in its
// Dockerfile (the one that the farm found, if it did) marked by ">>>", the error. "" if the build
// did not fail. `keep_colors`: the step's own colours go on to a terminal.
std::string FailureReport(const ProgressModel& model, const std::string& dockerfile_name,
                          const std::string& dockerfile, bool keep_colors);

// The lines `first` to `last` of `dockerfile`, marked, with some around them (two if it is one
// line, else one), as docker shows them; "" if there is no such line.
std::string MarkedLines(const std::string& dockerfile_name, const std::string& dockerfile,
                        int first, int last);

// A warning as farm tells it: "Dockerfile:3:1: StageNameCasing: ...", at the first letter of the
// line; without a place if `line` is 0, without a rule if that is "".
std::string WarningText(const std::string& dockerfile_name, absl::string_view dockerfile, int line,
                        absl::string_view rule, absl::string_view message);

}  // namespace farm

#endif  // FARM_CLI_FAILURE_REPORT_H_
