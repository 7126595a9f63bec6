#include "base/log.h"

#include <unistd.h>

#include <atomic>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status_macros.h"

namespace farm {
namespace {

std::atomic<LogLevel> minimum_level{LogLevel::kInfo};

bool NeedsQuotes(absl::string_view value) {
  if (value.empty()) return true;
  for (unsigned char c : value) {
    if (c <= ' ' || c == '"' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

}  // namespace

void SetLogLevel(LogLevel level) { minimum_level = level; }

void Log(LogLevel level, absl::string_view event, LogFields fields) {
  if (level < minimum_level.load(std::memory_order_relaxed)) return;
  std::string line = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  absl::StrAppend(&line, " ", absl::string_view(&"DIWE"[static_cast<int>(level)], 1), " ", event);
  for (const auto& [key, value] : fields) {
    absl::StrAppend(&line, " ", key, "=");
    if (NeedsQuotes(value)) {
      // Within double quotes a single one stands for itself.
      absl::StrAppend(&line, "\"",
                      absl::StrReplaceAll(absl::Utf8SafeCEscape(value), {{"\\'", "'"}}), "\"");
    } else {
      absl::StrAppend(&line, value);
    }
  }
  line += '\n';
  // One write a line: lines of several threads and processes don't mix.
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

std::string LogText(const absl::Status& status) {
  const std::string trail = Trail(status);
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message(),
                      trail.empty() ? "" : absl::StrCat(" [", trail, "]"));
}

}  // namespace farm
