// Values of templates, and the functions on them: those of Go's text/template and docker's.
#ifndef FARM_CLI_GO_TEMPLATE_FUNCTIONS_H_
#define FARM_CLI_GO_TEMPLATE_FUNCTIONS_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Null stands for Go's nil maps and slices, which have no elements, and a discarded value for what
// is not there at all.
bool IsNothing(const nlohmann::json& value);

// As Go's fmt prints values with %v.
std::string ShownAsInGo(const nlohmann::json& value);

// What {{if}} takes for true.
bool IsTrueInGo(const nlohmann::json& value);

// The names that CallTemplateFunction() knows.
const std::vector<std::string>& TemplateFunctions();

// INVALID_ARGUMENT: an argument too many or few, or of a kind that the function does not take.
absl::StatusOr<nlohmann::json> CallTemplateFunction(const std::string& name,
                                                    const std::vector<nlohmann::json>& args);

// The error for that.
absl::Status UnfitArgument(absl::string_view function, const nlohmann::json& value);

}  // namespace farm

#endif  // FARM_CLI_GO_TEMPLATE_FUNCTIONS_H_
