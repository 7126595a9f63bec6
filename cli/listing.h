#ifndef FARM_CLI_LISTING_H_
#define FARM_CLI_LISTING_H_

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// A field of a listing's rows, as --format names it, and its column's heading.
struct ListingColumn {
  std::string field;
  std::string heading;
};

// Rows (objects of strings) as docker's --format prints them: "" or "table" as the template
// `table_format` under headings, "table TEMPLATE" likewise, "json" as one object a line, any other
// text as a template for each row. INVALID_ARGUMENT as of GoTemplate, a usage error (exit_code.h).
absl::StatusOr<std::string> FormatListing(absl::string_view format, absl::string_view table_format,
                                          const std::vector<ListingColumn>& columns,
                                          const std::vector<nlohmann::json>& rows);

}  // namespace farm

#endif  // FARM_CLI_LISTING_H_
