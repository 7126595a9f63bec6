#include "cli/failure_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/redact_url.h"
#include "base/source_position.h"
#include "cli/terminal_text.h"
#include "dockerfile/parser.h"

namespace farm {
namespace {

constexpr size_t kTailLinesShown = 20;
constexpr size_t kSourceLineShownBytes = 1000;  // longer ones are clipped

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

// Tabs stay: they stand as the person wrote them.
std::string HarmlessSource(absl::string_view line) {
  if (line.size() > kSourceLineShownBytes) {
    // At a whole character.
    size_t end = kSourceLineShownBytes;
    while (end > 0 && (line[end] & 0xc0) == 0x80) --end;
    return absl::StrCat(HarmlessSource(line.substr(0, end)), " [", line.size() - end,
                        " bytes more]");
  }
  return absl::StrJoin(absl::StrSplit(line, '\t'), "\t",
                       [](std::string* out, absl::string_view piece) {
                         *out += HarmlessLine(piece, /*keep_colors=*/false);
                       });
}

}  // namespace

std::string MarkedLines(const std::string& dockerfile_name, const std::string& dockerfile,
                        int first, int last) {
  const std::vector<absl::string_view> lines = absl::StrSplit(dockerfile, '\n');
  const int count = static_cast<int>(lines.size());
  if (first < 1 || first > count) return "";
  last = std::clamp(last, first, count);
  int shown_first = first;
  int shown_last = last;
  const int pad = first == last ? 4 : 2;
  for (int padded = 0; padded < pad; ++padded) {
    if (shown_first > 1) --shown_first, ++padded;
    if (shown_last != count) ++shown_last, ++padded;
  }
  constexpr absl::string_view kRule = "--------------------\n";
  std::string text = absl::StrCat(HarmlessLine(dockerfile_name, false), ":", first, "\n", kRule);
  for (int i = shown_first; i <= shown_last; ++i) {
    absl::StrAppendFormat(&text, "%4d | %s %s\n", i, first <= i && i <= last ? ">>>" : "   ",
                          HarmlessSource(RedactUrls(lines[i - 1])));
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
    absl::StrAppend(&text, "------\n > ", HarmlessLine(step->name, false), ":\n");
    const size_t skipped =
        step->tail.size() > kTailLinesShown ? step->tail.size() - kTailLinesShown : 0;
    for (size_t i = skipped; i < step->tail.size(); ++i) {
      absl::StrAppendFormat(&text, "%.3f %s\n", absl::ToDoubleSeconds(step->tail[i].at),
                            HarmlessLine(step->tail[i].text, keep_colors));
    }
    absl::StrAppend(&text, "------\n");
  }
  const int line = error.line() != 0 ? error.line() : step != nullptr ? step->line : 0;
  const v1::DockerfileRead* found = model.dockerfile();
  const std::string& shown = found != nullptr ? found->text() : dockerfile;
  absl::StrAppend(&text,
                  MarkedLines(dockerfile_name, shown, line, EndLine(dockerfile_name, shown, line)));
  return absl::StrCat(text, "ERROR: ", HarmlessText(error.message()), "\n");
}

std::string WarningText(const std::string& dockerfile_name, absl::string_view dockerfile, int line,
                        absl::string_view rule, absl::string_view message) {
  std::string text;
  if (line > 0) {
    const std::vector<absl::string_view> lines =
        absl::StrSplit(dockerfile, absl::MaxSplits('\n', line));
    const size_t index = static_cast<size_t>(line) - 1;
    const size_t indent = index < lines.size() ? lines[index].find_first_not_of(" \t") : 0;
    const SourcePosition position{
        .file = dockerfile_name,
        .line = line,
        .column = indent == absl::string_view::npos ? 1 : static_cast<int>(indent) + 1};
    text = absl::StrCat(HarmlessLine(position.ToString(), false), ": ");
  }
  if (!rule.empty()) absl::StrAppend(&text, HarmlessLine(rule, false), ": ");
  return absl::StrCat(text, HarmlessText(message));
}

}  // namespace farm
