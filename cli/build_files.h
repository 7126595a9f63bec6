#ifndef FARM_CLI_BUILD_FILES_H_
#define FARM_CLI_BUILD_FILES_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "cli/temporaries.h"
#include "dockerfile/dockerignore.h"

namespace farm {

struct IgnoreFile {
  std::string name;  // for messages
  std::string text;  // "" if there is none
  DockerIgnore ignore;
};

// What a build reads besides its context's files.
struct BuildFiles {
  std::string context_directory;  // "" for a build without context, or with one from a URL
  // A context that the farm fetches, and where in it the Dockerfile is, if that is not given here;
  // "" for Dockerfile.
  std::string context_url;
  std::string dockerfile_path;
  // Where the context of a tar was unpacked, for as long as somebody uses it; null for others.
  std::shared_ptr<ScopedTemporary> unpacked;
  std::string dockerfile_name;  // as the person named it, for messages
  std::string dockerfile;       // "" if it is in a context from a URL
  IgnoreFile ignore_file;
};

// Finds the Dockerfile, which may lie outside of the context, and the ignore file: that of the
// Dockerfile ("build/app.Dockerfile.dockerignore") before the context's .dockerignore.
//
// `context`: a directory; "-" takes from `standard_input` a tar (plain, or compressed by gzip,
// zstd, bzip2 or xz), which is unpacked under $TMPDIR, else /var/tmp, or a Dockerfile, and then
// there is no context; what is no directory may be a URL, which is not asked here. `file`: -f; ""
// is Dockerfile in the context, "-" is `standard_input`. In a tar it is a path within, and links
// lead nowhere else; with a URL, too, unless it is absolute. Where there is no Dockerfile, the
// dockerfile beside it is taken.
//   NOT_FOUND         no such context or Dockerfile, in docker's words; says what may be meant
//   INVALID_ARGUMENT  not a directory, a bad ignore file, a URL of a kind that is not fetched; as a
//                     usage error (cli/exit_code.h): both from standard input
//   and the errors of ExtractTar() for a tar
absl::StatusOr<BuildFiles> ReadBuildFiles(const std::string& context, const std::string& file,
                                          ByteSource& standard_input);

// OK if `context` is a directory, else the errors above; UNIMPLEMENTED for a URL.
absl::Status CheckContextDirectory(const std::string& context);

// UNIMPLEMENTED if `files` has no Dockerfile to look at, since it is in a context from a URL.
absl::Status CheckDockerfileIsHere(const BuildFiles& files);

// The .dockerignore of the directory `context`; ignores nothing if there is none. INVALID_ARGUMENT,
// with position.
absl::StatusOr<IgnoreFile> ReadContextIgnore(const std::string& context);

}  // namespace farm

#endif  // FARM_CLI_BUILD_FILES_H_
