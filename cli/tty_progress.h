#ifndef FARM_CLI_TTY_PROGRESS_H_
#define FARM_CLI_TTY_PROGRESS_H_

#include <condition_variable>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "cli/progress.h"
#include "cli/progress_model.h"

namespace farm {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

// The picture of a build in a terminal of this size, line by line, with colours and none wider than
// the terminal: what runs with its last lines of output, and of what is done as much as fits.
// `final`: everything, for the picture that stays.
std::vector<std::string> DrawBuild(const ProgressModel& model, const std::string& title,
                                   TerminalSize size, absl::Time now, bool final);

// Redraws the picture in place, ten times a second and when something happens.
class TtyProgress final : public Progress {
 public:
  TtyProgress(const ProgressOptions& options, std::ostream& out, Clock& clock);
  ~TtyProgress() override;

  int BeginTask(absl::string_view name) override;
  void UpdateTask(int task, absl::string_view detail) override;
  void EndTask(int task, const absl::Status& status) override;
  void OnEvent(const v1::BuildEvent& event) override;
  void Note(absl::string_view line) override;
  void Finish() override;

 private:
  void RedrawUntilFinished();
  void Draw(bool final) FARM_REQUIRES(mu_);

  const ProgressOptions options_;
  std::ostream& out_;
  Clock& clock_;
  Mutex mu_;
  std::condition_variable finished_changed_;
  ProgressModel model_ FARM_GUARDED_BY(mu_){nullptr};
  std::vector<std::string> notes_ FARM_GUARDED_BY(mu_);  // not yet printed above the picture
  size_t lines_drawn_ FARM_GUARDED_BY(mu_) = 0;
  bool finished_ FARM_GUARDED_BY(mu_) = false;
  std::thread redraw_;
};

// Shows the cursor again, for a program that is about to end without Finish(). Async-signal-safe.
void RestoreTerminal();

}  // namespace farm

#endif  // FARM_CLI_TTY_PROGRESS_H_
