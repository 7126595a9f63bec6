#ifndef FARM_CLI_TAB_TABLE_H_
#define FARM_CLI_TAB_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

// Lines whose cells are separated by tabs, with the columns aligned as docker's listings are: at
// least 10 wide, 3 spaces between, the last column as it is.
std::string AlignTabs(const std::vector<std::string>& lines);

}  // namespace farm

#endif  // FARM_CLI_TAB_TABLE_H_
