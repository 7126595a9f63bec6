#ifndef FARM_CLI_NAMED_CONTEXTS_H_
#define FARM_CLI_NAMED_CONTEXTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plan/named_context.h"

namespace farm {

// One --build-context.
struct ContextFlag {
  std::string name;       // as ContextName() has it
  std::string directory;  // of files that are here; "" for the other kinds
  NamedContext context;   // with kFiles its index is its place in the list, from 1
};

// Reads texts "NAME=VALUE", where VALUE is a directory, docker-image://REFERENCE, or the URL of a
// git repository or of a file. The last of a name counts.
//   INVALID_ARGUMENT  no such form, a bad name, reference or URL; names the flag
//   NOT_FOUND         no such directory
//   UNIMPLEMENTED     oci-layout://
absl::StatusOr<std::vector<ContextFlag>> ReadContextFlags(const std::vector<std::string>& texts);

// As plans take them.
std::map<std::string, NamedContext> NamedContextsOf(const std::vector<ContextFlag>& flags);

}  // namespace farm

#endif  // FARM_CLI_NAMED_CONTEXTS_H_
