#include "cli/tab_table.h"

#include <algorithm>

#include "absl/strings/str_split.h"
#include "cli/terminal_text.h"

namespace farm {

std::string AlignTabs(const std::vector<std::string>& lines, const TabStyle& style) {
  std::vector<std::vector<std::string>> rows;
  std::vector<size_t> widths;
  for (const std::string& line : lines) {
    rows.push_back(absl::StrSplit(line, '\t'));
    // Only a cell that a tab ends takes part in the alignment.
    for (size_t i = 0; i + 1 < rows.back().size(); ++i) {
      if (widths.size() <= i) widths.push_back(style.cell_width_min);
      widths[i] = std::max<size_t>(widths[i], DisplayWidth(rows.back()[i]) + style.padding);
    }
  }
  std::string text;
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += row[i];
      if (i + 1 < row.size()) text.append(widths[i] - DisplayWidth(row[i]), ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace farm
