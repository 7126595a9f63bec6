#ifndef FARM_CLI_FAILURE_REPORT_H_
#define FARM_CLI_FAILURE_REPORT_H_

#include <string>

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

}  // namespace farm

#endif  // FARM_CLI_FAILURE_REPORT_H_
