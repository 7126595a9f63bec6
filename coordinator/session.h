#ifndef FARM_COORDINATOR_SESSION_H_
#define FARM_COORDINATOR_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/cancel_token.h"
#include "coordinator/event_stream.h"
#include "coordinator/farm_context.h"
#include "coordinator/ssh_agent_relay.h"
#include "oci/descriptor.h"
#include "proto/farm/v1/build.pb.h"

namespace farm {

// One request that runs steps: a build, or a pull, push, import of an image. Holds what they have
// in common: numbered steps with their events, layers that are brought when something asks for
// them, and an end. Owned by the event loop: every call comes from it.
//
// A session is `open -> finished`; Fail, Succeed and Cancel end it once.
class Session : public std::enable_shared_from_this<Session> {
 public:
  struct Options {
    std::string id;
    std::string domain;
    std::vector<v1::RegistryCredential> credentials;  // in memory only, never logged
    int64_t kept_event_bytes_max = 8 << 20;
  };

  // A registry image or stored image as the pool saw it: ready to become layers of the session.
  struct FoundLayer {
    v1::LayerRef ref;
    std::optional<v1::RegistrySource> source;
    Descriptor blob;
    bool here = false;
  };
  // What is known of an image's layers. Blocks: call it on the pool. `repository` is "" if they are
  // only in the CAS.
  static absl::StatusOr<std::vector<FoundLayer>> FindLayers(
      FarmContext& farm, const std::string& domain, const std::vector<std::string>& diff_ids,
      const std::vector<Descriptor>& blobs, const std::string& repository);

  Session(FarmContext& farm, Options options);
  virtual ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Begins the work. Called once, after the session is owned by a shared_ptr.
  virtual void Start() = 0;
  // Ends the session; its steps are stopped unless others share them.
  void Cancel(const absl::Status& why = absl::CancelledError("the build was cancelled"));

  EventStream& events() { return events_; }
  const std::string& id() const { return options_.id; }
  const std::string& domain() const { return options_.domain; }
  // What steps ask of the client's ssh agents goes through it; null if it has none.
  virtual SshAgentRelay* ssh_agents() { return nullptr; }
  // What the collector must leave alone while the session is open, and, if it made what the client
  // has yet to fetch, while it is kept.
  struct LiveBlobs {
    std::vector<Digest> blobs;
    std::vector<Digest> tables;  // with the files that they name
  };
  virtual void AddLiveBlobs(LiveBlobs& live) const;

 protected:
  // A layer of this session's images: what names it and, once it is here, where its bytes are.
  struct Layer {
    v1::LayerRef ref;                          // diffID; table and forms once they are in the CAS
    std::optional<v1::RegistrySource> source;  // where its blob can be pulled from
    std::optional<Descriptor> blob;            // as an image's manifest names it
    bool here = false;                         // table and a form are in the CAS
    bool coming = false;
    std::vector<std::function<void(absl::Status)>> waiting;
  };
  struct StepRun {
    int step = 0;  // from AddStep()
    StepRunner::Request request;
    bool lookup = true;                // try the action cache first
    bool is_internal = false;          // not of the Dockerfile, whatever it does
    std::vector<std::string> reasons;  // for --explain
    std::string origin;                // see PlanStep
  };
  struct StepDone {
    v1::StepResult result;
    bool cached = false;
  };

  // Declares a step to the watchers. Ids count from 1.
  int AddStep(const std::string& name, const std::vector<int>& deps = {}, int line = 0);
  void AnnounceSteps();  // Those added since the last call, in one event.
  // Looks up, runs, and reports. `then` gets an error, or a result with exit code 0. A command that
  // fails ends the session.
  void RunStep(StepRun run, std::function<void(absl::StatusOr<StepDone>)> then);
  void ReportCached(int step, const v1::StepResult& result);
  // With the time since it was started.
  void ReportFinished(int step, v1::StepFinished::Outcome outcome,
                      const absl::Status& error = absl::OkStatus());
  void ReportStarted(int step, const std::string& worker, const std::string& phase,
                     const std::vector<std::string>& reasons = {});
  void Log(int step, absl::string_view bytes, bool is_stderr);
  void Warn(const std::string& message, const std::string& rule = "", int line = 0);
  // For RegistryCall::remark, on whatever thread: a line in the step's log.
  std::function<void(const std::string& remark)> RemarksTo(int step);

  // Shows what is done on the pool, one thing after another, as steps. Called there; what it tells
  // is done by the loop, in order, while the session is open.
  class PoolSteps {
   public:
    explicit PoolSteps(Session& session)
        : session_(session.weak_from_this()), loop_(session.farm_.loop) {}
    void Begin(const std::string& name) const;
    void Remark(const std::string& remark) const;
    void End(const absl::Status& status) const;

   private:
    void Post(std::function<void(Session& session, int& step)> tell) const;

    const std::weak_ptr<Session> session_;
    Executor& loop_;
    const std::shared_ptr<int> step_ = std::make_shared<int>(0);  // The loop's.
  };

  int AddLayer(FoundLayer found);
  Layer& layer(int index) { return layers_[static_cast<size_t>(index)]; }
  const std::vector<Layer>& layers() const { return layers_; }
  // Brings layers into the CAS, each by one unpack step, and then calls `then`.
  void NeedLayers(const std::vector<int>& indexes, std::function<void(absl::Status)> then);
  // Layers are to be added anew: some turned out to be lost.
  void ForgetLayers();

  // Calls `then` once all results of the session's steps are durable.
  void WhenPublished(std::function<void()> then);

  // Ends the session once all results of its steps are durable.
  void Succeed(v1::BuiltImage image);
  void Fail(const absl::Status& error, int failed_step = 0);
  bool open() const { return open_; }
  // `work` on the pool, then `then` on the loop if the session is still open. A full pool fails it.
  template <typename Work, typename Then>
  void Blocking(Work work, Then then) {
    BlockingOn(farm_.pool, std::move(work), std::move(then));
  }
  template <typename Work, typename Then>
  void BlockingOn(Executor& pool, Work work, Then then) {
    const bool posted = RunBlocking(pool, farm_.loop, weak_from_this(), std::move(work),
                                    [this, then = std::move(then)](auto result) mutable {
                                      if (open_) then(std::move(result));
                                    });
    if (!posted) Fail(absl::ResourceExhaustedError("the coordinator has too much to do"));
  }

  FarmContext& farm_;
  const Options options_;
  // Cancelled when the session ends: for calls of registries, which know no other end.
  const std::shared_ptr<CancelToken> cancel_ = std::make_shared<CancelToken>();
  int steps_ran_ = 0;     // of the Dockerfile
  int steps_cached_ = 0;  // the same

 private:
  void Dispatch(StepRun run, std::function<void(absl::StatusOr<StepDone>)> then);
  void BringLayer(int index);
  void LayerArrived(int index, absl::Status status);
  void OnSucceeded(v1::BuiltImage image);
  void End(v1::BuildFinished finished);
  // Every end of a step.
  void EmitFinished(v1::StepFinished finished);

  EventStream events_;
  bool open_ = true;
  std::optional<v1::BuiltImage> made_;  // once the session has succeeded
  int next_step_ = 1;
  v1::StepsPlanned unannounced_;
  std::map<int, absl::Time> begun_;  // steps that were shown as started, and have not ended
  std::set<StepRunner::Ticket> tickets_;
  std::vector<Layer> layers_;
  int publishing_ = 0;
  bool told_of_no_worker_ = false;
  std::vector<std::function<void()>> when_published_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_SESSION_H_
