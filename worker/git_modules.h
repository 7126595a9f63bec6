#ifndef FARM_WORKER_GIT_MODULES_H_
#define FARM_WORKER_GIT_MODULES_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// What a commit's file .gitmodules says of one submodule: gitmodules(5).
struct GitModule {
  std::string name;  // fit to be a path below .git/modules
  std::string url;   // as it is written; "" if it is not
  std::string update;
};

// By path, of what `git config --null --list` prints of such a file. A submodule whose name git
// would not make a directory of, or that has no path, is not there. Of two with one path the later
// counts, of two values the last.
std::map<std::string, GitModule> ParseGitModules(absl::string_view printed);

// Where the URL of a submodule leads: "./x" and "../x" are seen from the URL of the repository that
// it is of, as git has it.
//   INVALID_ARGUMENT  it leads out of that one's host, or is no http or https URL
absl::StatusOr<std::string> SubmoduleUrl(absl::string_view parent_url, absl::string_view url);

}  // namespace farm

#endif  // FARM_WORKER_GIT_MODULES_H_
