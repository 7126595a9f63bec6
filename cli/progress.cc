#include "cli/progress.h"

#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "cli/failure_report.h"
#include "cli/plain_progress.h"
#include "cli/progress_model.h"
#include "cli/terminal_text.h"
#include "cli/tty_progress.h"
#include "cli/waiting_notice.h"

namespace farm {
namespace {

// Each event as one line of JSON (proto3's JSON mapping of farm.v1.BuildEvent).
class RawJsonProgress final : public Progress {
 public:
  explicit RawJsonProgress(std::ostream& out) : out_(out) {}

  int BeginTask(absl::string_view) override { return 0; }
  void UpdateTask(int, absl::string_view) override {}
  void EndTask(int, const absl::Status&) override {}
  void OnEvent(const v1::BuildEvent& event) override {
    std::string json;
    google::protobuf::util::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    if (google::protobuf::util::MessageToJsonString(event, &json, options).ok()) {
      MutexLock lock(mu_);
      out_ << json << std::endl;
    }
  }
  void Note(absl::string_view) override {}
  void Finish() override {}

 private:
  Mutex mu_;
  std::ostream& out_;
};

// Says nothing but what failed.
class QuietProgress final : public Progress {
 public:
  QuietProgress(const ProgressOptions& options, std::ostream& out, Clock& clock)
      : options_(options), out_(out), clock_(clock) {}

  int BeginTask(absl::string_view) override { return 0; }
  void UpdateTask(int, absl::string_view) override {}
  void EndTask(int, const absl::Status&) override {}
  void OnEvent(const v1::BuildEvent& event) override {
    MutexLock lock(mu_);
    model_.Apply(event, clock_.Now());
  }
  void Note(absl::string_view line) override {
    MutexLock lock(mu_);
    out_ << HarmlessText(line) << std::endl;
  }
  void Finish() override {
    MutexLock lock(mu_);
    out_ << FailureReport(model_, options_.dockerfile_name, options_.dockerfile, false)
         << std::flush;
  }

 private:
  const ProgressOptions options_;
  std::ostream& out_;
  Clock& clock_;
  Mutex mu_;
  ProgressModel model_ FARM_GUARDED_BY(mu_){nullptr};
};

}  // namespace

absl::StatusOr<ProgressMode> ParseProgressMode(absl::string_view text) {
  const char* from_environment = std::getenv("BUILDKIT_PROGRESS");
  if ((text.empty() || text == "auto") && from_environment != nullptr) text = from_environment;
  if (text.empty() || text == "auto") return ProgressMode::kAuto;
  if (text == "tty") return ProgressMode::kTty;
  if (text == "plain") return ProgressMode::kPlain;
  if (text == "rawjson") return ProgressMode::kRawJson;
  if (text == "quiet") return ProgressMode::kQuiet;
  return absl::InvalidArgumentError(
      absl::StrCat("--progress: '", text, "' is not one of auto, tty, plain, rawjson, quiet"));
}

std::unique_ptr<Progress> MakeProgress(const ProgressOptions& options, std::ostream& err,
                                       Clock& clock) {
  const char* terminal = std::getenv("TERM");
  const bool is_terminal = isatty(options.terminal_fd) == 1;
  const bool can_redraw =
      is_terminal && terminal != nullptr && absl::string_view(terminal) != "dumb";
  switch (options.mode) {
    case ProgressMode::kQuiet:
      return std::make_unique<WaitingNotice>(std::make_unique<QuietProgress>(options, err, clock),
                                             clock);
    case ProgressMode::kRawJson:
      return std::make_unique<RawJsonProgress>(err);
    case ProgressMode::kAuto:
      if (!can_redraw) break;
      [[fallthrough]];
    case ProgressMode::kTty:
      return std::make_unique<TtyProgress>(options, err, clock);
    case ProgressMode::kPlain:
      break;
  }
  return std::make_unique<WaitingNotice>(
      std::make_unique<PlainProgress>(options, is_terminal, err, clock), clock);
}

}  // namespace farm
