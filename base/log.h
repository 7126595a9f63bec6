// One line per event on standard error: time, level, event, then key=value pairs.
//
//   LogInfo("lease granted", {{"build", id}, {"step", key.hex()}, {"worker", name}});
//   2026-11-24T05:06:07.123Z I lease granted build=b12 step=9f3a… worker=w1
#ifndef FARM_BASE_LOG_H_
#define FARM_BASE_LOG_H_

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace farm {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// A value with spaces, quotes or control characters is printed quoted and escaped.
using LogFields = std::initializer_list<std::pair<absl::string_view, std::string>>;

// Lines below `level` are dropped; kInfo at start. Safe for concurrent calls, like all here.
void SetLogLevel(LogLevel level);

void Log(LogLevel level, absl::string_view event, LogFields fields = {});
inline void LogDebug(absl::string_view event, LogFields fields = {}) {
  Log(LogLevel::kDebug, event, fields);
}
inline void LogInfo(absl::string_view event, LogFields fields = {}) {
  Log(LogLevel::kInfo, event, fields);
}
inline void LogWarning(absl::string_view event, LogFields fields = {}) {
  Log(LogLevel::kWarning, event, fields);
}
inline void LogError(absl::string_view event, LogFields fields = {}) {
  Log(LogLevel::kError, event, fields);
}

// "CODE: message [trail]", for a field of a log line.
std::string LogText(const absl::Status& status);

}  // namespace farm

#endif  // FARM_BASE_LOG_H_
