#ifndef FARM_CLI_BUILD_OUTPUT_H_
#define FARM_CLI_BUILD_OUTPUT_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/farm_client.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// Where the result of a build goes: one --output.
struct BuildOutput {
  enum class Type {
    kImage,     // the farm's image store
    kRegistry,  // pushed to registries
    kOci,       // an OCI layout, as a tar or directory
    kDocker,    // a `docker load` archive; without `dest` (--load) it goes into `docker load`
    kTar,       // the root file system
    kLocal,     // the same, unpacked
  };
  Type type = Type::kImage;
  std::string dest;                // file or directory, "-" for standard output, "" for none
  std::vector<std::string> names;  // in place of the build's tags
  bool push = false;               // of type=image,push=true: it has a name in the farm, too
  bool as_directory = false;       // kOci: tar=false
  std::string compression;         // "", "gzip", "zstd", "uncompressed"
  bool rewrite_timestamp = false;  // see StartBuildRequest.rewrite_timestamps

  friend bool operator==(const BuildOutput&, const BuildOutput&) = default;
};

// From "type=oci,dest=image.tar", or a directory alone, or "-" (a tar on standard output). An
// archive without dest= goes to standard output. INVALID_ARGUMENT says which types and keys there
// are.
absl::StatusOr<BuildOutput> ParseBuildOutput(absl::string_view text);

// OK if, as far as can be told before the build, the output can be written: a place for its file
// (else a local error, see cli/exit_code.h), no terminal that would get an archive, the docker
// program.
absl::Status CheckBuildOutput(const BuildOutput& output);

// What the farm must do for an output.
v1::Export ExportOf(const BuildOutput& output);

// Writes the files of an output whose build has succeeded: of the build's export `index`. `tags`
// are the build's. Nothing for kImage and kRegistry, which the farm has done.
//   INVALID_ARGUMENT     a name
//   and errors of the file system and docker (see AsLocalError()), and of the farm
absl::Status WriteBuildOutput(const BuildOutput& output, int index, const v1::BuiltImage& image,
                              const std::vector<std::string>& tags, FarmClient& client);

// Writes an image of the farm as a `docker load` archive (docker save).
struct StoredImage {
  v1::Digest manifest;
  v1::Digest config;
  std::vector<std::string> names;
};
absl::Status WriteDockerArchive(const std::vector<StoredImage>& images, BlobStore& blobs,
                                ByteSink& sink);

// False if what a failed write has left at `path` can't be taken back: standard output, a pipe.
bool MayWriteAgain(const std::string& path);

// OK if WriteOutputFile() could open `path` now, else the error that a person needs to see: a local
// one, or INVALID_ARGUMENT for a terminal.
absl::Status CheckOutputFile(const std::string& path);

// Removes a regular file that an earlier run may have left at `path`, and nothing else. OK if there
// is none.
absl::Status RemoveOutputFile(const std::string& path);

// A file that appears under `path` only once it was written whole, or standard output for "-". What
// is there and is no regular file (a device, a fifo, a link to something) is written to, never
// replaced. Errors of the file system, as local ones (cli/exit_code.h), and those of `write`.
absl::Status WriteOutputFile(const std::string& path,
                             const std::function<absl::Status(ByteSink&)>& write);

}  // namespace farm

#endif  // FARM_CLI_BUILD_OUTPUT_H_
