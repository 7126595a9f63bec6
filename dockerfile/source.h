#ifndef FARM_DOCKERFILE_SOURCE_H_
#define FARM_DOCKERFILE_SOURCE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/source_position.h"

namespace farm {

// Largest Dockerfile that is read. People's are some kB; generated ones may be large.
inline constexpr size_t kDockerfileBytesMax = 10'000'000;

// As docker has it, a "dockerfile" is taken where there is no "Dockerfile": its path, beside that
// of the Dockerfile `path`. "" if the file at `path` has another name.
std::string LowerCaseDockerfile(absl::string_view path);

// A Dockerfile's text and its file name, for messages that point at a place in it. Immutable.
class DockerfileSource {
 public:
  // `file` is the name as the person gave it. A byte order mark is dropped. INVALID_ARGUMENT for an
  // empty text, one over kDockerfileBytesMax, or one with a NUL byte (a binary or UTF-16 file).
  static absl::StatusOr<DockerfileSource> Create(std::string file, std::string text);

  const std::string& file() const { return file_; }
  absl::string_view text() const { return text_; }

  int line_count() const { return static_cast<int>(line_starts_.size()); }
  // Line `line` (from 1) without its line end; "" if there is none.
  absl::string_view Line(int line) const;
  // Line `line` with its "\n" or "\r\n"; the last may have none.
  absl::string_view LineWithEnd(int line) const;
  // Offset in text() of the first byte of line `line`, which must exist.
  size_t LineStart(int line) const { return line_starts_[line - 1]; }

  SourcePosition PositionAt(size_t offset) const;
  // An error that points at `position` and quotes its line.
  absl::Status Error(const SourcePosition& position, absl::string_view message) const;

 private:
  DockerfileSource(std::string file, std::string text);

  std::string file_;
  std::string text_;
  std::vector<size_t> line_starts_;
};

}  // namespace farm

#endif  // FARM_DOCKERFILE_SOURCE_H_
