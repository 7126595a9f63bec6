#ifndef FARM_TESTS_TESTING_IMAGE_FACTS_H_
#define FARM_TESTS_TESTING_IMAGE_FACTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"

namespace farm {

// What can be said of an image, so that two of them are compared fact by fact: "/etc/passwd mode"
// is "0644", "config WorkingDir" is "\"/srv\"".
using Facts = std::map<std::string, std::string>;

// Of a root file system in a tar: for each path its type, mode, owner, mtime, and as it has them
// content (short ones as text), target, device, "xattr NAME", and "link" to the first in order of
// its other names. Times from `start` on are "now": the build made them.
absl::StatusOr<Facts> FactsOfTree(ByteSource& tar, absl::Time start);

// Of an image config: what a container is started with, history, and how many layers there are.
// Members that are null, empty, 0 or false count as absent, and times and digests are left out.
absl::StatusOr<Facts> FactsOfConfig(absl::string_view json);

// FactsOfConfig() of each image in a `docker save` archive, by name ("app:1").
absl::StatusOr<std::map<std::string, Facts>> FactsOfArchive(ByteSource& archive);

// The lines of a text that are indented by four spaces and hold " = ", as name and value. Others
// are prose.
Facts ParseFacts(absl::string_view text);

// How `found` is unlike `reference`, a line each. `differing` names the facts in which it has to
// be, with the values that it must have; a fact of these that is equal in both is reported as well.
std::vector<std::string> Differences(const Facts& reference, const Facts& found,
                                     const Facts& differing);

}  // namespace farm

#endif  // FARM_TESTS_TESTING_IMAGE_FACTS_H_
