#ifndef FARM_CLI_EXIT_CODE_H_
#define FARM_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "absl/strings/cord.h"

namespace farm {

// Exit statuses of `farm`.
enum ExitCode {
  kExitDone = 0,
  kExitFailed = 1,         // the build or command failed for what it was given
  kExitUsage = 2,          // the command line is wrong
  kExitFarmTrouble = 3,    // the farm can't be reached, refuses, or is broken
  kExitInterrupted = 130,  // by Ctrl-C, as shells count it
};

// Payload of an error that arose on this machine, from the person's own files and programs.
inline constexpr char kLocalErrorPayload[] = "farm/local-error";

// Says so of `status`, whose code alone could also mean the farm: a full disk, a file that may not
// be read. OK stays OK.
inline absl::Status AsLocalError(absl::Status status) {
  status.SetPayload(kLocalErrorPayload, absl::Cord());
  return status;
}

inline bool IsLocalError(const absl::Status& status) {
  return status.GetPayload(kLocalErrorPayload).has_value();
}

// Payload of an error in what the command line or the configuration says.
inline constexpr char kUsageErrorPayload[] = "farm/usage-error";

// Says so of `status`, whose code alone could also mean what a command was given to work on. OK
// stays OK. It is a usage error also if AsLocalError() says more generally that it arose here.
inline absl::Status AsUsageError(absl::Status status) {
  status.SetPayload(kUsageErrorPayload, absl::Cord());
  return status;
}

// The exit status for an error: who can mend it, the person at the keyboard or those of the farm.
inline int ExitCodeFor(const absl::Status& status) {
  if (status.GetPayload(kUsageErrorPayload).has_value()) return kExitUsage;
  if (IsLocalError(status)) return kExitFailed;
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
