#include "worker/input_fetcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "layer/compression.h"
#include "oci/reference.h"
#include "worker/blob_reader.h"
#include "worker/owned_file_source.h"
#include "worker/remove_tree.h"
#include "worker/spool.h"

namespace farm {
namespace {

class TeeSink final : public ByteSink {
 public:
  TeeSink(ByteSink& first, ByteSink& second) : first_(first), second_(second) {}
  absl::Status Write(absl::string_view bytes) override {
    RETURN_IF_ERROR(first_.Write(bytes));
    return second_.Write(bytes);
  }

 private:
  ByteSink& first_;
  ByteSink& second_;
};

}  // namespace

InputFetcher::Errand::Errand(const v1::StepSpec& spec, CancelToken& cancel, LogSink* log)
    : spec_(spec), cancel_(cancel), log_(log) {
  for (const v1::RegistryCredential& credential : spec.execution().credentials()) {
    auth_.Set(credential.host(), {.username = credential.username(),
                                  .password = credential.password(),
                                  .identity_token = credential.identity_token()});
  }
}

RegistryCall InputFetcher::Errand::registry_call() const {
  RegistryCall call{.auth = &auth_, .cancel = &cancel_};
  if (log_ != nullptr) {
    call.remark = [log = log_](const std::string& remark) {
      log->Append(LogStream::kStderr, absl::StrCat(remark, "\n"));
    };
  }
  return call;
}

std::vector<std::string> InputFetcher::Errand::RepositoriesOf(const Digest& blob) const {
  std::vector<std::string> repositories;
  for (const v1::RegistrySource& source : spec_.inputs().registries()) {
    if (source.blob().digest().hash() == blob.hex()) repositories.push_back(source.repository());
  }
  return repositories;
}

absl::StatusOr<LayerStack> InputFetcher::FetchLayers(
    const google::protobuf::RepeatedPtrField<v1::LayerRef>& chain, Errand& errand) {
  LayerStack stack;
  for (const v1::LayerRef& layer : chain) {
    ASSIGN_OR_RETURN(const Digest diff_id, DigestFromProto(layer.diff_id()), _ << "diff id");
    ASSIGN_OR_RETURN(LayerCache::Handle handle,
                     layers_.Acquire({.diff_id = diff_id, .below = stack.chain_id()},
                                     errand.cancel(), [&](const std::string& path) {
                                       return MakeLayer(layer, diff_id, stack, path, errand);
                                     }));
    RETURN_IF_ERROR(stack.Push(std::move(handle), diff_id));
  }
  return stack;
}

absl::StatusOr<LayerCache::Made> InputFetcher::MakeLayer(const v1::LayerRef& layer,
                                                         const Digest& diff_id,
                                                         const LayerStack& below,
                                                         const std::string& path, Errand& errand) {
  Table table;
  const LowerView view = below.view();
  ApplyOptions options;
  options.below = &view;
  options.expected_diff_id = &diff_id;
  options.cancel = &errand.cancel();
  if (!layer.table().hash().empty()) {
    ASSIGN_OR_RETURN(table, FetchTable(layer.table()));
    options.expected_table = &table;
  }
  absl::Status problem = absl::FailedPreconditionError("no form of it is known");
  for (const v1::Descriptor& form : layer.forms()) {
    ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(form.digest()), _ << "form of a layer");
    // What is read is verified by the diffID: no need to hash the blob, too.
    absl::StatusOr<std::unique_ptr<ByteSource>> blob =
        OpenBlob(digest, /*trust_file=*/true, errand);
    absl::StatusOr<AppliedLayer> applied =
        blob.ok() ? UnpackInto(path, **blob, options) : blob.status();
    if (applied.ok()) {
      return LayerCache::Made{.size_bytes = UnpackedBytes(applied->table.entries()),
                              .bound = applied->parents_from_below};
    }
    RETURN_IF_ERROR(RemoveTree(path));
    // Another form may do better where this one is missing or damaged.
    const absl::Status& status = applied.status();
    if (!absl::IsFailedPrecondition(status) && !absl::IsNotFound(status) &&
        !absl::IsDataLoss(status) && !absl::IsInvalidArgument(status)) {
      return applied.status();
    }
    LogWarning(
        "form of a layer not usable",
        {{"layer", diff_id.oci()}, {"blob", digest.oci()}, {"error", LogText(applied.status())}});
    problem = applied.status();
    if (!absl::IsInvalidArgument(problem)) continue;
    // Is it no tar, or no longer the bytes that it was? Only what is damaged can be made again.
    absl::StatusOr<std::unique_ptr<ByteSource>> whole =
        OpenBlob(digest, /*trust_file=*/false, errand);
    const absl::Status read = whole.ok() ? ReadToEnd(**whole) : whole.status();
    if (absl::IsDataLoss(read)) problem = read;
  }
  return problem;
}

absl::StatusOr<Table> InputFetcher::FetchTable(const v1::Digest& proto) {
  ASSIGN_OR_RETURN(const Digest digest, DigestFromProto(proto), _ << "table");
  absl::StatusOr<std::string> bytes = GetBytes(blobs_, digest, TableLimits().table_bytes_max);
  if (absl::IsNotFound(bytes.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("table ", digest.oci(), " is not in the CAS"));
  }
  RETURN_IF_ERROR(bytes.status()) << "table " << digest.oci();
  ASSIGN_OR_RETURN(Table table, Table::Decode(*bytes), _ << "table " << digest.oci());
  return table;
}

absl::StatusOr<std::unique_ptr<ByteSource>> InputFetcher::OpenBlob(const Digest& digest,
                                                                   bool trust_file,
                                                                   Errand& errand) {
  if (trust_file) {
    if (absl::StatusOr<UniqueFd> file = blobs_.OpenFile(digest); file.ok()) {
      errand.fetched_bytes += digest.size_bytes();
      return std::make_unique<OwnedFileSource>(*std::move(file));
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing({digest}));
  if (missing.empty()) {
    errand.fetched_bytes += digest.size_bytes();
    return ReadWhileProduced(
        [&blobs = blobs_, digest](ByteSink& sink) { return blobs.Get(digest, 0, sink); });
  }
  const std::vector<std::string> repositories = errand.RepositoriesOf(digest);
  if (repositories.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "blob ", digest.oci(), " is not in the CAS, and no registry is named that may have it"));
  }
  errand.fetched_bytes += digest.size_bytes();
  return ReadWhileProduced([this, digest, repositories, &errand](ByteSink& sink) {
    return FetchFromRegistry(digest, repositories, sink, errand);
  });
}

absl::Status InputFetcher::EnsureInCas(const Digest& digest, Errand& errand) {
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing({digest}));
  if (missing.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> blob,
                   OpenBlob(digest, /*trust_file=*/false, errand));
  return ReadToEnd(*blob);
}

absl::Status InputFetcher::FetchFromRegistry(const Digest& digest,
                                             const std::vector<std::string>& repositories,
                                             ByteSink& sink, Errand& errand) {
  Descriptor blob;
  blob.digest = digest;
  absl::Status problem;
  for (const std::string& repository : repositories) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(repository));
    Spool spool(tmp_dir_);
    TeeSink both(spool, sink);
    problem = registry_.FetchBlob(reference, blob, 0, both, errand.registry_call());
    if (problem.ok()) return spool.Store(digest, blobs_);
    // These come before the first byte, so another repository can be asked.
    if (!absl::IsNotFound(problem) && !absl::IsUnauthenticated(problem) &&
        !absl::IsPermissionDenied(problem)) {
      break;
    }
  }
  return problem;
}

absl::Status ReadToEnd(ByteSource& source) {
  std::string buffer(64 << 10, '\0');
  while (true) {
    ASSIGN_OR_RETURN(const size_t size, source.Read(buffer.data(), buffer.size()));
    if (size == 0) return absl::OkStatus();
  }
}

absl::StatusOr<AppliedLayer> UnpackInto(const std::string& path, ByteSource& blob,
                                        const ApplyOptions& options) {
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, path);
  const UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, path);
  ASSIGN_OR_RETURN(const std::unique_ptr<Decompressor> tar, NewDecompressor(blob, {}));
  ASSIGN_OR_RETURN(AppliedLayer applied, ApplyLayer(*tar, directory.get(), options));
  RETURN_IF_ERROR(ReadToEnd(blob));
  return applied;
}

}  // namespace farm
