// Variables, quotes and escapes in a Dockerfile's words: what BuildKit's shell lexer does with
// $NAME and ${NAME...}, not what a shell would.
//
//   Expander expander({.escape = file.escape}, lookup);
//   ASSIGN_OR_RETURN(Expansion expansion, expander.Expand("${DIR:-/src}/'a b'"));
//   // expansion.text is "/src/a b"; expansion.unset is {"DIR"}.
//
// Known forms (W is itself expanded, P is a pattern of * and ?, with \ as escape):
//   $V ${V}                  the value; "" if unset
//   ${V-W} ${V:-W}           W if V is unset; with ':' also if it is empty
//   ${V+W} ${V:+W}           W if V is set; with ':' only if it is not empty
//   ${V?W} ${V:?W}           an error with message W if V is unset (':': or empty)
//   ${V#P} ${V##P}           the value without the shortest, longest prefix that matches P
//   ${V%P} ${V%%P}           the same for a suffix
//   ${V/P/R} ${V//P/R}       the value with the first, with each longest match replaced by R
#ifndef FARM_DOCKERFILE_EXPAND_H_
#define FARM_DOCKERFILE_EXPAND_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// Longest result of one expansion; patterns and nested words count too. A kernel takes no longer
// variable or argument than 128 kB.
inline constexpr size_t kExpansionBytesMax = 1 << 20;
// The same for the text of a heredoc.
inline constexpr size_t kHeredocExpansionBytesMax = 16 << 20;
// Deepest nesting of ${A:-${B:-...}}.
inline constexpr int kExpansionDepthMax = 64;

// The value of a variable, nullopt if it is not set.
using VariableLookup = std::function<std::optional<std::string>(absl::string_view name)>;

struct ExpandOptions {
  char escape = '\\';          // The file's escape character.
  bool keep_quotes = false;    // Quotes stay in the result; what is between them is still one word.
  bool keep_escapes = false;   // Escape characters stay in the result.
  bool keep_unset = false;     // A reference to an unset variable stays as it is written.
  bool ignore_quotes = false;  // ' and " are letters like others (the text of a heredoc).
  size_t bytes_max = kExpansionBytesMax;
};

struct Expansion {
  std::string text;                // All in one.
  std::vector<std::string> words;  // Split at spaces that are not quoted; empty ones are left out.
  std::set<std::string> used;      // Variables referred to that are set.
  std::set<std::string> unset;     // Variables referred to that are not.
};

class Expander {
 public:
  Expander(ExpandOptions options, VariableLookup lookup);

  // INVALID_ARGUMENT for a syntax error or a ${V?message} (without position: the caller knows it);
  // RESOURCE_EXHAUSTED over one of the limits above.
  absl::StatusOr<Expansion> Expand(absl::string_view word) const;

  // Only `text` of the above.
  absl::StatusOr<std::string> ExpandWord(absl::string_view word) const;

 private:
  ExpandOptions options_;
  VariableLookup lookup_;
};

// The lines of a heredoc whose delimiter is not quoted: variables are replaced, quotes stay, and
// the escape character is '\' whatever the file's is.
absl::StatusOr<Expansion> ExpandHeredoc(absl::string_view data, VariableLookup lookup);

}  // namespace farm

#endif  // FARM_DOCKERFILE_EXPAND_H_
