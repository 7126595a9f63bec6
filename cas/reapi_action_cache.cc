#include "cas/reapi_action_cache.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "proto/build/bazel/remote/execution/v2/remote_execution.pb.h"

namespace farm {
namespace {

namespace reapi = build::bazel::remote::execution::v2;

constexpr int64_t kTreeBytesMax = 64 << 20;

absl::Status Add(const reapi::Digest& proto, std::vector<Digest>& digests) {
  ASSIGN_OR_RETURN(digests.emplace_back(), Digest::FromHex(proto.hash(), proto.size_bytes()));
  return absl::OkStatus();
}

absl::Status AddFiles(const reapi::Directory& directory, std::vector<Digest>& digests) {
  for (const reapi::FileNode& file : directory.files()) {
    RETURN_IF_ERROR(Add(file.digest(), digests));
  }
  return absl::OkStatus();
}

// All blobs that a result needs.
absl::StatusOr<std::vector<Digest>> BlobsOf(const reapi::ActionResult& result, BlobStore& blobs) {
  std::vector<Digest> digests;
  if (result.has_stdout_digest()) {
    RETURN_IF_ERROR(Add(result.stdout_digest(), digests));
  }
  if (result.has_stderr_digest()) {
    RETURN_IF_ERROR(Add(result.stderr_digest(), digests));
  }
  for (const reapi::OutputFile& file : result.output_files()) {
    RETURN_IF_ERROR(Add(file.digest(), digests));
  }
  for (const reapi::OutputDirectory& directory : result.output_directories()) {
    std::vector<Digest> tree_digest;
    RETURN_IF_ERROR(Add(directory.tree_digest(), tree_digest));
    ASSIGN_OR_RETURN(const std::string bytes, GetBytes(blobs, tree_digest[0], kTreeBytesMax));
    reapi::Tree tree;
    if (!tree.ParseFromString(bytes)) {
      return absl::InvalidArgumentError(
          absl::StrCat("output directory ", directory.path(), " has no tree"));
    }
    RETURN_IF_ERROR(AddFiles(tree.root(), digests));
    for (const reapi::Directory& child : tree.children()) RETURN_IF_ERROR(AddFiles(child, digests));
  }
  return digests;
}

}  // namespace

absl::StatusOr<ReapiActionCache::ActionResult> ReapiActionCache::Get(absl::string_view domain,
                                                                     const Digest& action) {
  ASSIGN_OR_RETURN(const std::string bytes,
                   index_.Get(IndexTable::kReapi, IndexKey({domain, action.raw()})),
                   _ << "action " << action.hex());
  reapi::ActionResult result;
  if (!result.ParseFromString(bytes)) {
    return absl::NotFoundError(absl::StrCat("the result of action ", action.hex(), " is damaged"));
  }
  const absl::StatusOr<std::vector<Digest>> digests = BlobsOf(result, blobs_);
  // A result whose blobs can't even be named is a miss: the client runs the action again.
  if (!digests.ok()) {
    return absl::NotFoundError(absl::StrCat("the result of action ", action.hex(),
                                            " is not complete: ", digests.status().message()));
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing(*digests));
  if (!missing.empty()) return Annotate(BlobNotFound(missing.front()), "an output of the action");
  return result;
}

absl::Status ReapiActionCache::Put(absl::string_view domain, const Digest& action,
                                   const ActionResult& result) {
  const std::string bytes = result.SerializeAsString();
  if (static_cast<int64_t>(bytes.size()) > kResultBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat("the action result has ", bytes.size(),
                                                     " bytes, more than ", kResultBytesMax));
  }
  IndexBatch batch;
  batch.Put(IndexTable::kReapi, IndexKey({domain, action.raw()}), bytes);
  // Not synced: after a power cut a lost entry is a miss, and one whose blobs got lost is found
  // incomplete by Get().
  return index_.Apply(batch, Index::Durability::kOrdered);
}

}  // namespace farm
