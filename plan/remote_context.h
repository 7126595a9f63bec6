#ifndef FARM_PLAN_REMOTE_CONTEXT_H_
#define FARM_PLAN_REMOTE_CONTEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plan/plan.h"

namespace farm {

// The URL that `context` names, as it is fetched: of a git repository, or of a file. A path that
// begins with "github.com/" becomes the https URL of that repository. "" if it is no URL; a
// directory of that name goes before it, which is for the caller to see.
std::string RemoteContextUrl(absl::string_view context);

// What has to be fetched for `url`, one that RemoteContextUrl() gave. The one file of an http URL
// is named "context".
//   INVALID_ARGUMENT  a bad reference, a query that no git repository has, a transport that no
//                     worker can use
absl::StatusOr<RemoteSource> RemoteContext(const std::string& url);

}  // namespace farm

#endif  // FARM_PLAN_REMOTE_CONTEXT_H_
