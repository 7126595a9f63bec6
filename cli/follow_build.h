#ifndef FARM_CLI_FOLLOW_BUILD_H_
#define FARM_CLI_FOLLOW_BUILD_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "cli/farm_client.h"
#include "cli/progress.h"

namespace farm {

// The build that is being followed, for whoever wants to cancel it. Safe for concurrent calls.
class BuildHandle {
 public:
  // Cancels the build on the farm; if it has not started yet, as soon as it has.
  void Cancel(FarmClient& client);
  bool cancelled() const;

  // For FollowBuild().
  void SetId(const std::string& id, FarmClient& client);
  std::string id() const;

 private:
  mutable Mutex mu_;
  std::string id_ FARM_GUARDED_BY(mu_);
  bool cancelled_ FARM_GUARDED_BY(mu_) = false;
};

struct FollowOptions {
  // How often in a row a lost stream is joined again without an event in between.
  int attach_attempts_max = 10;
  absl::Duration backoff_min = absl::Milliseconds(100);
  absl::Duration backoff_max = absl::Seconds(5);
};

// Calls `start`, which streams a build's events, and passes each on to `progress` once. If the
// stream is lost on the way it is joined again where it broke off. The last event, or
//   UNAVAILABLE          the farm can't be reached (any more)
//   ABORTED              the farm does not know the build any more, as after its restart: start it
//                        again, what was published is kept
//   FAILED_PRECONDITION  blobs are missing: upload them and start again (also if the build itself
//                        ended so; `progress` does not see that end)
//   and what `start` returns
absl::StatusOr<v1::BuildFinished> FollowBuild(
    FarmClient& client, const std::function<absl::Status(const FarmClient::EventHandler&)>& start,
    Progress& progress, BuildHandle& handle, const FollowOptions& options = {});

}  // namespace farm

#endif  // FARM_CLI_FOLLOW_BUILD_H_
