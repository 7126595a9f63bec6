#include "cli/build_files.h"

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "dockerfile/source.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

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

absl::StatusOr<std::string> ReadText(ByteSource& source) {
  StringSink sink(kDockerfileBytesMax + 1);
  RETURN_IF_ERROR(CopyBytes(source, sink).status()) << "standard input";
  return sink.Take();
}

absl::Status ReadIgnoreFile(const std::string& path, const std::string& name, BuildFiles& files) {
  absl::StatusOr<std::string> text = ReadFile(path, kDockerignoreBytesMax);
  RETURN_IF_ERROR(text.status());
  files.ignore_text = *std::move(text);
  ASSIGN_OR_RETURN(files.ignore, DockerIgnore::Parse(name, files.ignore_text));
  return absl::OkStatus();
}

absl::Status ReadSharedIgnoreFile(const std::string& context, BuildFiles& files) {
  const absl::Status status =
      ReadIgnoreFile((fs::path(context) / ".dockerignore").string(), ".dockerignore", files);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

}  // namespace

absl::StatusOr<BuildFiles> ReadBuildFiles(const std::string& context, const std::string& file,
                                          ByteSource& standard_input) {
  BuildFiles files;
  if (context == "-") {
    if (!file.empty()) {
      return absl::InvalidArgumentError(
          "-f has no meaning with '-' as context, which is a Dockerfile on standard input");
    }
    files.dockerfile_name = "Dockerfile";
    ASSIGN_OR_RETURN(files.dockerfile, ReadText(standard_input));
    return files;
  }
  RETURN_IF_ERROR(CheckContextDirectory(context));
  files.context_directory = context;
  if (file == "-") {
    files.dockerfile_name = "Dockerfile";
    ASSIGN_OR_RETURN(files.dockerfile, ReadText(standard_input));
  } else {
    const fs::path path = file.empty() ? fs::path(context) / "Dockerfile" : fs::path(file);
    files.dockerfile_name = file.empty() ? "Dockerfile" : file;
    absl::StatusOr<std::string> text = ReadFile(path, kDockerfileBytesMax + 1);
    if (absl::IsNotFound(text.status())) {
      return NoDockerfile(path, files.dockerfile_name, context);
    }
    RETURN_IF_ERROR(text.status()) << "failed to read dockerfile";
    files.dockerfile = *std::move(text);
    const absl::Status own = ReadIgnoreFile(path.string() + ".dockerignore",
                                            files.dockerfile_name + ".dockerignore", files);
    if (!absl::IsNotFound(own)) {
      RETURN_IF_ERROR(own);
      return files;
    }
  }
  RETURN_IF_ERROR(ReadSharedIgnoreFile(context, files));
  return files;
}

absl::StatusOr<DockerIgnore> ReadContextIgnore(const std::string& context) {
  BuildFiles files;
  RETURN_IF_ERROR(ReadSharedIgnoreFile(context, files));
  return files.ignore;
}

absl::Status CheckContextDirectory(const std::string& context) {
  if (absl::StrContains(context, "://") || absl::StartsWith(context, "git@") ||
      absl::StartsWith(context, "github.com/")) {
    return absl::UnimplementedError(
        absl::StrCat("contexts from the network are not there yet: clone or download ", context,
                     " and name the directory"));
  }
  std::error_code error;
  const fs::file_status status = fs::status(context, error);
  if (!fs::exists(status)) {
    return absl::NotFoundError(
        absl::StrCat("unable to prepare context: path \"", context, "\" not found"));
  }
  if (!fs::is_directory(status)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unable to prepare context: context must be a directory: ", context,
                     "; a Dockerfile is named with -f"));
  }
  return absl::OkStatus();
}

}  // namespace farm
