// Texts as Go's fmt package prints them. History lines in images are made of these, and people (and
// tools) compare them between builders.
#ifndef FARM_PLAN_GO_FORMAT_H_
#define FARM_PLAN_GO_FORMAT_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace farm {

std::string GoQuoted(absl::string_view text);                     // %q of a string
std::string GoQuotedList(const std::vector<std::string>& texts);  // %q of a []string: ["a" "b"]
std::string GoList(const std::vector<std::string>& texts);        // %v of a []string: [a b]
std::string GoDuration(absl::Duration duration);                  // %v: 1m30s, 500ms, 0s

}  // namespace farm

#endif  // FARM_PLAN_GO_FORMAT_H_
