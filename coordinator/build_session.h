#ifndef FARM_COORDINATOR_BUILD_SESSION_H_
#define FARM_COORDINATOR_BUILD_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/base_resolver.h"
#include "coordinator/context_dockerfile.h"
#include "coordinator/export_session.h"
#include "dockerfile/lint.h"
#include "plan/finish_image.h"
#include "plan/plan.h"
#include "plan/step_key.h"

namespace farm {

// One build, from a Dockerfile to an image: reads, resolves bases, plans, then walks the steps.
//
// A step is `waiting -> keyed -> done`. It is keyed once all that it reads is done, since its key
// is made of content; then it is a hit, or it runs. What a base image holds is fetched only when a
// step must run on it or copies from it.
//
// A context from a URL comes first: it is fetched by a step as ADD's sources are, its Dockerfile is
// read, and then it is one more layer that steps copy from.
class BuildSession final : public ExportSession {
 public:
  BuildSession(FarmContext& farm, Options options, v1::StartBuildRequest request);

  void Start() override;
  void AddLiveBlobs(LiveBlobs& live) const override;
  SshAgentRelay* ssh_agents() override { return &ssh_agents_; }

 private:
  // What the pool makes of the request.
  struct Prepared {
    Plan plan;
    std::vector<ResolvedBase> bases;  // as plan.bases
    LintResult lint;
    absl::Status lint_status;  // an error if its warnings make the build fail
  };
  enum class State { kWaiting, kKeyed, kDone };
  struct Node {
    State state = State::kWaiting;
    int step = 0;    // Session's id
    int layer = -1;  // Session's index, once done
    StepLayer made;  // for the image's config, once done
  };
  // What of Plan::remotes has been fetched.
  struct Remote {
    int step = 0;     // Session's id of the step that fetches it
    int resolve = 0;  // and of the one that asks which commit it is; 0 if none does
    int layer = -1;   // Session's index, once it is here
  };
  // The context of StartBuildRequest.context_url.
  struct FetchedContext {
    RemoteSource source;
    Remote fetch;
    std::optional<v1::GitCommit> commit;  // that the reference is, asked for once in a build
    int unpack_step = 0;                  // Session's ids; 0 as long as there are none
    int read_step = 0;
    int ignore_step = 0;
    bool was_read = false;            // the Dockerfile is in request_
    std::vector<std::string> ignore;  // patterns of its ignore file, which is in request_, too
    int layer = -1;                   // what steps copy from; -1: not here, or a lone Dockerfile
    std::optional<Digest> content;    // of that layer when it came first
  };
  // What the pool finds out of a step whose inputs are done.
  struct Keyed {
    v1::StepIdentity identity;
    StepKey key;
    std::vector<Digest> selections;  // that `identity` names, in the CAS unless it is a hit
    std::optional<v1::ActionRecord> hit;
    std::vector<std::string> reasons;
  };

  static absl::StatusOr<Prepared> Prepare(FarmContext& farm, const std::string& domain,
                                          const v1::StartBuildRequest& request,
                                          const PoolSteps& lookups, CancelToken& cancel);
  void StartPreparing();
  void OnPrepared(Prepared prepared);
  void AddBaseLayers();
  void AddPlanSteps();

  // Starts everything that can start; finishes the build once nothing is left.
  void Advance();
  void MakeKey(int index);
  void OnKeyed(int index, Keyed keyed);
  void RunPlanStep(int index, Keyed keyed);
  void OnStepDone(int index, const v1::StepResult& result);
  // Begins with the plan's steps, once all that precedes them is known (again).
  void StartSteps();

  // In build_session_restart.cc: a blob that a step needs is gone or damaged. Everything is looked
  // at anew, so that the step that made it runs again.
  void OnStepError(int index, const absl::Status& error);
  void OnContextError(const absl::Status& error, int step, int layer);
  bool MayRestart(const absl::Status& error) const;
  // Blobs of the layers that the step reads; the context's table, if it reads that.
  std::vector<Digest> BlobsRead(const PlanStep& step) const;
  std::vector<Digest> BlobsOf(const std::vector<int>& layer_indexes) const;
  // Tables of the contexts that it reads.
  std::vector<Digest> ContextsRead(const PlanStep& step) const;
  void RestartIfContextIsComplete(int index);
  void Restart();

  // In build_session_check.cc: that what the plan's steps read of `here`, file systems whose files
  // have come, is in them; then `then`. A missing source ends the build before others have run.
  void CheckSources(const std::vector<FileSystemRef>& here, std::function<void()> then);
  std::vector<FileSystemRef> ContextsHere() const;

  // In build_session_context.cc: a context from a URL, until it is a layer. Each leads to the next;
  // FetchContext() is called again after a restart.
  absl::Status AddContextSteps();
  void FetchContext();
  void UnpackContext();
  void ReadDockerfile(int tree);
  // `layer` holds the files alone, `tree` the context.
  void ReadDockerfileOf(int layer, int tree, const DockerfilePaths& paths);
  void OnDockerfileRead(int tree, const ContextDockerfile& read);
  void IgnoreFiles(int tree);
  void OnContextReady(int layer);
  void OnContextKnown(int layer, const Digest& content);
  // Copies what `request` names in the layer `from` into a layer of its own.
  void CopyFromContext(int step, SourceRequest request, int from,
                       std::function<void(int layer)> then);
  void RunContextCopy(int step, Keyed keyed, int from, std::function<void(int layer)> then);
  absl::Status ContextError(const absl::Status& error) const;
  Digest TableOf(int layer_index) const;

  // In build_session_sources.cc: what ADD reads from the network, and the context's URL, which has
  // an index of its own.
  static constexpr int kContextRemote = -1;
  const RemoteSource& SourceOf(int index) const;
  Remote& RemoteOf(int index);
  void AddRemoteSteps();
  void AddRemoteStep(int index, int line);
  void FetchRemotes();
  void FetchRemote(int index);
  void FetchFile(int index);
  void RunFetchFile(int index, StepKey key, const std::optional<v1::ActionRecord>& known);
  void ResolveGit(int index);
  void FetchGit(int index, const v1::GitCommit& commit);
  StepRun RemoteRun(int index, int step, v1::StepIdentity identity, StepKey key) const;
  void RunRemote(int index, StepRun run, std::function<void(const v1::StepResult&)> then);
  void OnRemoteFetched(int index, const v1::StepResult& result);
  void OnRemoteError(int index, int step, const absl::Status& error);
  // The first step of the plan that reads it; null if none does.
  const PlanStep* ReaderOf(int index) const;
  bool HasRemotesOf(const PlanStep& step) const;

  // The tables that make up a file system that is here.
  struct Tables {
    std::vector<Digest> digests;
    bool is_complete = false;  // one, with all directories; those of layers may lack some
  };
  Tables TablesOf(FileSystemRef file_system) const;
  static absl::StatusOr<std::shared_ptr<const Table>> Load(FarmContext& farm, const Tables& tables);
  // Of a context that the client has sent; nullopt for all else.
  std::optional<Digest> ContextTable(FileSystemRef file_system) const;
  std::vector<int> LayersOf(FileSystemRef file_system) const;
  Digest ChainIdOf(FileSystemRef file_system) const;
  // Of the root that the step runs on: that of a linked layer is empty.
  Digest RootChainIdOf(const PlanStep& step) const;

  void Finish();
  void StoreAndExport(const Image& image);
  void StoreImage(const Image& image, std::function<void(v1::BuiltImage)> then);

  v1::StartBuildRequest request_;  // as it came; a context from a URL adds its Dockerfile
  SshAgentRelay ssh_agents_;
  std::optional<FetchedContext> context_;
  std::shared_ptr<const Plan> plan_;  // read by the pool, too
  std::vector<ResolvedBase> bases_;
  std::vector<std::vector<int>> base_layers_;
  std::vector<Node> nodes_;
  std::vector<Remote> remotes_;
  std::vector<Digest> selections_;  // tables that steps of this build name
  int restarts_ = 0;
  int generation_ = 0;  // answers to what was asked before a restart are dropped
  bool finishing_ = false;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_BUILD_SESSION_H_
