#include "cli/tty_progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/failure_report.h"
#include "cli/human_units.h"
#include "cli/terminal_text.h"

namespace farm {
namespace {

constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);
constexpr size_t kLogLinesPerStep = 6;
constexpr int kColumnsMin = 20;

constexpr char kHideCursor[] = "\x1b[?25l";
constexpr char kShowCursor[] = "\x1b[?25h";
constexpr char kBlue[] = "\x1b[34m";
constexpr char kRed[] = "\x1b[31m";
constexpr char kYellow[] = "\x1b[33m";
constexpr char kFaint[] = "\x1b[2m";
constexpr char kReset[] = "\x1b[0m";

std::atomic<int> g_hidden_cursor_fd{-1};  // For RestoreTerminal(), which a signal may call.

TerminalSize SizeOf(int fd) {
  struct winsize size {};
  if (ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) return {};
  return {.columns = size.ws_col, .rows = size.ws_row};
}

struct Line {
  std::string text;
  std::string right;  // at the right edge
  const char* color = "";
};

std::string Colored(absl::string_view color, const std::string& text) {
  if (color.empty() || !WantsColors()) return text;
  return absl::StrCat(color, text, kReset);
}

// Pads or cuts to the terminal's width. One column stays free: a full line would wrap in some.
std::string Lay(const Line& line, int columns) {
  const size_t width = std::max(kColumnsMin, columns) - 1;
  const size_t right_width = line.right.empty() ? 0 : line.right.size() + 1;
  std::string text = TruncateToWidth(line.text, width - std::min(width, right_width));
  if (!line.right.empty()) {
    text.append(width - std::min(width, DisplayWidth(text) + line.right.size()), ' ');
    text += line.right;
  }
  return Colored(line.color, text);
}

absl::Duration TimeOf(const StepView& step, absl::Time now) {
  return step.has_ended() ? step.duration : now - step.started;
}

Line StepLine(const StepView& step, absl::Time now) {
  Line line = {.text = " => ", .right = Seconds(TimeOf(step, now))};
  switch (step.state) {
    case StepView::State::kCached:
      line.text += "CACHED ";
      line.color = kBlue;
      break;
    case StepView::State::kDone:
    case StepView::State::kShared:
      line.color = kBlue;
      break;
    case StepView::State::kFailed:
      line.text += "ERROR ";
      line.color = kRed;
      break;
    case StepView::State::kCancelled:
      line.text += "CANCELED ";
      line.color = kYellow;
      break;
    default:
      break;
  }
  line.text += HarmlessLine(step.name, false);
  std::string suffix = step.detail;
  if (step.state == StepView::State::kRunning && !step.phase.empty() && step.phase != "running") {
    suffix = step.phase == "waiting" ? "waiting for a worker" : step.phase;
  }
  if (step.state == StepView::State::kShared) suffix = "ran for another build";
  if (!suffix.empty()) absl::StrAppend(&line.text, " (", HarmlessLine(suffix, false), ")");
  return line;
}

size_t LogLines(const StepView& step) {
  return step.state == StepView::State::kRunning ? std::min(kLogLinesPerStep, step.tail.size()) : 0;
}

}  // namespace

std::vector<std::string> DrawBuild(const ProgressModel& model, const std::string& title,
                                   TerminalSize size, absl::Time now, bool final) {
  std::vector<const StepView*> steps = model.begun();
  size_t log_lines = kLogLinesPerStep;
  if (!final) {
    // What runs is shown first of all; then output; then what is done, the latest first.
    const size_t room = std::max(2, size.rows - 2);
    const size_t running = std::count_if(steps.begin(), steps.end(),
                                         [](const StepView* step) { return !step->has_ended(); });
    const size_t for_logs = room > running ? room - running : 0;
    if (running > 0) log_lines = std::min(kLogLinesPerStep, for_logs / running);
    size_t used = 0;
    for (const StepView* step : steps) {
      if (!step->has_ended()) used += 1 + std::min(log_lines, LogLines(*step));
    }
    size_t keep_ended = room > used ? room - used : 0;
    std::vector<const StepView*> shown;
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      if ((*step)->has_ended() && keep_ended == 0) continue;
      if ((*step)->has_ended()) --keep_ended;
      if (shown.size() < room) shown.push_back(*step);
    }
    steps.assign(shown.rbegin(), shown.rend());
  }

  const absl::Duration elapsed = model.first_begun() == absl::InfiniteFuture()
                                     ? absl::ZeroDuration()
                                     : now - model.first_begun();
  std::string head = absl::StrCat("[+] ", title, " ", Seconds(elapsed));
  if (model.steps_total() > 0) {
    absl::StrAppend(&head, " (", model.steps_done(), "/", model.steps_total(), ")");
  }
  if (model.finished() != nullptr) head += model.finished()->has_error() ? " FAILED" : " FINISHED";
  std::vector<std::string> lines = {Lay({.text = head, .right = ""}, size.columns)};
  for (const StepView* step : steps) {
    lines.push_back(Lay(StepLine(*step, now), size.columns));
    const size_t count = final ? 0 : std::min(log_lines, LogLines(*step));
    for (size_t i = step->tail.size() - count; i < step->tail.size(); ++i) {
      const std::string text =
          absl::StrCat(" => => # ", HarmlessLine(step->tail[i].text, /*keep_colors=*/false));
      lines.push_back(Lay({.text = text, .right = "", .color = kFaint}, size.columns));
    }
  }
  return lines;
}

TtyProgress::TtyProgress(const ProgressOptions& options, std::ostream& out, Clock& clock)
    : options_(options), out_(out), clock_(clock), redraw_([this] { RedrawUntilFinished(); }) {}

TtyProgress::~TtyProgress() { Finish(); }

int TtyProgress::BeginTask(absl::string_view name) {
  MutexLock lock(mu_);
  return model_.BeginTask(name, clock_.Now());
}

void TtyProgress::UpdateTask(int task, absl::string_view detail) {
  MutexLock lock(mu_);
  model_.UpdateTask(task, detail);
}

void TtyProgress::EndTask(int task, const absl::Status& status) {
  MutexLock lock(mu_);
  model_.EndTask(task, status, clock_.Now());
}

void TtyProgress::OnEvent(const v1::BuildEvent& event) {
  MutexLock lock(mu_);
  model_.Apply(event, clock_.Now());
}

void TtyProgress::Note(absl::string_view line) {
  MutexLock lock(mu_);
  notes_.emplace_back(line);
}

void TtyProgress::Finish() {
  {
    MutexLock lock(mu_);
    if (finished_) return;
    finished_ = true;
  }
  finished_changed_.notify_all();
  redraw_.join();
  MutexLock lock(mu_);
  Draw(/*final=*/true);
  for (const v1::BuildWarning& warning : model_.warnings()) {
    const v1::DockerfileRead* found = model_.dockerfile();
    const std::string text = WarningText(options_.dockerfile_name,
                                         found != nullptr ? found->text() : options_.dockerfile,
                                         warning.line(), warning.rule(), warning.message());
    out_ << Colored(kYellow, absl::StrCat(" ! ", text)) << "\n";
  }
  if (options_.explain) {
    for (const StepView* step : model_.begun()) {
      for (const std::string& reason : step->reasons) {
        out_ << " " << HarmlessLine(step->name, false) << ": because "
             << HarmlessLine(reason, false) << "\n";
      }
    }
  }
  out_ << FailureReport(model_, options_.dockerfile_name, options_.dockerfile,
                        /*keep_colors=*/WantsColors());
  out_.flush();
}

void TtyProgress::RedrawUntilFinished() {
  MutexLock lock(mu_);
  while (!finished_) {
    lock.WaitFor(finished_changed_, kRedrawInterval);
    if (!finished_) Draw(/*final=*/false);
  }
}

void TtyProgress::Draw(bool final) {
  const std::vector<std::string> lines =
      DrawBuild(model_, options_.title, SizeOf(options_.terminal_fd), clock_.Now(), final);
  // One write a frame, each line overwritten in place and only then cleared to its end: no flicker.
  std::string frame = final ? "" : kHideCursor;
  if (lines_drawn_ > 0) absl::StrAppend(&frame, "\x1b[", lines_drawn_, "A\r");
  for (const std::string& note : notes_) {
    for (const absl::string_view line : absl::StrSplit(note, '\n')) {
      absl::StrAppend(&frame, HarmlessLine(line, false), "\x1b[K\n");
    }
  }
  notes_.clear();
  for (const std::string& line : lines) absl::StrAppend(&frame, line, "\x1b[K\n");
  absl::StrAppend(&frame, "\x1b[J", final ? kShowCursor : "");
  g_hidden_cursor_fd = final ? -1 : options_.terminal_fd;
  lines_drawn_ = lines.size();
  out_ << frame << std::flush;
}

void RestoreTerminal() {
  const int fd = g_hidden_cursor_fd;
  if (fd < 0) return;
  const ssize_t ignored = write(fd, kShowCursor, sizeof(kShowCursor) - 1);
  (void)ignored;
}

}  // namespace farm
