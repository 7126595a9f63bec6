#ifndef FARM_CLI_PROGRESS_H_
#define FARM_CLI_PROGRESS_H_

#include <memory>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// Shows a person, or a program, what a build does. Receives events in order and returns quickly.
// Safe for concurrent calls.
class Progress {
 public:
  virtual ~Progress() = default;

  // Work of the client itself, shown as a step is: "[internal] load build context".
  // Returns a number for the two calls below.
  virtual int BeginTask(absl::string_view name) = 0;
  virtual void UpdateTask(int task, absl::string_view detail) = 0;
  virtual void EndTask(int task, const absl::Status& status) = 0;

  virtual void OnEvent(const v1::BuildEvent& event) = 0;
  // A line of the client's own: "connection lost, trying again".
  virtual void Note(absl::string_view line) = 0;

  // The last call: leaves the terminal as it was, and says what failed, if something did.
  virtual void Finish() = 0;
};

enum class ProgressMode { kAuto, kTty, kPlain, kRawJson, kQuiet };

// As docker, "auto" leaves the choice to $BUILDKIT_PROGRESS, if that is set. INVALID_ARGUMENT lists
// what there is.
absl::StatusOr<ProgressMode> ParseProgressMode(absl::string_view text);

struct ProgressOptions {
  ProgressMode mode = ProgressMode::kAuto;
  std::string title = "Building";  // "Pulling", ...
  std::string dockerfile_name;     // with the text below: to show the lines of what failed
  std::string dockerfile;
  bool explain = false;
  int terminal_fd = 2;  // asked for its size, and whether it is a terminal at all
};

// `err` and `clock` must outlive the result.
std::unique_ptr<Progress> MakeProgress(const ProgressOptions& options, std::ostream& err,
                                       Clock& clock);

}  // namespace farm

#endif  // FARM_CLI_PROGRESS_H_
