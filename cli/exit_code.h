#ifndef FARM_CLI_EXIT_CODE_H_
#define FARM_CLI_EXIT_CODE_H_

#include "absl/status/status.h"

namespace farm {

// Exit statuses of `farm`.
enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,         // the build or command failed for what it was given
  kExitUsage = 2,          // the command line is wrong
  kExitFarmTrouble = 3,    // the farm can't be reached, refuses, or is broken
  kExitInterrupted = 130,  // by Ctrl-C, as shells count it
};

// The exit status for an error: who can mend it, the person at the keyboard or those of the farm.
inline int ExitCodeFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitDone;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kInternal:
      return kExitFarmTrouble;
    default:
      return kExitFailed;
  }
}

}  // namespace farm

#endif  // FARM_CLI_EXIT_CODE_H_
