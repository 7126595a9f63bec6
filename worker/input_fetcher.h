#ifndef FARM_WORKER_INPUT_FETCHER_H_
#define FARM_WORKER_INPUT_FETCHER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/byte_stream.h"
#include "base/cancel_token.h"
#include "base/digest.h"
#include "cas/blob_store.h"
#include "layer/applier.h"
#include "layer/table.h"
#include "oci/registry.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/layer_cache.h"
#include "worker/layer_stack.h"
#include "worker/sandbox.h"

namespace farm {

// Brings what a step reads to this worker. Safe for concurrent calls.
class InputFetcher {
 public:
  // For whom something is fetched. One for each step; borrows.
  class Errand {
   public:
    // `log`, if it is not null, is told when a registry is asked again.
    Errand(const v1::StepSpec& spec, CancelToken& cancel, LogSink* log = nullptr);

    CancelToken& cancel() const { return cancel_; }
    RegistryCall registry_call() const;
    // Repositories that the step names for a blob.
    std::vector<std::string> RepositoriesOf(const Digest& blob) const;

    int64_t fetched_bytes = 0;  // of blobs that were read so far

   private:
    const v1::StepSpec& spec_;
    CancelToken& cancel_;
    LogSink* const log_;
    RegistryAuth auth_;
  };

  // `tmp_dir` is on the file system of the blob store, if that is on this host.
  InputFetcher(BlobStore& blobs, Registry& registry, LayerCache& layers, std::string tmp_dir)
      : blobs_(blobs), registry_(registry), layers_(layers), tmp_dir_(std::move(tmp_dir)) {}

  // The layers of a chain (base first), each unpacked here. A layer is taken from the first of its
  // forms that can be had, from the CAS or else from a registry, and must have its diffID and
  // table.
  //   FAILED_PRECONDITION  a layer can't be had from anywhere
  //   DATA_LOSS            all that can be had of a layer is damaged
  // and errors of the CAS, the registries and the disk.
  absl::StatusOr<LayerStack> FetchLayers(
      const google::protobuf::RepeatedPtrField<v1::LayerRef>& chain, Errand& errand);

  // The table of a context or layer. FAILED_PRECONDITION if the CAS lacks it.
  absl::StatusOr<Table> FetchTable(const v1::Digest& digest);

  // The bytes of a blob, from the CAS or else from a registry: then the CAS has it as soon as the
  // source is read to its end. Whoever reads to the end has bytes that hash to the digest, unless
  // `trust_file` allows to read them from the store's file as they are.
  //   FAILED_PRECONDITION  neither has it
  absl::StatusOr<std::unique_ptr<ByteSource>> OpenBlob(const Digest& digest, bool trust_file,
                                                       Errand& errand);
  // Brings a blob into the CAS if only a registry has it. FAILED_PRECONDITION if neither has it.
  absl::Status EnsureInCas(const Digest& digest, Errand& errand);

 private:
  absl::StatusOr<LayerCache::Made> MakeLayer(const v1::LayerRef& layer, const Digest& diff_id,
                                             const LayerStack& below, const std::string& path,
                                             Errand& errand);
  absl::Status FetchFromRegistry(const Digest& digest, const std::vector<std::string>& repositories,
                                 ByteSink& sink, Errand& errand);

  BlobStore& blobs_;
  Registry& registry_;
  LayerCache& layers_;
  const std::string tmp_dir_;
};

// Makes the directory `path` and unpacks `blob`, a tar in any compression, into it.
absl::StatusOr<AppliedLayer> UnpackInto(const std::string& path, ByteSource& blob,
                                        const ApplyOptions& options);

// Reads what is left, so that a source that verifies at its end does.
absl::Status ReadToEnd(ByteSource& source);

}  // namespace farm

#endif  // FARM_WORKER_INPUT_FETCHER_H_
