#include "coordinator/context_dockerfile.h"

#include <algorithm>
#include <map>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "dockerfile/clean_path.h"
#include "dockerfile/dockerignore.h"
#include "dockerfile/source.h"
#include "layer/compression.h"
#include "layer/tar_reader.h"
#include "plan/resolve_sources.h"

namespace farm {
namespace {

constexpr char kDockerignore[] = ".dockerignore";

// A layer of two files, with their headers and directories.
constexpr int64_t kLayerBytesMax =
    static_cast<int64_t>(kDockerfileBytesMax + kDockerignoreBytesMax) + (1 << 20);

std::string RootRelative(absl::string_view path) {
  return CleanPath(absl::StrCat("/", path)).substr(1);
}

absl::string_view BaseName(absl::string_view path) { return path.substr(path.rfind('/') + 1); }

// The file that `path` leads to. NOT_FOUND; INVALID_ARGUMENT if it is none.
absl::StatusOr<const TableEntry*> FindFile(const Table& tree, const std::string& path,
                                           const CancelToken& cancel) {
  PlanStep copy;
  copy.identity.mutable_copy()->set_dest("/");
  copy.sources.push_back(FileInTree(path));
  const Table* const tables[] = {&tree};
  ASSIGN_OR_RETURN(const ResolvedSources resolved, ResolveSources(copy, tables, cancel));
  const TableEntry* const entry = tree.Find(resolved.identity.copy().items(0).path());
  if (entry != nullptr && entry->type == EntryType::kFile) return entry;
  return absl::InvalidArgumentError(absl::StrCat(
      path, " is a ", EntryTypeName(entry == nullptr ? EntryType::kDirectory : entry->type)));
}

// A Dockerfile that may be meant: the one least deep, of any letters' case.
std::string OtherDockerfile(const Table& tree) {
  std::string other;
  for (const TableEntry& entry : tree.entries()) {
    const absl::string_view name = BaseName(entry.path);
    const bool is_meant =
        absl::EqualsIgnoreCase(name, "Dockerfile") || absl::EqualsIgnoreCase(name, "Containerfile");
    if (entry.type != EntryType::kFile || !is_meant) continue;
    const auto depth = [](const std::string& path) {
      return std::count(path.begin(), path.end(), '/');
    };
    if (other.empty() || depth(entry.path) < depth(other)) other = entry.path;
  }
  return other;
}

absl::Status NoDockerfile(const Table& tree, const std::string& dockerfile) {
  const std::string other = OtherDockerfile(tree);
  return absl::NotFoundError(absl::StrCat(
      "failed to read dockerfile: open ", dockerfile, ": no such file or directory in the context",
      other.empty() ? "" : absl::StrCat("; there is ", other, ": use -f ", other)));
}

absl::Status CheckSize(const TableEntry& entry, const std::string& path, size_t bytes_max) {
  if (entry.size_bytes() <= static_cast<int64_t>(bytes_max)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, " has ", entry.size_bytes(),
                                                 " bytes, more than the limit of ", bytes_max));
}

absl::StatusOr<std::string> Find(const std::map<std::string, std::string>& files,
                                 absl::string_view path) {
  if (path.empty()) return "";
  const auto found = files.find(std::string(BaseName(path)));
  if (found != files.end()) return found->second;
  return absl::NotFoundError(absl::StrCat("the layer has no ", BaseName(path)));
}

}  // namespace

SourceRequest FileInTree(absl::string_view path) {
  SourceRequest request;
  request.from.kind = FileSystemRef::Kind::kRemote;
  request.patterns.push_back(RootRelative(path));
  request.literal = true;
  request.written.emplace_back(path);
  return request;
}

absl::StatusOr<DockerfilePaths> FindDockerfile(const Table& tree, const std::string& dockerfile,
                                               const CancelToken& cancel) {
  DockerfilePaths paths;
  if (!dockerfile.empty()) {
    paths.dockerfile = RootRelative(dockerfile);
    absl::StatusOr<const TableEntry*> file = FindFile(tree, paths.dockerfile, cancel);
    if (const std::string lower = LowerCaseDockerfile(paths.dockerfile);
        absl::IsNotFound(file.status()) && !lower.empty()) {
      file = FindFile(tree, lower, cancel);
      paths.dockerfile = lower;
    }
    if (absl::IsNotFound(file.status())) return NoDockerfile(tree, dockerfile);
    RETURN_IF_ERROR(file.status()) << "failed to read dockerfile";
    RETURN_IF_ERROR(CheckSize(**file, dockerfile, kDockerfileBytesMax));
  }
  for (const std::string& name :
       {absl::StrCat(paths.dockerfile, kDockerignore), std::string(kDockerignore)}) {
    if (tree.Find(name) == nullptr) continue;
    ASSIGN_OR_RETURN(const TableEntry* const file, FindFile(tree, name, cancel));
    RETURN_IF_ERROR(CheckSize(*file, name, kDockerignoreBytesMax));
    paths.ignore = name;
    break;
  }
  return paths;
}

absl::StatusOr<ContextDockerfile> ReadDockerfileLayer(BlobStore& blobs, const Digest& layer,
                                                      const DockerfilePaths& paths) {
  ASSIGN_OR_RETURN(const std::string bytes, GetBytes(blobs, layer, kLayerBytesMax));
  StringSource source(bytes);
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> tar,
                   NewDecompressor(source, {.bytes_max = kLayerBytesMax}));
  TarReader reader(*tar, {.bytes_max = kLayerBytesMax});
  std::map<std::string, std::string> files;
  TarEntry entry;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    if (entry.type != TarType::kFile) continue;
    std::string& text = files[RootRelative(entry.name)];
    text.clear();
    while (true) {
      ASSIGN_OR_RETURN(const absl::string_view data, reader.NextData());
      if (data.empty()) break;
      text.append(data.data(), data.size());
    }
  }
  ContextDockerfile read{.dockerfile = {}, .ignore_name = paths.ignore, .ignore = {}};
  ASSIGN_OR_RETURN(read.dockerfile, Find(files, paths.dockerfile));
  ASSIGN_OR_RETURN(read.ignore, Find(files, paths.ignore));
  return read;
}

}  // namespace farm
