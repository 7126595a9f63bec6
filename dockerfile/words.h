// The ways in which instructions divide their arguments into words. Nothing is expanded.
#ifndef FARM_DOCKERFILE_WORDS_H_
#define FARM_DOCKERFILE_WORDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Splits at spaces; quotes mean nothing (FROM, COPY, EXPOSE, ...).
std::vector<std::string> SplitAtSpaces(absl::string_view text);

// Splits at spaces that are neither quoted nor escaped; quotes and escapes stay (ENV, LABEL, ARG).
std::vector<std::string> SplitQuoted(absl::string_view text, char escape);

// Flags at the start of `text`, each with quotes and escapes removed, and its offset in `text`.
struct FlagWords {
  struct Flag {
    std::string text;  // "--from=x"
    size_t offset;
  };
  std::vector<Flag> flags;
  size_t rest = 0;  // Offset of what is behind them; a lone "--" ends the flags.
};
FlagWords TakeFlags(absl::string_view text, char escape);

// The elements of a JSON array of strings. nullopt: it is something else, and so for a shell.
// INVALID_ARGUMENT: it is an array of JSON values, but not of strings alone: meant for JSON.
absl::StatusOr<std::optional<std::vector<std::string>>> ParseJsonWords(absl::string_view text);

}  // namespace farm

#endif  // FARM_DOCKERFILE_WORDS_H_
