#ifndef FARM_WORKER_GIT_REPOSITORY_H_
#define FARM_WORKER_GIT_REPOSITORY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/git_command.h"
#include "worker/step_executor.h"
#include "worker/step_tools.h"

namespace farm {

// A repository that was found to be there, and how git gets to it.
struct GitRepository {
  std::string url;    // after redirects; without user
  std::string shown;  // as it was named, without user
  GitOptions git;
};

// Asks the server by our own client, which checks addresses and follows redirects; git is then told
// where that led, and does neither. `authorization` goes to the origin of `remote` alone; a user in
// the URL counts if it is "".
//   INVALID_ARGUMENT, DEADLINE_EXCEEDED, CANCELLED as SourceClient::Get()
absl::StatusOr<GitRepository> ReachGitRepository(const StepTools& tools, const StepRun& run,
                                                 const std::string& remote,
                                                 const std::string& authorization,
                                                 absl::Time deadline);

// RunGit() for the repository; errors name it.
absl::StatusOr<std::string> RunGitFor(const GitRepository& repository,
                                      const std::vector<std::string>& args);

}  // namespace farm

#endif  // FARM_WORKER_GIT_REPOSITORY_H_
