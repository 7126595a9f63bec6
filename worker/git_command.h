#ifndef FARM_WORKER_GIT_COMMAND_H_
#define FARM_WORKER_GIT_COMMAND_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"

namespace farm {

// Of what git prints: a line for each file of a commit.
inline constexpr int64_t kGitOutputBytesMax = int64_t{256} << 20;

struct GitOptions {
  // "section.key" and value, beside those that every call has. They are seen in no list of
  // processes.
  std::vector<std::pair<std::string, std::string>> config;
  std::string ca_file;         // PEM; "" is the system's
  int64_t file_bytes_max = 0;  // of any one file that it writes, packs above all
  absl::Time deadline;
  CancelToken& cancel;
};

// Runs the host's git to its end: `git ARGS...`; returns what it printed. It reads no configuration
// but the repository's and what is given here, runs no hooks, asks nobody, speaks http and https
// alone, follows no redirects, and gets none of our environment but PATH and the proxies.
//   INVALID_ARGUMENT  it ended with an error: the last line that it said; or it printed more than
//                     kGitOutputBytesMax
//   UNAVAILABLE       this host has no git, or one that is older than 2.37; another may have it
//   DEADLINE_EXCEEDED, CANCELLED: it was killed, with all that it had started
absl::StatusOr<std::string> RunGit(const std::vector<std::string>& args, const GitOptions& options);

}  // namespace farm

#endif  // FARM_WORKER_GIT_COMMAND_H_
