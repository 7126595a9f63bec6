#include "dockerfile/source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace farm {

std::string LowerCaseDockerfile(absl::string_view path) {
  const absl::string_view directory = path.substr(0, path.rfind('/') + 1);
  if (path.substr(directory.size()) != "Dockerfile") return "";
  return absl::StrCat(directory, "dockerfile");
}

absl::StatusOr<DockerfileSource> DockerfileSource::Create(std::string file, std::string text) {
  const SourcePosition whole{.file = file};
  if (text.size() > kDockerfileBytesMax) {
    return ErrorAt(whole, absl::StrCat("the Dockerfile has ", text.size(),
                                       " bytes, more than the limit of ", kDockerfileBytesMax));
  }
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) text.erase(0, 3);
  if (text.empty()) return ErrorAt(whole, "the Dockerfile is empty");
  DockerfileSource source(std::move(file), std::move(text));
  if (const size_t nul = source.text_.find('\0'); nul != std::string::npos) {
    return ErrorAt(source.PositionAt(nul),
                   "the Dockerfile has a NUL byte: it is not a text file in UTF-8");
  }
  return source;
}

DockerfileSource::DockerfileSource(std::string file, std::string text)
    : file_(std::move(file)), text_(std::move(text)) {
  for (size_t start = 0; start < text_.size();) {
    line_starts_.push_back(start);
    const size_t end = text_.find('\n', start);
    start = end == std::string::npos ? text_.size() : end + 1;
  }
}

absl::string_view DockerfileSource::LineWithEnd(int line) const {
  if (line < 1 || line > line_count()) return "";
  const size_t start = LineStart(line);
  const size_t end = line == line_count() ? text_.size() : LineStart(line + 1);
  return text().substr(start, end - start);
}

absl::string_view DockerfileSource::Line(int line) const {
  absl::string_view text = LineWithEnd(line);
  while (absl::ConsumeSuffix(&text, "\n") || absl::ConsumeSuffix(&text, "\r")) {
  }
  return text;
}

SourcePosition DockerfileSource::PositionAt(size_t offset) const {
  const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
  const int line = static_cast<int>(next - line_starts_.begin());
  return {.file = file_, .line = line, .column = static_cast<int>(offset - LineStart(line)) + 1};
}

absl::Status DockerfileSource::Error(const SourcePosition& position,
                                     absl::string_view message) const {
  return ErrorAt(position, message, Line(position.line));
}

}  // namespace farm
