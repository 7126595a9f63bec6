#ifndef FARM_COORDINATOR_CONTEXT_DOCKERFILE_H_
#define FARM_COORDINATOR_CONTEXT_DOCKERFILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "cas/blob_store.h"
#include "layer/table.h"
#include "plan/plan.h"

namespace farm {

// Where a context that was fetched says what to build; "" for a file that is not asked for, or not
// there.
struct DockerfilePaths {
  std::string dockerfile;
  std::string ignore;
};

// What these files say.
struct ContextDockerfile {
  std::string dockerfile;
  std::string ignore_name;
  std::string ignore;
};

// What names the file `path` in a tree that was fetched: no pattern.
SourceRequest FileInTree(absl::string_view path);

// Looks for a Dockerfile at `dockerfile` in `tree`, and for its ignore file: that of the Dockerfile
// before the tree's own. Where there is no Dockerfile, the dockerfile beside it is taken. Symlinks
// are followed within the tree. `dockerfile` "" asks for the ignore file alone.
//   NOT_FOUND         no such Dockerfile, in docker's words; says which may be meant
//   INVALID_ARGUMENT  it is no file, or has more than kDockerfileBytesMax; the ignore file is none,
//                     or has more than kDockerignoreBytesMax
absl::StatusOr<DockerfilePaths> FindDockerfile(const Table& tree, const std::string& dockerfile,
                                               const CancelToken& cancel);

// Reads the files out of the tar `layer`, which holds them in its root. Blocks. Errors as of the
// store, of NewDecompressor() and TarReader; NOT_FOUND if one is not in it.
absl::StatusOr<ContextDockerfile> ReadDockerfileLayer(BlobStore& blobs, const Digest& layer,
                                                      const DockerfilePaths& paths);

}  // namespace farm

#endif  // FARM_COORDINATOR_CONTEXT_DOCKERFILE_H_
