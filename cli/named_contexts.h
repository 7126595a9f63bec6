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
  std::string layout;     // OCI layout that is here; "" for the other kinds
  // With kFiles its index is its place in the list, from 1. With a layout it is an image of the
  // flag's name, with the digest that it has there.
  NamedContext context;
};

// Reads texts "NAME=VALUE", where VALUE is a directory, docker-image://REFERENCE,
// oci-layout://DIRECTORY[:TAG][@DIGEST] (without a digest its index.json says what TAG, or
// "latest", is), or the URL of a git repository or of a file. The last of a name counts.
//   INVALID_ARGUMENT  no such form, a bad name, reference or URL; names the flag
//   NOT_FOUND         no such directory, no such image in a layout
absl::StatusOr<std::vector<ContextFlag>> ReadContextFlags(const std::vector<std::string>& texts);

// As plans take them.
std::map<std::string, NamedContext> NamedContextsOf(const std::vector<ContextFlag>& flags);

}  // namespace farm

#endif  // FARM_CLI_NAMED_CONTEXTS_H_
