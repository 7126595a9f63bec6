// All that steps need, on real overlays of a directory of the test's own; only the sandbox, the
// registry and the CAS are fakes.
#ifndef FARM_WORKER_TESTING_STEP_FIXTURE_H_
#define FARM_WORKER_TESTING_STEP_FIXTURE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "cas/memory_blob_store.h"
#include "layer/table.h"
#include "layer/testing/scratch_directory.h"
#include "oci/testing/fake_registry.h"
#include "proto/farm/v1/step.pb.h"
#include "worker/cache_directories.h"
#include "worker/input_fetcher.h"
#include "worker/layer_cache.h"
#include "worker/local_step_executor.h"
#include "worker/snapshotter.h"
#include "worker/source_client.h"
#include "worker/testing/scripted_sandbox.h"
#include "worker/trash.h"

namespace farm {

class KeptLog final : public LogSink {
 public:
  void Append(LogStream, absl::string_view bytes) override {
    text.append(bytes.begin(), bytes.end());
  }
  std::string text;
};

class StepWorld {
 public:
  static constexpr char kIsolatedResolvConf[] = "nameserver 10.0.0.53\n";

  StepWorld();
  ~StepWorld();

  // A layer of what `fill` makes in an empty directory, with its tar and table in the CAS.
  v1::LayerRef MakeLayer(const std::function<void(const ScratchDirectory&)>& fill);
  // The same for a layer that a step has made.
  static v1::LayerRef RefOf(const v1::StepResult& result);
  // A context of `files` (their content is taken from `contents`, by path); its table's digest.
  v1::Digest MakeContext(std::vector<TableEntry> entries,
                         const std::map<std::string, std::string>& contents);

  absl::StatusOr<v1::StepResult> Execute(const v1::StepSpec& spec);
  // The same, with a log of the test's. Safe for concurrent calls, but for the other Execute().
  absl::StatusOr<v1::StepResult> Execute(const v1::StepSpec& spec, LogSink& log);

  // The merged root of a chain, to look into: a mount that lives as long as the world.
  int Mount(const std::vector<v1::LayerRef>& chain);

  // Entries below the worker's directories that should be empty between steps, open descriptors and
  // mounts of these directories, as a comparable text.
  std::string Leftovers();

  const std::string& dir() const { return dir_; }
  MemoryBlobStore& blobs() { return blobs_; }
  FakeRegistry& registry() { return registry_; }
  ScriptedSandbox& sandbox() { return sandbox_; }
  const std::string& log() const { return log_.text; }  // of all steps
  LayerCache& layers() { return *layers_; }
  CacheDirectories& caches() { return *caches_; }
  CancelToken& cancel() { return cancel_; }
  std::vector<StepPhase>& phases() { return phases_; }
  // What ssh agents answer; "ID: QUESTION" if it is not set.
  std::function<absl::StatusOr<std::string>(const std::string& id, absl::string_view question)>
      ssh_agent;
  // What archives and pulled layers may hold from now on.
  void LimitUnpacking(const DecompressOptions& unpack);
  // How sources are fetched from now on. At first: loopback is allowed, pauses are short.
  void LimitSources(const SourceClient::Options& options);
  // Forgets all unpacked layers, as another worker would never have had them.
  void DropLayers();

 private:
  void Open();
  void Close();
  absl::StatusOr<v1::StepResult> Execute(const v1::StepSpec& spec, LogSink& log,
                                         std::function<void(StepPhase)> enter_phase);

  std::string dir_;
  SystemClock clock_;
  MemoryBlobStore blobs_{clock_};
  FakeRegistry registry_;
  ScriptedSandbox sandbox_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<LayerCache> layers_;
  std::unique_ptr<CacheDirectories> caches_;
  std::unique_ptr<InputFetcher> inputs_;
  std::unique_ptr<SourceClient> sources_;
  std::unique_ptr<Snapshotter> snapshotter_;
  std::unique_ptr<LocalStepExecutor> executor_;
  KeptLog log_;
  CancelToken cancel_;
  std::vector<StepPhase> phases_;
  std::vector<std::unique_ptr<Snapshot>> mounts_;
  std::vector<LayerStack> stacks_;
  std::atomic<int> next_id_ = 0;
  DecompressOptions unpack_;
  SourceClient::Options source_options_{.loopback_allowed = true,
                                        .retry_pause = absl::Milliseconds(1)};
};

}  // namespace farm

#endif  // FARM_WORKER_TESTING_STEP_FIXTURE_H_
