#include "cli/build_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/redact_url.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "cli/exit_code.h"
#include "dockerfile/source.h"
#include "layer/applier.h"
#include "layer/archive.h"
#include "layer/compression.h"
#include "plan/remote_context.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

constexpr size_t kTarHeaderBytes = 512;
constexpr char kDockerignore[] = ".dockerignore";

// A name in the directory of `path` that differs in the case of letters only, or the name that
// other tools use.
std::string SimilarName(const fs::path& path) {
  std::error_code error;
  std::string other;
  const fs::path directory = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename();
    if (absl::EqualsIgnoreCase(name, path.filename().string())) return name;
    if (absl::EqualsIgnoreCase(name, "Containerfile")) other = name;
  }
  return other;
}

absl::Status NoDockerfile(const fs::path& path, const std::string& named,
                          const std::string& context) {
  std::string message =
      absl::StrCat("failed to read dockerfile: open ", named, ": no such file or directory");
  std::error_code error;
  if (const std::string similar = SimilarName(path); !similar.empty()) {
    absl::StrAppend(&message, "; there is ", similar, ": use -f ",
                    (path.parent_path() / similar).string());
  } else if (fs::exists(fs::path(context) / named, error)) {
    absl::StrAppend(&message, "; -f is relative to the current directory: use -f ",
                    (fs::path(context) / named).string());
  } else if (path.filename() == "Dockerfile") {
    absl::StrAppend(&message, "; name another file with -f");
  }
  return absl::NotFoundError(message);
}

bool IsMissing(const fs::path& path) {
  std::error_code error;
  return fs::symlink_status(path, error).type() == fs::file_type::not_found;
}

absl::StatusOr<std::string> ReadText(ByteSource& source) {
  StringSink sink(kDockerfileBytesMax);
  RETURN_IF_ERROR(CopyBytes(source, sink).status()) << "standard input";
  return sink.Take();
}

// Gives again what was read from the front of another source, then the rest of it.
class UnreadSource final : public ByteSource {
 public:
  UnreadSource(absl::string_view front, ByteSource& rest) : front_(front), rest_(rest) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t count, front_.Read(buffer, size));
    return count > 0 ? count : rest_.Read(buffer, size);
  }

 private:
  StringSource front_;
  ByteSource& rest_;
};

absl::StatusOr<std::string> ReadFront(ByteSource& source) {
  std::string front(kTarHeaderBytes, 0);
  size_t length = 0;
  while (length < front.size()) {
    ASSIGN_OR_RETURN(const size_t count, source.Read(front.data() + length, front.size() - length),
                     _ << "standard input");
    if (count == 0) break;
    length += count;
  }
  front.resize(length);
  return front;
}

absl::StatusOr<bool> IsTar(absl::string_view front) {
  if (DetectCompression(front) != Compression::kNone) return true;
  StringSource source(front);
  return IsArchive(source);
}

// A file within a directory whose content nobody vouches for. NOT_FOUND.
absl::StatusOr<std::string> ReadBeneath(int directory, const std::string& path, int64_t bytes_max) {
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  const UniqueFd fd(
      static_cast<int>(syscall(SYS_openat2, directory, path.c_str(), &how, sizeof(how))));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  FdSource source(fd.get());
  StringSink sink(bytes_max);
  RETURN_IF_ERROR(CopyBytes(source, sink).status()) << path;
  return sink.Take();
}

absl::StatusOr<std::shared_ptr<ScopedTemporary>> Unpack(ByteSource& archive) {
  const char* parent = std::getenv("TMPDIR");
  std::string path = absl::StrCat(parent != nullptr ? parent : "/var/tmp", "/farm-context-XXXXXX");
  if (mkdtemp(path.data()) == nullptr) return ErrnoStatus(errno, path);
  auto temporary = std::make_shared<ScopedTemporary>(path);
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> tar, NewDecompressor(archive, {}),
                   _ << "standard input");
  ExtractOptions options;
  options.restore_owner = geteuid() == 0;
  options.owner = {.uid = geteuid(), .gid = getegid()};
  RETURN_IF_ERROR(ExtractTar(*tar, directory.get(), options)) << "context on standard input";
  return temporary;
}

absl::StatusOr<IgnoreFile> ParseIgnoreFile(const std::string& name, std::string text) {
  IgnoreFile file{.name = name, .text = std::move(text), .ignore = {}};
  ASSIGN_OR_RETURN(file.ignore, DockerIgnore::Parse(name, file.text));
  return file;
}

// With `front`, which was read from `standard_input` already.
absl::StatusOr<BuildFiles> ReadTarContext(absl::string_view front, const std::string& file,
                                          ByteSource& standard_input) {
  BuildFiles files;
  UnreadSource archive(front, standard_input);
  ASSIGN_OR_RETURN(files.unpacked, Unpack(archive));
  files.context_directory = files.unpacked->path();
  const UniqueFd directory(
      open(files.context_directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, files.context_directory);
  files.dockerfile_name = file.empty() ? "Dockerfile" : file;
  absl::StatusOr<std::string> text =
      ReadBeneath(directory.get(), files.dockerfile_name, kDockerfileBytesMax);
  if (const std::string lower = LowerCaseDockerfile(files.dockerfile_name);
      absl::IsNotFound(text.status()) && !lower.empty()) {
    text = ReadBeneath(directory.get(), lower, kDockerfileBytesMax);
    if (!absl::IsNotFound(text.status())) files.dockerfile_name = lower;
  }
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat("failed to read dockerfile: open ",
                                            files.dockerfile_name,
                                            ": no such file or directory in the context"));
  }
  RETURN_IF_ERROR(text.status()) << "failed to read dockerfile";
  files.dockerfile = *std::move(text);
  for (const std::string& name :
       {files.dockerfile_name + kDockerignore, std::string(kDockerignore)}) {
    absl::StatusOr<std::string> ignore = ReadBeneath(directory.get(), name, kDockerignoreBytesMax);
    if (absl::IsNotFound(ignore.status())) continue;
    RETURN_IF_ERROR(ignore.status());
    ASSIGN_OR_RETURN(files.ignore_file, ParseIgnoreFile(name, *std::move(ignore)));
    break;
  }
  return files;
}

// NOT_FOUND if there is none.
absl::StatusOr<IgnoreFile> ReadIgnoreFile(const std::string& path, const std::string& name) {
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kDockerignoreBytesMax));
  return ParseIgnoreFile(name, std::move(text));
}

// The URL that `context` is, unless there is such a directory.
std::string UrlOf(const std::string& context) {
  std::error_code error;
  return fs::exists(context, error) ? "" : RemoteContextUrl(context);
}

absl::Status NotHere(const std::string& url) {
  return absl::UnimplementedError(
      absl::StrCat("the files of ", RedactUrls(url),
                   " are fetched by builds alone: clone or download it and name the directory"));
}

absl::StatusOr<BuildFiles> ReadUrlContext(const std::string& url, const std::string& file,
                                          ByteSource& standard_input) {
  RETURN_IF_ERROR(RemoteContext(url).status());
  BuildFiles files;
  files.context_url = url;
  files.dockerfile_name = file.empty() || file == "-" ? "Dockerfile" : file;
  if (file == "-") {
    ASSIGN_OR_RETURN(files.dockerfile, ReadText(standard_input));
  } else if (fs::path(file).is_absolute()) {
    ASSIGN_OR_RETURN(files.dockerfile, ReadFile(file, kDockerfileBytesMax),
                     _ << "failed to read dockerfile");
  } else {
    files.dockerfile_path = file;
    return files;
  }
  if (!files.dockerfile.empty()) return files;
  return absl::InvalidArgumentError(absl::StrCat(files.dockerfile_name, ": the file is empty"));
}

}  // namespace

absl::StatusOr<BuildFiles> ReadBuildFiles(const std::string& context, const std::string& file,
                                          ByteSource& standard_input) {
  BuildFiles files;
  if (context == "-") {
    if (file == "-") {
      return AsUsageError(
          absl::InvalidArgumentError("context and Dockerfile can't both come from standard input"));
    }
    ASSIGN_OR_RETURN(const std::string front, ReadFront(standard_input));
    ASSIGN_OR_RETURN(const bool is_tar, IsTar(front));
    if (is_tar) return ReadTarContext(front, file, standard_input);
    if (!file.empty()) {
      return AsUsageError(absl::InvalidArgumentError(
          "-f has no meaning with '-' as context if standard input is a Dockerfile, not a tar"));
    }
    files.dockerfile_name = "Dockerfile";
    UnreadSource text(front, standard_input);
    ASSIGN_OR_RETURN(files.dockerfile, ReadText(text));
    return files;
  }
  if (const std::string url = UrlOf(context); !url.empty()) {
    return ReadUrlContext(url, file, standard_input);
  }
  RETURN_IF_ERROR(CheckContextDirectory(context));
  files.context_directory = context;
  if (file == "-") {
    files.dockerfile_name = "Dockerfile";
    ASSIGN_OR_RETURN(files.dockerfile, ReadText(standard_input));
  } else {
    files.dockerfile_name = file.empty() ? "Dockerfile" : file;
    fs::path path = file.empty() ? fs::path(context) / "Dockerfile" : fs::path(file);
    if (const std::string lower = LowerCaseDockerfile(path.string());
        !lower.empty() && IsMissing(path) && !IsMissing(lower)) {
      path = lower;
      files.dockerfile_name = LowerCaseDockerfile(files.dockerfile_name);
    }
    absl::StatusOr<std::string> text = ReadFile(path, kDockerfileBytesMax);
    if (absl::IsNotFound(text.status())) {
      return NoDockerfile(path, files.dockerfile_name, context);
    }
    RETURN_IF_ERROR(text.status()) << "failed to read dockerfile";
    files.dockerfile = *std::move(text);
    absl::StatusOr<IgnoreFile> own =
        ReadIgnoreFile(path.string() + kDockerignore, files.dockerfile_name + kDockerignore);
    if (!absl::IsNotFound(own.status())) {
      ASSIGN_OR_RETURN(files.ignore_file, std::move(own));
      return files;
    }
  }
  ASSIGN_OR_RETURN(files.ignore_file, ReadContextIgnore(context));
  return files;
}

absl::StatusOr<IgnoreFile> ReadContextIgnore(const std::string& context) {
  absl::StatusOr<IgnoreFile> file =
      ReadIgnoreFile((fs::path(context) / kDockerignore).string(), kDockerignore);
  if (absl::IsNotFound(file.status())) return IgnoreFile();
  return file;
}

absl::Status CheckContextDirectory(const std::string& context) {
  std::error_code error;
  const fs::file_status status = fs::status(context, error);
  if (!fs::exists(status)) {
    if (const std::string url = RemoteContextUrl(context); !url.empty()) return NotHere(url);
    return absl::NotFoundError(
        absl::StrCat("unable to prepare context: path \"", RedactUrls(context), "\" not found"));
  }
  if (!fs::is_directory(status)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unable to prepare context: context must be a directory: ", context,
                     "; a Dockerfile is named with -f"));
  }
  return absl::OkStatus();
}

absl::Status CheckDockerfileIsHere(const BuildFiles& files) {
  if (files.context_url.empty() || !files.dockerfile.empty()) return absl::OkStatus();
  return NotHere(files.context_url);
}

}  // namespace farm
