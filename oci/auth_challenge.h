#ifndef FARM_OCI_AUTH_CHALLENGE_H_
#define FARM_OCI_AUTH_CHALLENGE_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace farm {

// One way in which a server wants a client to show who it is (RFC 9110, 11.6.1).
struct AuthChallenge {
  std::string scheme;                         // Lower case: "basic", "bearer".
  std::map<std::string, std::string> params;  // Lower-case names: "realm", "service", "scope".
};

// The challenges of a WWW-Authenticate header, in order. What does not parse ends the list; at most
// kAuthChallengesMax are read.
std::vector<AuthChallenge> ParseAuthChallenges(absl::string_view header);

inline constexpr size_t kAuthChallengesMax = 16;

}  // namespace farm

#endif  // FARM_OCI_AUTH_CHALLENGE_H_
