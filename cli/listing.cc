#include "cli/listing.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "cli/exit_code.h"
#include "cli/go_template.h"
#include "cli/tab_table.h"

namespace farm {

absl::StatusOr<std::string> FormatListing(absl::string_view format, absl::string_view table_format,
                                          const std::vector<ListingColumn>& columns,
                                          const std::vector<nlohmann::json>& rows) {
  std::string text;
  if (format == "json") {
    for (const nlohmann::json& row : rows) {
      absl::StrAppend(&text, row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                      "\n");
    }
    return text;
  }
  bool is_table = format.empty() || format == "table";
  if (is_table) {
    format = table_format;
  } else if (absl::ConsumePrefix(&format, "table ")) {
    is_table = true;
  }
  ASSIGN_OR_RETURN(const GoTemplate line, GoTemplate::Parse(format), AsUsageError(_));
  std::vector<std::string> lines;
  // Made in any case: a field that rows have not is a mistake also if there are no rows.
  nlohmann::json headings = nlohmann::json::object();
  for (const ListingColumn& column : columns) headings[column.field] = column.heading;
  ASSIGN_OR_RETURN(std::string heading, line.Execute(headings), AsUsageError(_));
  if (is_table) lines.push_back(std::move(heading));
  for (const nlohmann::json& row : rows) {
    ASSIGN_OR_RETURN(std::string shown, line.Execute(row), AsUsageError(_));
    if (is_table) {
      lines.push_back(std::move(shown));
    } else {
      absl::StrAppend(&text, shown, "\n");
    }
  }
  return is_table ? AlignTabs(lines) : text;
}

}  // namespace farm
