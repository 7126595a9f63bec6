#ifndef FARM_CLI_PLAIN_PROGRESS_H_
#define FARM_CLI_PLAIN_PROGRESS_H_

#include <ostream>

#include "base/clock.h"
#include "base/mutex.h"
#include "cli/progress.h"
#include "cli/progress_model.h"

namespace farm {

// One line per happening, in the form that tools know from BuildKit:
//
//   #5 [build 2/5] RUN make
//   #5 0.123 cc -c main.c
//   #5 DONE 0.3s
//
// Where two steps write in turns, "#5 ..." says that step 5 goes on later.
class PlainProgress final : public Progress, private ProgressModel::Observer {
 public:
  // `is_terminal`: what the steps print is made harmless, else it is passed on as it is. Their
  // names and errors are made harmless anyway.
  PlainProgress(const ProgressOptions& options, bool is_terminal, std::ostream& out, Clock& clock);

  int BeginTask(absl::string_view name) override;
  void UpdateTask(int task, absl::string_view detail) override;
  void EndTask(int task, const absl::Status& status) override;
  void OnEvent(const v1::BuildEvent& event) override;
  void Note(absl::string_view line) override;
  void Finish() override;

 private:
  void OnBegin(const StepView& step) override;
  void OnLog(const StepView& step, const StepLogLine& line) override;
  void OnEnd(const StepView& step) override;
  void OnWarning(const v1::BuildWarning& warning) override;

  void SwitchTo(const StepView& step);
  void EndCurrent();

  const ProgressOptions options_;
  const bool is_terminal_;
  std::ostream& out_;
  Clock& clock_;
  Mutex mu_;
  ProgressModel model_ FARM_GUARDED_BY(mu_){this};
  const StepView* current_ = nullptr;  // The step whose lines were printed last; also under mu_.
};

}  // namespace farm

#endif  // FARM_CLI_PLAIN_PROGRESS_H_
