#ifndef FARM_DOCKERFILE_LEXER_H_
#define FARM_DOCKERFILE_LEXER_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "dockerfile/heredoc.h"
#include "dockerfile/instruction.h"
#include "dockerfile/source.h"

namespace farm {

// An instruction's lines, joined to one.
struct LogicalLine {
  std::string text;  // Begins with a letter, not a space; without line ends.
  int line = 0;      // First line.
  int end_line = 0;
  std::vector<std::string> comments;  // Right before it.
  bool has_empty_continuation = false;
  std::vector<std::pair<size_t, size_t>> pieces;  // Offset in `text` -> offset in the source.

  // The offset in the source of text[offset].
  size_t SourceOffset(size_t offset) const;
};

// Joins lines, skips comments, and takes note of parser directives. Not for sharing by threads.
class Lexer {
 public:
  explicit Lexer(const DockerfileSource& source) : source_(source) {}

  // The next instruction; nullopt at the end. INVALID_ARGUMENT for a bad parser directive.
  absl::StatusOr<std::optional<LogicalLine>> Next();

  // The lines from the current one on, to the one that ends the heredoc. INVALID_ARGUMENT, at
  // `marker_position`, if there is none.
  absl::StatusOr<Heredoc> ReadHeredoc(const HeredocMarker& marker,
                                      const SourcePosition& marker_position);

  char escape() const { return escape_; }
  int current_line() const { return next_line_ - 1; }  // The last that was read.
  std::vector<ParserDirective> TakeDirectives() { return std::move(directives_); }

 private:
  // Whether `line` is a directive; takes note of it.
  absl::StatusOr<bool> ReadDirective(absl::string_view line, const SourcePosition& position);
  void ReadComment(absl::string_view comment);
  // Takes the escape character off the end of `line`, if it continues on the next.
  bool ConsumeContinuation(absl::string_view& line) const;
  void ReadContinuations(LogicalLine& out);

  const DockerfileSource& source_;
  int next_line_ = 1;
  char escape_ = '\\';
  bool directives_end_ = false;  // Directives are only at the top.
  std::vector<ParserDirective> directives_;
  std::vector<std::string> comments_;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_LEXER_H_
