#ifndef FARM_WORKER_USER_DATABASE_H_
#define FARM_WORKER_USER_DATABASE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

struct ResolvedUser {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // Supplementary.
  std::string home = "/";
};

// Who "name", "uid", "name:group", "uid:gid" and their mixtures are in the root `root_fd`, by its
// /etc/passwd and /etc/group, as Docker reads them: the first matching line wins, a number need not
// be listed, supplementary groups come only without an explicit group, and "" is 0:0.
//   INVALID_ARGUMENT  "unable to find user NAME: no matching entries in passwd file" (or group), or
//                     a number outside of 0..2^31-1
absl::StatusOr<ResolvedUser> ResolveUser(int root_fd, absl::string_view user);

// Whom files belong to that COPY, ADD and WORKDIR make for such a text, as BuildKit has it: a
// number is user and group alike and is not looked up, "root" is 0, and no user before the colon is
// 0. Sets neither groups nor home. Errors as above.
absl::StatusOr<ResolvedUser> ResolveOwner(int root_fd, absl::string_view owner);

// The same on the text of the two files.
absl::StatusOr<ResolvedUser> ResolveUserIn(absl::string_view passwd, absl::string_view group,
                                           absl::string_view user);
absl::StatusOr<ResolvedUser> ResolveOwnerIn(absl::string_view passwd, absl::string_view group,
                                            absl::string_view owner);

}  // namespace farm

#endif  // FARM_WORKER_USER_DATABASE_H_
