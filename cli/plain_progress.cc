#include "cli/plain_progress.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/failure_report.h"
#include "cli/human_units.h"
#include "cli/terminal_text.h"

namespace farm {

PlainProgress::PlainProgress(const ProgressOptions& options, bool is_terminal, std::ostream& out,
                             Clock& clock)
    : options_(options), is_terminal_(is_terminal), out_(out), clock_(clock) {}

int PlainProgress::BeginTask(absl::string_view name) {
  MutexLock lock(mu_);
  return model_.BeginTask(name, clock_.Now());
}

void PlainProgress::UpdateTask(int task, absl::string_view detail) {
  MutexLock lock(mu_);
  model_.UpdateTask(task, detail);  // Shown once, at the end.
}

void PlainProgress::EndTask(int task, const absl::Status& status) {
  MutexLock lock(mu_);
  model_.EndTask(task, status, clock_.Now());
}

void PlainProgress::OnEvent(const v1::BuildEvent& event) {
  MutexLock lock(mu_);
  model_.Apply(event, clock_.Now());
  out_.flush();
}

void PlainProgress::Note(absl::string_view line) {
  MutexLock lock(mu_);
  EndCurrent();
  out_ << HarmlessText(line) << std::endl;
}

void PlainProgress::Finish() {
  MutexLock lock(mu_);
  EndCurrent();
  out_ << FailureReport(model_, options_.dockerfile_name, options_.dockerfile,
                        is_terminal_ && WantsColors());
  out_.flush();
}

void PlainProgress::OnBegin(const StepView& step) {
  SwitchTo(step);
  for (const std::string& reason : step.reasons) {
    out_ << "#" << step.number << " because " << HarmlessLine(reason, false) << "\n";
  }
}

void PlainProgress::OnLog(const StepView& step, const StepLogLine& line) {
  SwitchTo(step);
  std::string text = is_terminal_ ? HarmlessLine(line.text, WantsColors()) : line.text;
  if (!text.empty() && text.back() == '\r') text.pop_back();
  out_ << absl::StrFormat("#%d %.3f ", step.number, absl::ToDoubleSeconds(line.at)) << text << "\n";
}

void PlainProgress::OnEnd(const StepView& step) {
  SwitchTo(step);
  const std::string prefix = absl::StrCat("#", step.number, " ");
  if (!step.detail.empty()) out_ << prefix << HarmlessLine(step.detail, false) << "\n";
  switch (step.state) {
    case StepView::State::kCached:
      out_ << prefix << "CACHED\n";
      break;
    case StepView::State::kShared:
      out_ << prefix << "DONE " << Seconds(step.duration) << " (ran for another build)\n";
      break;
    case StepView::State::kFailed:
      out_ << prefix << "ERROR: " << HarmlessText(step.error) << "\n";
      break;
    case StepView::State::kCancelled:
      out_ << prefix << "CANCELED\n";
      break;
    default:
      out_ << prefix << "DONE " << Seconds(step.duration) << "\n";
  }
  out_ << std::endl;
  current_ = nullptr;
}

void PlainProgress::OnWarning(const v1::BuildWarning& warning) {
  EndCurrent();
  const v1::DockerfileRead* found = model_.dockerfile();
  out_ << "WARNING: "
       << WarningText(options_.dockerfile_name,
                      found != nullptr ? found->text() : options_.dockerfile, warning.line(),
                      warning.rule(), warning.message())
       << "\n";
}

void PlainProgress::SwitchTo(const StepView& step) {
  if (current_ == &step) return;
  EndCurrent();
  current_ = &step;
  out_ << "#" << step.number << " " << HarmlessLine(step.name, false) << "\n";
}

void PlainProgress::EndCurrent() {
  if (current_ != nullptr) out_ << "#" << current_->number << " ...\n\n";
  current_ = nullptr;
}

}  // namespace farm
