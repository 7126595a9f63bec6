#ifndef FARM_COORDINATOR_BUILD_SESSION_H_
#define FARM_COORDINATOR_BUILD_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/base_resolver.h"
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
class BuildSession final : public ExportSession {
 public:
  BuildSession(FarmContext& farm, Options options, v1::StartBuildRequest request);

  void Start() override;
  void AddLiveBlobs(LiveBlobs& live) const override;

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
  void OnPrepared(Prepared prepared);
  void AddBaseLayers();
  void AddPlanSteps();

  // Starts everything that can start; finishes the build once nothing is left.
  void Advance();
  void MakeKey(int index);
  void OnKeyed(int index, Keyed keyed);
  void RunPlanStep(int index, Keyed keyed);
  void OnStepDone(int index, const v1::StepResult& result);
  // A blob that a step needs is gone or damaged: everything is looked at anew, so that the step
  // that made it runs again.
  void OnStepError(int index, const absl::Status& error);
  // Blobs of the layers that the step reads; the context's table, if it reads that.
  std::vector<Digest> BlobsRead(const PlanStep& step) const;
  std::optional<Digest> ContextRead(const PlanStep& step) const;
  void RestartIfContextIsComplete(int index);
  void Restart();

  // In build_session_sources.cc: what ADD reads from the network.
  void AddRemoteSteps();
  void FetchRemotes();
  void FetchFile(int index);
  void RunFetchFile(int index, StepKey key, const std::optional<v1::ActionRecord>& known);
  void ResolveGit(int index);
  void FetchGit(int index, const v1::GitCommit& commit);
  StepRun RemoteRun(int index, int step, v1::StepIdentity identity, StepKey key) const;
  void RunRemote(int index, StepRun run, std::function<void(const v1::StepResult&)> then);
  void OnRemoteFetched(int index, const v1::StepResult& result);
  void OnRemoteError(int index, int step, const absl::Status& error);
  // The step of the plan that reads it.
  const PlanStep& ReaderOf(int index) const;
  bool HasRemotesOf(const PlanStep& step) const;

  std::vector<int> LayersOf(FileSystemRef file_system) const;
  Digest ChainIdOf(FileSystemRef file_system) const;
  // Of the root that the step runs on: that of a linked layer is empty.
  Digest RootChainIdOf(const PlanStep& step) const;

  void Finish();
  void StoreAndExport(const Image& image);
  void StoreImage(const Image& image, std::function<void(v1::BuiltImage)> then);

  const v1::StartBuildRequest request_;
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
