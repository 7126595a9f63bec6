#include "cli/progress_model.h"

#include <algorithm>
#include <utility>

namespace farm {
namespace {

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

StepView::State StateOf(v1::StepFinished::Outcome outcome) {
  switch (outcome) {
    case v1::StepFinished::OUTCOME_CACHED:
      return StepView::State::kCached;
    case v1::StepFinished::OUTCOME_SHARED:
      return StepView::State::kShared;
    case v1::StepFinished::OUTCOME_FAILED:
      return StepView::State::kFailed;
    case v1::StepFinished::OUTCOME_CANCELLED:
      return StepView::State::kCancelled;
    case v1::StepFinished::OUTCOME_SKIPPED:
      return StepView::State::kSkipped;
    default:
      return StepView::State::kDone;
  }
}

}  // namespace

int ProgressModel::BeginTask(absl::string_view name, absl::Time now) {
  tasks_.push_back(std::make_unique<StepView>());
  StepView& task = *tasks_.back();
  task.name = std::string(name);
  task.state = StepView::State::kRunning;
  Begin(task, now);
  return static_cast<int>(tasks_.size()) - 1;
}

void ProgressModel::UpdateTask(int task, absl::string_view detail) {
  tasks_[task]->detail = std::string(detail);
  if (observer_ != nullptr) observer_->OnDetail(*tasks_[task]);
}

void ProgressModel::EndTask(int task, const absl::Status& status, absl::Time now) {
  StepView& view = *tasks_[task];
  view.state = status.ok() ? StepView::State::kDone : StepView::State::kFailed;
  view.error = std::string(status.message());
  view.duration = now - view.started;
  if (observer_ != nullptr) observer_->OnEnd(view);
}

void ProgressModel::Apply(const v1::BuildEvent& event, absl::Time now) {
  switch (event.event_case()) {
    case v1::BuildEvent::kPlanned:
      for (const v1::PlannedStep& planned : event.planned().steps()) {
        StepView& step = Step(planned.id());
        step.name = planned.name();
        step.line = planned.line();
      }
      break;
    case v1::BuildEvent::kStepStarted:
      OnStepStarted(event.step_started(), FromProto(event.time()), now);
      break;
    case v1::BuildEvent::kLog:
      OnLog(event.log(), FromProto(event.time()), now);
      break;
    case v1::BuildEvent::kStepFinished:
      OnStepFinished(event.step_finished(), now);
      break;
    case v1::BuildEvent::kWarning:
      warnings_.push_back(event.warning());
      if (observer_ != nullptr) observer_->OnWarning(event.warning());
      break;
    case v1::BuildEvent::kDockerfileRead:
      dockerfile_ = std::make_unique<v1::DockerfileRead>(event.dockerfile_read());
      break;
    case v1::BuildEvent::kFinished:
      finished_ = std::make_unique<v1::BuildFinished>(event.finished());
      break;
    default:
      break;
  }
}

StepView& ProgressModel::Step(int id) {
  std::unique_ptr<StepView>& step = steps_[id];
  if (step == nullptr) step = std::make_unique<StepView>();
  return *step;
}

void ProgressModel::Begin(StepView& step, absl::Time now) {
  if (step.has_begun()) return;
  step.started = now;
  step.number = static_cast<int>(begun_.size()) + 1;
  begun_.push_back(&step);
  first_begun_ = std::min(first_begun_, now);
  if (observer_ != nullptr) observer_->OnBegin(step);
}

void ProgressModel::OnStepStarted(const v1::StepStarted& started, absl::Time event_time,
                                  absl::Time now) {
  StepView& step = Step(started.id());
  if (step.has_ended()) return;
  const bool was_running = step.phase == "running";
  step.state = StepView::State::kRunning;
  step.phase = started.phase();
  step.worker = started.worker();
  if (!started.reasons().empty()) {
    step.reasons.assign(started.reasons().begin(), started.reasons().end());
  }
  // Its output is told by the time since its command began; its own time, as the farm counts it,
  // goes on from the first phase to the last.
  if (!step.has_begun() || (step.phase == "running" && !was_running)) {
    step.started_on_farm = event_time;
  }
  Begin(step, now);
}

void ProgressModel::OnLog(const v1::StepLog& log, absl::Time event_time, absl::Time now) {
  StepView& step = Step(log.id());
  Begin(step, now);
  if (step.started_on_farm == absl::Time()) step.started_on_farm = event_time;
  const absl::Duration at = std::max(absl::ZeroDuration(), event_time - step.started_on_farm);
  std::string& line = unfinished_lines_[{log.id(), log.is_stderr()}];
  for (const char c : log.bytes()) {
    if (c != '\n') line += c;
    if (c == '\n' || line.size() >= kLineBytesMax) AddLine(step, at, std::exchange(line, ""));
  }
}

void ProgressModel::OnStepFinished(const v1::StepFinished& finished, absl::Time now) {
  StepView& step = Step(finished.id());
  if (step.has_ended()) return;
  step.duration =
      absl::Seconds(finished.duration().seconds()) + absl::Nanoseconds(finished.duration().nanos());
  step.exit_code = finished.exit_code();
  step.error = finished.error().message();
  if (finished.outcome() != v1::StepFinished::OUTCOME_SKIPPED) Begin(step, now);
  for (const bool is_stderr : {false, true}) {
    const auto line = unfinished_lines_.find({finished.id(), is_stderr});
    if (line == unfinished_lines_.end()) continue;
    if (!line->second.empty()) AddLine(step, step.duration, std::move(line->second));
    unfinished_lines_.erase(line);
  }
  step.state = StateOf(finished.outcome());
  if (observer_ != nullptr && step.has_begun()) observer_->OnEnd(step);
}

void ProgressModel::AddLine(StepView& step, absl::Duration at, std::string text) {
  step.tail.push_back({at, std::move(text)});
  if (step.tail.size() > StepView::kTailLinesMax) step.tail.pop_front();
  if (observer_ != nullptr) observer_->OnLog(step, step.tail.back());
}

int ProgressModel::steps_total() const {
  return static_cast<int>(std::count_if(steps_.begin(), steps_.end(), [](const auto& step) {
    return step.second->state != StepView::State::kSkipped;
  }));
}

int ProgressModel::steps_done() const {
  return static_cast<int>(std::count_if(steps_.begin(), steps_.end(), [](const auto& step) {
    return step.second->has_ended() && step.second->state != StepView::State::kSkipped;
  }));
}

const StepView* ProgressModel::failed() const {
  if (finished_ == nullptr || !finished_->has_error()) return nullptr;
  const auto step = steps_.find(finished_->failed_step());
  if (step != steps_.end() && step->second->state == StepView::State::kFailed) {
    return step->second.get();
  }
  return nullptr;
}

}  // namespace farm
