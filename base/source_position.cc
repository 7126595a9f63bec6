#include "base/source_position.h"

#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace farm {
namespace {

// Payload: file NUL line NUL column NUL source line.
constexpr char kPositionPayload[] = "farm/position";

}  // namespace

std::string SourcePosition::ToString() const {
  std::string out = file;
  for (int number : {line, column}) {
    if (number > 0) absl::StrAppend(&out, out.empty() ? "" : ":", number);
  }
  return out;
}

absl::Status ErrorAt(const SourcePosition& position, absl::string_view message,
                     absl::string_view source_line) {
  absl::Status status =
      absl::InvalidArgumentError(absl::StrCat(position.ToString(), ": ", message));
  const absl::string_view nul("\0", 1);
  status.SetPayload(kPositionPayload,
                    absl::Cord(absl::StrCat(position.file, nul, position.line, nul, position.column,
                                            nul, source_line)));
  return status;
}

absl::Status WithCode(absl::StatusCode code, const absl::Status& error) {
  absl::Status status(code, error.message());
  error.ForEachPayload([&status](absl::string_view url, const absl::Cord& payload) {
    status.SetPayload(url, payload);
  });
  return status;
}

std::optional<SourcePosition> PositionOf(const absl::Status& status, std::string* source_line) {
  const auto payload = status.GetPayload(kPositionPayload);
  if (!payload.has_value()) return std::nullopt;
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(*payload), absl::MaxSplits('\0', 3));
  SourcePosition position;
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[1], &position.line) ||
      !absl::SimpleAtoi(parts[2], &position.column)) {
    return std::nullopt;
  }
  position.file = parts[0];
  if (source_line != nullptr) *source_line = parts[3];
  return position;
}

}  // namespace farm
