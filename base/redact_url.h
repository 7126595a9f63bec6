#ifndef FARM_BASE_REDACT_URL_H_
#define FARM_BASE_REDACT_URL_H_

#include <string>

#include "absl/strings/string_view.h"

namespace farm {

// `text` with the user name and password of each URL in it replaced: "https://u:p@host/x" becomes
// "https://xxxxx@host/x", whatever the text is otherwise. For all that people or logs see.
std::string RedactUrls(absl::string_view text);

}  // namespace farm

#endif  // FARM_BASE_REDACT_URL_H_
