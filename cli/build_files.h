#ifndef FARM_CLI_BUILD_FILES_H_
#define FARM_CLI_BUILD_FILES_H_

#include <string>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "dockerfile/dockerignore.h"

namespace farm {

// What a build reads besides its context's files.
struct BuildFiles {
  std::string context_directory;  // "" for a build without context
  std::string dockerfile_name;    // as the person named it, for messages
  std::string dockerfile;
  std::string ignore_text;
  DockerIgnore ignore;
};

// Finds the Dockerfile, which may lie outside of the context, and the ignore file: that of the
// Dockerfile ("build/app.Dockerfile.dockerignore") before the context's .dockerignore.
//
// `context`: a directory; "-" takes the Dockerfile from `standard_input` and has no context.
// `file`: -f; "" is Dockerfile in the context, "-" is `standard_input`.
//   NOT_FOUND         no such context or Dockerfile, in docker's words; says what may be meant
//   INVALID_ARGUMENT  not a directory, both from standard input, a bad ignore file
//   UNIMPLEMENTED     a URL
absl::StatusOr<BuildFiles> ReadBuildFiles(const std::string& context, const std::string& file,
                                          ByteSource& standard_input);

// OK if `context` is a directory, else the errors above.
absl::Status CheckContextDirectory(const std::string& context);

// The context's .dockerignore; ignores nothing if there is none. INVALID_ARGUMENT, with position.
absl::StatusOr<DockerIgnore> ReadContextIgnore(const std::string& context);

}  // namespace farm

#endif  // FARM_CLI_BUILD_FILES_H_
