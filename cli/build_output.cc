#include "cli/build_output.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/child_process.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "base/unique_fd.h"
#include "cli/blob_source.h"
#include "cli/exit_code.h"
#include "cli/temporaries.h"
#include "layer/applier.h"
#include "oci/image_config.h"
#include "oci/layout_writer.h"
#include "oci/manifest.h"
#include "oci/reference.h"

extern char** environ;

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDockerWordsBytesMax = 4 << 10;

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

// Of an output: an error that does not begin with its name gets it.
absl::Status NamedAs(const std::string& dest, absl::Status status) {
  const absl::string_view message = {status.message().data(), status.message().size()};
  const bool is_named =
      absl::StartsWith(message, dest + ":") || absl::StartsWith(message, dest + "/");
  return is_named ? status : Annotate(status, dest);
}

// Tells whose fault a failed write is: what goes wrong here is the person's, what the bytes come
// from is the farm's.
class LocalSink final : public ByteSink {
 public:
  LocalSink(int fd, std::string name) : sink_(fd), name_(std::move(name)) {}
  absl::Status Write(absl::string_view bytes) override {
    absl::Status status = sink_.Write(bytes);
    return status.ok() ? status : AsLocalError(Annotate(status, name_));
  }

 private:
  FdSink sink_;
  const std::string name_;
};

// The same the other way round, for what writes files by itself: remembers that reading failed.
class FarmSource final : public ByteSource {
 public:
  FarmSource(std::unique_ptr<ByteSource> source, bool& failed)
      : source_(std::move(source)), failed_(failed) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    absl::StatusOr<size_t> count = source_->Read(buffer, size);
    if (!count.ok()) failed_ = true;
    return count;
  }

 private:
  const std::unique_ptr<ByteSource> source_;
  bool& failed_;
};

std::string FindInPath(absl::string_view program) {
  const char* path = std::getenv("PATH");
  for (const absl::string_view directory : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    std::string file = absl::StrCat(directory.empty() ? "." : directory, "/", program);
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

// What `docker load` said; it is kept from the picture of the build.
std::string WordsIn(int fd) {
  std::string words(kDockerWordsBytesMax, 0);
  const ssize_t length = pread(fd, words.data(), words.size(), 0);
  words.resize(std::max<ssize_t>(0, length));
  return std::string(absl::StripAsciiWhitespace(words));
}

// Feeds an archive to `docker load`.
absl::Status LoadIntoDocker(const std::function<absl::Status(ByteSink&)>& write) {
  ASSIGN_OR_RETURN(Pipe pipe, MakePipe());
  const UniqueFd words(memfd_create("docker-load", MFD_CLOEXEC));
  if (!words.valid()) return ErrnoStatus(errno, "memfd_create");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe.read.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, words.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, words.get(), 2);
  std::string name = "docker";
  std::string verb = "load";
  char* args[] = {name.data(), verb.data(), nullptr};
  pid_t pid = -1;
  const int error = posix_spawnp(&pid, "docker", &actions, nullptr, args, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return AsLocalError(ErrnoStatus(error, "docker load"));
  pipe.read.Reset();
  LocalSink sink(pipe.write.get(), "docker load");
  const absl::Status written = write(sink);
  pipe.write.Reset();
  if (const int status = ReapChild(pid); status != 0) {
    const std::string said = WordsIn(words.get());
    return AsLocalError(absl::UnknownError(
        absl::StrCat("docker load ended with status ", status, said.empty() ? "" : ":\n", said)));
  }
  return written;
}

absl::Status Unpack(const v1::BuiltImage& image, const std::string& dest, BlobStore& blobs) {
  ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(image.flattened()));
  std::error_code error;
  fs::create_directories(dest, error);
  if (error) return AsLocalError(ErrnoStatus(error.value(), dest));
  const UniqueFd directory(open(dest.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return AsLocalError(ErrnoStatus(errno, dest));
  ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> blob, OpenBlob(blobs, digest));
  bool farm_failed = false;
  FarmSource tar(std::move(blob), farm_failed);
  // As BuildKit does it: the files are the caller's, with their modes.
  ExtractOptions options;
  options.restore_owner = geteuid() == 0;
  options.owner = {.uid = geteuid(), .gid = getegid()};
  absl::Status status = ExtractTar(tar, directory.get(), options);
  if (status.ok() || farm_failed) return status;
  return AsLocalError(NamedAs(dest, std::move(status)));
}

absl::Status WriteDirectory(const ArchiveImage& image, const std::string& dest, BlobStore& blobs) {
  bool farm_failed = false;
  const BlobOpener open = [&](const Descriptor& blob,
                              int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
    ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source, OpenBlob(blobs, blob.digest, offset));
    return std::make_unique<FarmSource>(std::move(source), farm_failed);
  };
  absl::Status status = WriteOciDirectory({image}, open, dest);
  if (status.ok() || farm_failed) return status;
  return AsLocalError(NamedAs(dest, std::move(status)));
}

// `culprit` is `path`, or a directory on the way to it.
absl::Status CantWrite(const std::string& path, const std::string& culprit, int error) {
  return AsLocalError(NamedAs(path, ErrnoStatus(error, culprit)));
}

absl::Status CheckDirectory(const std::string& path) {
  // What is missing will be made in the nearest directory that is there.
  fs::path at = fs::absolute(path).lexically_normal();
  std::error_code error;
  while (!fs::exists(fs::symlink_status(at, error)) && at.has_relative_path()) {
    at = at.parent_path();
  }
  struct stat info {};
  if (stat(at.c_str(), &info) != 0) return CantWrite(path, at.string(), errno);
  if (!S_ISDIR(info.st_mode)) return CantWrite(path, at.string(), ENOTDIR);
  if (faccessat(AT_FDCWD, at.c_str(), W_OK, AT_EACCESS) != 0) {
    return CantWrite(path, at.string(), errno);
  }
  return absl::OkStatus();
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
    } else if (key == "rewrite-timestamp") {
      ASSIGN_OR_RETURN(output.rewrite_timestamp, ParseBool(text, key, value));
    } else {
      return BadOutput(text, absl::StrCat("key '", key,
                                          "' is not one of type, dest, name, push, "
                                          "tar, compression, rewrite-timestamp"));
    }
  }
  if (!has_type) return BadOutput(text, "type=... is missing");
  if (output.type == Type::kImage && output.push) output.type = Type::kRegistry;
  const bool writes_archive =
      output.type == Type::kTar || output.type == Type::kDocker || output.type == Type::kOci;
  if (writes_archive && output.dest.empty() && !output.as_directory) output.dest = "-";
  if (output.type == Type::kLocal && output.dest.empty()) {
    return BadOutput(text, "dest=... is missing");
  }
  if (output.as_directory && (output.dest.empty() || output.dest == "-")) {
    return BadOutput(text, "tar=false needs dest=DIRECTORY");
  }
  if (output.type == Type::kLocal && output.dest == "-") {
    return BadOutput(text, "a directory can't be written to standard output; use type=tar");
  }
  return output;
}

absl::Status CheckBuildOutput(const BuildOutput& output) {
  switch (output.type) {
    case Type::kImage:
    case Type::kRegistry:
      return absl::OkStatus();
    case Type::kDocker:
      if (!output.dest.empty()) break;
      if (!FindInPath("docker").empty()) return absl::OkStatus();
      return absl::InvalidArgumentError(
          "--load needs the docker program in $PATH; --output type=docker,dest=FILE writes an "
          "archive instead");
    case Type::kLocal:
      RETURN_IF_ERROR(CheckDirectory(output.dest)) << "output";
      return absl::OkStatus();
    default:
      break;
  }
  if (output.as_directory) {
    RETURN_IF_ERROR(CheckDirectory(output.dest)) << "output";
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(CheckOutputFile(output.dest)) << "output";
  return absl::OkStatus();
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
      if (output.as_directory) return WriteDirectory(loaded, output.dest, blobs);
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

absl::Status CheckOutputFile(const std::string& path) {
  if (path == "-") {
    if (isatty(1) != 1) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "refusing to write an archive to a terminal; redirect it, or name a file");
  }
  struct stat info {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    if (S_ISDIR(info.st_mode)) return CantWrite(path, path, EISDIR);
    if (faccessat(AT_FDCWD, path.c_str(), W_OK, AT_EACCESS) != 0) {
      return CantWrite(path, path, errno);
    }
    return absl::OkStatus();
  }
  const fs::path parent = fs::path(path).parent_path();
  const std::string directory = parent.empty() ? "." : parent.string();
  if (stat(directory.c_str(), &info) != 0) return CantWrite(path, directory, errno);
  if (!S_ISDIR(info.st_mode)) return CantWrite(path, directory, ENOTDIR);
  if (faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    return CantWrite(path, directory, errno);
  }
  return absl::OkStatus();
}

absl::Status RemoveOutputFile(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return absl::OkStatus();
  if (unlink(path.c_str()) == 0) return absl::OkStatus();
  return AsLocalError(ErrnoStatus(errno, path));
}

absl::Status WriteOutputFile(const std::string& path,
                             const std::function<absl::Status(ByteSink&)>& write) {
  if (path == "-") {
    RETURN_IF_ERROR(CheckOutputFile(path));
    LocalSink sink(1, "standard output");
    return write(sink);
  }
  struct stat info {};
  // A rename would put a file in the place of /dev/stdout, a fifo or a link.
  if (lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!fd.valid()) return AsLocalError(ErrnoStatus(errno, path));
    LocalSink sink(fd.get(), path);
    return write(sink);
  }
  ScopedTemporary temporary(absl::StrCat(path, ".", getpid(), ".tmp"));
  unlink(temporary.path().c_str());  // Of a process before us that was killed.
  const UniqueFd fd(open(temporary.path().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (!fd.valid()) return AsLocalError(ErrnoStatus(errno, path));
  LocalSink sink(fd.get(), path);
  RETURN_IF_ERROR(write(sink));
  if (rename(temporary.path().c_str(), path.c_str()) != 0) {
    return AsLocalError(ErrnoStatus(errno, path));
  }
  temporary.Keep();
  return absl::OkStatus();
}

}  // namespace farm
