#ifndef FARM_PLAN_NAMED_CONTEXT_H_
#define FARM_PLAN_NAMED_CONTEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plan/plan.h"

namespace farm {

// What --build-context gives for a name, in place of a stage or an image of that name.
struct NamedContext {
  enum class Kind {
    kFiles,   // of the client: FileSystemRef of kContext with `index`
    kImage,   // a reference, or "scratch"
    kRemote,  // to be fetched
  };
  Kind kind = Kind::kFiles;
  int index = 0;
  std::string image;
  RemoteSource remote;
};

// A context's name as names are compared: as image references are, so that "alpine",
// "alpine:latest" and "docker.io/library/alpine" are one. INVALID_ARGUMENT for what is none.
absl::StatusOr<std::string> ContextName(absl::string_view name);

}  // namespace farm

#endif  // FARM_PLAN_NAMED_CONTEXT_H_
