#include "cli/build_output.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "base/unique_fd.h"
#include "cli/blob_source.h"
#include "layer/applier.h"
#include "oci/image_config.h"
#include "oci/layout_writer.h"
#include "oci/manifest.h"
#include "oci/reference.h"

extern char** environ;

namespace farm {
namespace {

namespace fs = std::filesystem;

using Type = BuildOutput::Type;

const std::map<std::string, Type> kTypes = {{"image", Type::kImage}, {"registry", Type::kRegistry},
                                            {"oci", Type::kOci},     {"docker", Type::kDocker},
                                            {"tar", Type::kTar},     {"local", Type::kLocal}};

std::vector<std::string> TypeNames() {
  std::vector<std::string> names;
  for (const auto& [name, unused] : kTypes) names.push_back(name);
  return names;
}

absl::Status BadOutput(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("--output ", text, ": ", what));
}

absl::StatusOr<bool> ParseBool(absl::string_view text, absl::string_view key,
                               absl::string_view value) {
  if (value == "true" || value == "1" || value.empty()) return true;
  if (value == "false" || value == "0") return false;
  return BadOutput(text, absl::StrCat(key, " is true or false, not ", value));
}

// A field that holds a comma stands in quotes: type=image,"name=a,b".
std::vector<std::string> SplitFields(absl::string_view text) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (const char c : text) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

absl::StatusOr<ArchiveImage> LoadImage(const StoredImage& stored, BlobStore& blobs) {
  ArchiveImage image;
  for (const std::string& name : stored.names) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(name), _ << name);
    image.names.push_back(reference.WithDefaultTag());
  }
  ASSIGN_OR_RETURN(image.manifest.digest, DigestFromProto(stored.manifest));
  ASSIGN_OR_RETURN(image.manifest_bytes, GetBytes(blobs, image.manifest.digest, kManifestBytesMax));
  ASSIGN_OR_RETURN(const Manifest manifest, ParseManifest(image.manifest_bytes));
  image.manifest.media_type = manifest.media_type;
  ASSIGN_OR_RETURN(const Digest config, DigestFromProto(stored.config));
  ASSIGN_OR_RETURN(image.config_bytes, GetBytes(blobs, config, kImageConfigBytesMax));
  return image;
}

BlobOpener OpenerOf(BlobStore& blobs) {
  return [&blobs](const Descriptor& blob, int64_t offset) {
    return OpenBlob(blobs, blob.digest, offset);
  };
}

// Feeds an archive to `docker load`, whose words go to standard error.
absl::Status LoadIntoDocker(const std::function<absl::Status(ByteSink&)>& write) {
  int ends[2] = {-1, -1};
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, read_end.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, 2, 1);
  std::string name = "docker";
  std::string verb = "load";
  char* args[] = {name.data(), verb.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, "docker", &actions, nullptr, args, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT) {
    return absl::NotFoundError(
        "--load needs the docker program in $PATH; --output type=docker,dest=FILE writes an "
        "archive instead");
  }
  if (error != 0) return ErrnoStatus(error, "docker load");
  read_end.Reset();
  FdSink sink(write_end.get());
  const absl::Status written = write(sink);
  write_end.Reset();
  int state = 0;
  while (waitpid(pid, &state, 0) < 0 && errno == EINTR) {
  }
  if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
    return absl::UnavailableError(
        absl::StrCat("docker load ended with status ",
                     WIFEXITED(state) ? WEXITSTATUS(state) : 128 + WTERMSIG(state)));
  }
  return written;
}

absl::Status Unpack(const v1::BuiltImage& image, const std::string& dest, BlobStore& blobs) {
  ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(image.flattened()));
  std::error_code error;
  fs::create_directories(dest, error);
  if (error) return ErrnoStatus(error.value(), dest);
  const UniqueFd directory(open(dest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, dest);
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> tar, OpenBlob(blobs, digest));
  ExtractOptions options;
  options.restore_owner = geteuid() == 0;
  return ExtractTar(*tar, directory.get(), options);
}

}  // namespace

absl::StatusOr<BuildOutput> ParseBuildOutput(absl::string_view text) {
  BuildOutput output;
  if (text == "-") {
    output.type = Type::kTar;
    output.dest = "-";
    return output;
  }
  if (!absl::StrContains(text, '=')) {
    if (text.empty()) return BadOutput(text, "a directory or type=... is missing");
    output.type = Type::kLocal;
    output.dest = std::string(text);
    return output;
  }
  bool has_type = false;
  for (const std::string& field : SplitFields(text)) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(field, absl::MaxSplits('=', 1));
    const auto& [key, value] = pair;
    if (key == "type") {
      const auto type = kTypes.find(value);
      if (type == kTypes.end()) {
        const std::string near = ClosestMatch(value, TypeNames());
        return BadOutput(text, absl::StrCat("type '", value, "' is not one of ",
                                            absl::StrJoin(TypeNames(), ", "),
                                            near.empty() ? "" : "; did you mean " + near + "?"));
      }
      output.type = type->second;
      has_type = true;
    } else if (key == "dest") {
      output.dest = value;
    } else if (key == "name") {
      output.names = absl::StrSplit(value, ',', absl::SkipEmpty());
    } else if (key == "push") {
      ASSIGN_OR_RETURN(output.push, ParseBool(text, key, value));
    } else if (key == "tar") {
      ASSIGN_OR_RETURN(const bool tar, ParseBool(text, key, value));
      output.as_directory = !tar;
    } else if (key == "compression") {
      if (value != "gzip" && value != "zstd" && value != "uncompressed") {
        return BadOutput(text, "compression is gzip, zstd or uncompressed");
      }
      output.compression = value;
    } else {
      return BadOutput(text, absl::StrCat("key '", key,
                                          "' is not one of type, dest, name, push, "
                                          "tar, compression"));
    }
  }
  if (!has_type) return BadOutput(text, "type=... is missing");
  if (output.type == Type::kImage && output.push) output.type = Type::kRegistry;
  const bool writes_file =
      output.type == Type::kTar || output.type == Type::kLocal || output.type == Type::kOci;
  if (writes_file && output.dest.empty()) return BadOutput(text, "dest=... is missing");
  if (output.type == Type::kLocal && output.dest == "-") {
    return BadOutput(text, "a directory can't be written to standard output; use type=tar");
  }
  return output;
}

v1::Export ExportOf(const BuildOutput& output) {
  v1::Export result;
  switch (output.type) {
    case Type::kImage:
      result.set_kind(v1::Export::KIND_IMAGE);
      break;
    case Type::kRegistry:
      result.set_kind(v1::Export::KIND_PUSH);
      for (const std::string& name : output.names) result.add_names(name);
      break;
    case Type::kOci:
    case Type::kDocker:
      result.set_kind(v1::Export::KIND_LAYERS);
      break;
    case Type::kTar:
    case Type::kLocal:
      result.set_kind(v1::Export::KIND_FLATTEN);
      break;
  }
  result.set_compression(output.compression);
  return result;
}

absl::Status WriteDockerArchive(const std::vector<StoredImage>& images, BlobStore& blobs,
                                ByteSink& sink) {
  std::vector<ArchiveImage> loaded;
  for (const StoredImage& image : images) {
    ASSIGN_OR_RETURN(ArchiveImage archive_image, LoadImage(image, blobs));
    loaded.push_back(std::move(archive_image));
  }
  return WriteDockerTar(loaded, OpenerOf(blobs), sink);
}

absl::Status WriteBuildOutput(const BuildOutput& output, int index, const v1::BuiltImage& image,
                              const std::vector<std::string>& tags, FarmClient& client) {
  const bool is_archive = output.type == Type::kOci || output.type == Type::kDocker;
  if (is_archive && index >= image.export_manifests_size()) {
    return absl::InternalError("the farm names no manifest for an archive");
  }
  const StoredImage stored = {.manifest = is_archive ? image.export_manifests(index) : v1::Digest(),
                              .config = image.config(),
                              .names = output.names.empty() ? tags : output.names};
  BlobStore& blobs = client.blobs();
  switch (output.type) {
    case Type::kImage:
    case Type::kRegistry:
      return absl::OkStatus();
    case Type::kOci: {
      ASSIGN_OR_RETURN(const ArchiveImage loaded, LoadImage(stored, blobs));
      if (output.as_directory) return WriteOciDirectory({loaded}, OpenerOf(blobs), output.dest);
      return WriteOutputFile(output.dest, [&](ByteSink& sink) {
        return WriteOciTar({loaded}, OpenerOf(blobs), sink);
      });
    }
    case Type::kDocker: {
      const auto write = [&](ByteSink& sink) { return WriteDockerArchive({stored}, blobs, sink); };
      if (output.dest.empty()) return LoadIntoDocker(write);
      return WriteOutputFile(output.dest, write);
    }
    case Type::kTar: {
      ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(image.flattened()));
      return WriteOutputFile(output.dest,
                             [&](ByteSink& sink) { return blobs.Get(digest, 0, sink); });
    }
    case Type::kLocal:
      return Unpack(image, output.dest, blobs);
  }
  return absl::OkStatus();
}

bool MayWriteAgain(const std::string& path) {
  struct stat info {};
  return path != "-" &&
         (stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
}

absl::Status WriteOutputFile(const std::string& path,
                             const std::function<absl::Status(ByteSink&)>& write) {
  if (path == "-") {
    if (isatty(1) == 1) {
      return absl::InvalidArgumentError(
          "refusing to write an archive to a terminal; redirect it, or name a file");
    }
    FdSink sink(1);
    return write(sink);
  }
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {  // /dev/stdout, a fifo, ...
    const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, path);
    FdSink sink(fd.get());
    return write(sink);
  }
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  FdSink sink(fd.get());
  absl::Status status = write(sink);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = ErrnoStatus(errno, path);
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace farm
