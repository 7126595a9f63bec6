#include "cli/failure_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "cli/terminal_text.h"
#include "dockerfile/parser.h"

namespace farm {
namespace {

constexpr size_t kTailLinesShown = 20;
constexpr int kLinesAround = 2;

// The last line of the instruction that begins at `line`; `line` itself if it is not known.
int EndLine(const std::string& dockerfile_name, const std::string& dockerfile, int line) {
  auto source = DockerfileSource::Create(dockerfile_name, dockerfile);
  if (!source.ok()) return line;
  const auto file = ParseDockerfile(*std::move(source));
  if (!file.ok()) return line;
  for (const Instruction& instruction : file->instructions) {
    if (instruction.position.line == line) return std::max(line, instruction.end_line);
  }
  return line;
}

}  // namespace

std::string MarkedLines(const std::string& dockerfile_name, const std::string& dockerfile,
                        int line) {
  std::vector<absl::string_view> lines = absl::StrSplit(dockerfile, '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  const int count = static_cast<int>(lines.size());
  if (line < 1 || line > count) return "";
  const int end = std::min(count, EndLine(dockerfile_name, dockerfile, line));
  constexpr absl::string_view kRule = "--------------------\n";
  std::string text = absl::StrCat(dockerfile_name, ":", line, "\n", kRule);
  for (int i = std::max(1, line - kLinesAround); i <= std::min(count, end + kLinesAround); ++i) {
    const absl::string_view mark = line <= i && i <= end ? ">>>" : "   ";
    std::string shown = absl::StrFormat("%4d | %s %s", i, mark, HarmlessLine(lines[i - 1], false));
    shown.erase(shown.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, shown, "\n");
  }
  return absl::StrCat(text, kRule);
}

std::string FailureReport(const ProgressModel& model, const std::string& dockerfile_name,
                          const std::string& dockerfile, bool keep_colors) {
  if (model.finished() == nullptr || !model.finished()->has_error()) return "";
  const v1::ErrorDetail& error = model.finished()->error();
  const StepView* step = model.failed();
  std::string text;
  if (step != nullptr && !step->tail.empty()) {
    absl::StrAppend(&text, "------\n > ", step->name, ":\n");
    const size_t skipped =
        step->tail.size() > kTailLinesShown ? step->tail.size() - kTailLinesShown : 0;
    for (size_t i = skipped; i < step->tail.size(); ++i) {
      absl::StrAppendFormat(&text, "%.3f %s\n", absl::ToDoubleSeconds(step->tail[i].at),
                            HarmlessLine(step->tail[i].text, keep_colors));
    }
    absl::StrAppend(&text, "------\n");
  }
  const int line = error.line() != 0 ? error.line() : step != nullptr ? step->line : 0;
  absl::StrAppend(&text, MarkedLines(dockerfile_name, dockerfile, line));
  return absl::StrCat(text, "ERROR: ", error.message(), "\n");
}

}  // namespace farm
