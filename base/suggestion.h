#ifndef FARM_BASE_SUGGESTION_H_
#define FARM_BASE_SUGGESTION_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

// The candidate that a person most likely meant by `typed`: the one with the smallest edit distance
// (letter case ignored), if at most a third of its letters differ. "" if none is near.
std::string ClosestMatch(absl::string_view typed, const std::vector<std::string>& candidates);

}  // namespace farm

#endif  // FARM_BASE_SUGGESTION_H_
