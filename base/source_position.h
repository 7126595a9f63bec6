#ifndef FARM_BASE_SOURCE_POSITION_H_
#define FARM_BASE_SOURCE_POSITION_H_

#include <optional>
#include <string>

#include "absl/status/status.h"

namespace farm {

// A place in a text that a person wrote.
struct SourcePosition {
  std::string file;  // As the person named it, e.g. "Dockerfile"; may be empty.
  int line = 0;      // From 1; 0 if unknown.
  int column = 0;    // From 1, in bytes; 0 if unknown.

  // "Dockerfile:3:7", without the parts that are unknown.
  std::string ToString() const;
  friend bool operator==(const SourcePosition&, const SourcePosition&) = default;
};

// An INVALID_ARGUMENT whose message begins with "file:line:column: " and which carries the position
// as payload. `source_line` is the line itself, shown to the person with a caret; may be empty.
absl::Status ErrorAt(const SourcePosition& position, absl::string_view message,
                     absl::string_view source_line = "");

// `error` under another code: message and position stay.
absl::Status WithCode(absl::StatusCode code, const absl::Status& error);

// The position that ErrorAt() attached, if any; `source_line` gets the line itself.
std::optional<SourcePosition> PositionOf(const absl::Status& status,
                                         std::string* source_line = nullptr);

}  // namespace farm

#endif  // FARM_BASE_SOURCE_POSITION_H_
