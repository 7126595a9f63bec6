#ifndef FARM_CLI_PROGRESS_MODEL_H_
#define FARM_CLI_PROGRESS_MODEL_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// One line of a step's output.
struct StepLogLine {
  absl::Duration at;  // since the step started
  std::string text;   // as written, without its line end
};

// A step or a task of the client, as far as it is known.
struct StepView {
  enum class State { kPlanned, kRunning, kDone, kCached, kShared, kFailed, kCancelled, kSkipped };

  int number = 0;  // "#5": in the order in which they began; 0: has not begun
  std::string name;
  State state = State::kPlanned;
  int line = 0;  // in the Dockerfile; 0 if none
  std::string worker;
  std::string phase;   // "waiting", "fetching", "running", "storing"
  std::string detail;  // of a task
  std::vector<std::string> reasons;
  absl::Time started;          // by the clock of whoever watches
  absl::Time started_on_farm;  // its command, by the farm's clock, as log times are
  absl::Duration duration;     // once it has ended
  int exit_code = 0;
  std::string error;             // message, once it has failed
  std::deque<StepLogLine> tail;  // its last lines, at most kTailLinesMax

  static constexpr size_t kTailLinesMax = 40;

  bool has_begun() const { return number != 0; }
  bool has_ended() const { return state != State::kPlanned && state != State::kRunning; }
};

// What is going on in a build: the events so far, summed up. Tells an observer of each change.
class ProgressModel {
 public:
  class Observer {
   public:
    virtual ~Observer() = default;
    virtual void OnBegin(const StepView&) {}
    virtual void OnDetail(const StepView&) {}
    virtual void OnLog(const StepView&, const StepLogLine&) {}
    virtual void OnEnd(const StepView&) {}
    virtual void OnWarning(const v1::BuildWarning&) {}
  };

  // `observer` may be null.
  explicit ProgressModel(Observer* observer) : observer_(observer) {}
  ProgressModel(const ProgressModel&) = delete;
  ProgressModel& operator=(const ProgressModel&) = delete;

  int BeginTask(absl::string_view name, absl::Time now);
  void UpdateTask(int task, absl::string_view detail);
  void EndTask(int task, const absl::Status& status, absl::Time now);
  void Apply(const v1::BuildEvent& event, absl::Time now);

  // Those that have begun, in order.
  const std::vector<const StepView*>& begun() const { return begun_; }
  // Steps that are not done yet and may be needed, and those that are done, without tasks.
  int steps_total() const;
  int steps_done() const;
  absl::Time first_begun() const { return first_begun_; }

  // Null until the build has finished.
  const v1::BuildFinished* finished() const { return finished_.get(); }
  // The step that made the build fail; null if none did.
  const StepView* failed() const;
  const std::vector<v1::BuildWarning>& warnings() const { return warnings_; }
  // The Dockerfile that the farm has found in a context from a URL; null if it has not.
  const v1::DockerfileRead* dockerfile() const { return dockerfile_.get(); }

 private:
  // A line of output is cut here; the rest goes on as the next line.
  static constexpr size_t kLineBytesMax = 16 << 10;

  StepView& Step(int id);
  void Begin(StepView& step, absl::Time now);
  void OnStepStarted(const v1::StepStarted& started, absl::Time event_time, absl::Time now);
  void OnLog(const v1::StepLog& log, absl::Time event_time, absl::Time now);
  void OnStepFinished(const v1::StepFinished& finished, absl::Time now);
  void AddLine(StepView& step, absl::Duration at, std::string text);

  Observer* const observer_;
  std::map<int, std::unique_ptr<StepView>> steps_;  // by id
  std::vector<std::unique_ptr<StepView>> tasks_;
  std::vector<const StepView*> begun_;
  // The beginning of a line whose end has not come, by step and stream.
  std::map<std::pair<int, bool>, std::string> unfinished_lines_;
  std::vector<v1::BuildWarning> warnings_;
  std::unique_ptr<v1::BuildFinished> finished_;
  std::unique_ptr<v1::DockerfileRead> dockerfile_;
  absl::Time first_begun_ = absl::InfiniteFuture();
};

}  // namespace farm

#endif  // FARM_CLI_PROGRESS_MODEL_H_
