#ifndef FARM_CLI_TAB_TABLE_H_
#define FARM_CLI_TAB_TABLE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

struct TabStyle {
  size_t cell_width_min = 10;  // as docker's listings have it
  size_t padding = 3;          // spaces between columns
};

// Lines whose cells are separated by tabs, with the columns aligned, the last one as it is.
std::string AlignTabs(const std::vector<std::string>& lines, const TabStyle& style = {});

}  // namespace farm

#endif  // FARM_CLI_TAB_TABLE_H_
