#include "coordinator/session.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest_proto.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "coordinator/step_result.h"
#include "plan/go_format.h"
#include "plan/step_key.h"
#include "rpc/status.h"

namespace farm {
namespace {

std::string PhaseName(v1::LeaseState::Phase phase) {
  switch (phase) {
    case v1::LeaseState::PHASE_FETCHING:
      return "fetching";
    case v1::LeaseState::PHASE_RUNNING:
      return "running";
    case v1::LeaseState::PHASE_STORING:
      return "storing";
    default:
      return "waiting";
  }
}

// Not what moves or converts layers for it.
bool IsOfDockerfile(const v1::StepIdentity& identity) {
  return identity.has_run() || identity.has_copy() || identity.has_make_directory();
}

// As BuildKit words it, since people search for the sentence.
absl::Status CommandFailed(const v1::StepSpec& spec, const v1::StepResult& result,
                           const std::string& origin) {
  const auto& args = spec.identity().run().args();
  return absl::AbortedError(absl::StrCat(
      "process ", GoQuoted(absl::StrJoin(args, " ")), " did not complete successfully: exit code: ",
      result.exit_code(), result.out_of_memory() ? " (its memory limit was reached)" : "",
      origin.empty() ? "" : absl::StrCat(" (", origin, ")")));
}

}  // namespace

Session::Session(FarmContext& farm, Options options)
    : farm_(farm),
      options_(std::move(options)),
      events_(farm.clock, options_.kept_event_bytes_max) {}

Session::~Session() {
  cancel_->Cancel();
  for (StepRunner::Ticket ticket : tickets_) farm_.runner.Leave(ticket);
}

void Session::Cancel(const absl::Status& why) { Fail(why); }

void Session::AddLiveBlobs(LiveBlobs& live) const {
  if (!open_ && !made_.has_value()) return;
  const auto add = [&live](const v1::Digest& digest) {
    if (absl::StatusOr<Digest> value = DigestFromProto(digest); value.ok()) {
      live.blobs.push_back(*value);
    }
  };
  for (const Layer& layer : layers_) {
    if (layer.ref.has_table()) add(layer.ref.table());
    for (const v1::Descriptor& form : layer.ref.forms()) add(form.digest());
  }
  if (!made_.has_value()) return;
  add(made_->manifest());
  add(made_->config());
  if (made_->has_flattened()) add(made_->flattened());
  for (const v1::Digest& manifest : made_->export_manifests()) {
    if (!manifest.hash().empty()) add(manifest);
  }
}

absl::StatusOr<std::vector<Session::FoundLayer>> Session::FindLayers(
    FarmContext& farm, const std::string& domain, const std::vector<std::string>& diff_ids,
    const std::vector<Descriptor>& blobs, const std::string& repository) {
  if (diff_ids.size() != blobs.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the image's config names ", diff_ids.size(),
                                                   " layers, its manifest ", blobs.size()));
  }
  std::vector<FoundLayer> found;
  for (size_t i = 0; i < diff_ids.size(); ++i) {
    ASSIGN_OR_RETURN(const Digest diff_id, Digest::FromOci(diff_ids[i], 0));
    FoundLayer layer{.blob = blobs[i]};
    *layer.ref.mutable_diff_id() = DigestToProto(diff_id);
    if (!repository.empty()) {
      layer.source.emplace();
      layer.source->set_repository(repository);
      layer.source->mutable_blob()->set_media_type(blobs[i].media_type);
      *layer.source->mutable_blob()->mutable_digest() = DigestToProto(blobs[i].digest);
    }
    if (absl::StatusOr<v1::LayerRecord> record = farm.publisher.FindLayer(domain, diff_id);
        record.ok() && record->diff_id().hash() == diff_id.hex()) {
      *layer.ref.mutable_diff_id() = record->diff_id();
      absl::StatusOr<Digest> table = DigestFromProto(record->table());
      if (table.ok() && !table->empty()) {
        std::vector<Digest> wanted = {*table};
        for (const v1::Descriptor& form : record->forms()) {
          ASSIGN_OR_RETURN(wanted.emplace_back(), DigestFromProto(form.digest()));
        }
        ASSIGN_OR_RETURN(const std::vector<Digest> missing, farm.blobs.FindMissing(wanted));
        const std::set<Digest> gone(missing.begin(), missing.end());
        if (!gone.contains(wanted[0])) *layer.ref.mutable_table() = record->table();
        for (int form = 0; form < record->forms_size(); ++form) {
          if (gone.contains(wanted[static_cast<size_t>(form) + 1])) continue;
          *layer.ref.add_forms() = record->forms(form);
        }
        layer.here = layer.ref.has_table() && layer.ref.forms_size() > 0;
      }
    }
    found.push_back(std::move(layer));
  }
  return found;
}

int Session::AddStep(const std::string& name, const std::vector<int>& deps, int line) {
  v1::PlannedStep& step = *unannounced_.add_steps();
  step.set_id(next_step_++);
  step.set_name(name);
  step.set_line(line);
  for (int dep : deps) step.add_deps(dep);
  return step.id();
}

void Session::AnnounceSteps() {
  if (unannounced_.steps().empty()) return;
  v1::BuildEvent event;
  *event.mutable_planned() = std::exchange(unannounced_, {});
  events_.Emit(std::move(event));
}

void Session::ReportStarted(int step, const std::string& worker, const std::string& phase,
                            const std::vector<std::string>& reasons) {
  AnnounceSteps();
  begun_.try_emplace(step, farm_.clock.Now());
  v1::BuildEvent event;
  v1::StepStarted& started = *event.mutable_step_started();
  started.set_id(step);
  started.set_worker(worker);
  started.set_phase(phase);
  for (const std::string& reason : reasons) started.add_reasons(reason);
  events_.Emit(std::move(event));
}

void Session::ReportCached(int step, const v1::StepResult& result) {
  v1::StepFinished finished;
  finished.set_id(step);
  finished.set_outcome(v1::StepFinished::OUTCOME_CACHED);
  finished.set_diff_id(result.layer().diff_id().hash());
  EmitFinished(std::move(finished));
}

void Session::ReportFinished(int step, v1::StepFinished::Outcome outcome,
                             const absl::Status& error) {
  v1::StepFinished finished;
  finished.set_id(step);
  finished.set_outcome(outcome);
  if (!error.ok()) *finished.mutable_error() = ToErrorDetail(error);
  EmitFinished(std::move(finished));
}

void Session::EmitFinished(v1::StepFinished finished) {
  AnnounceSteps();
  if (const auto begun = begun_.find(finished.id()); begun != begun_.end()) {
    *finished.mutable_duration() = DurationToProto(farm_.clock.Now() - begun->second);
    begun_.erase(begun);
  }
  v1::BuildEvent event;
  *event.mutable_step_finished() = std::move(finished);
  events_.Emit(std::move(event));
}

void Session::Log(int step, absl::string_view bytes, bool is_stderr) {
  v1::BuildEvent event;
  event.mutable_log()->set_id(step);
  event.mutable_log()->set_is_stderr(is_stderr);
  event.mutable_log()->set_bytes(std::string(bytes));
  events_.Emit(std::move(event));
}

std::function<void(const std::string& remark)> Session::RemarksTo(int step) {
  return [this, weak = weak_from_this(), &loop = farm_.loop, step](const std::string& remark) {
    const bool posted = loop.Post([this, weak, step, line = absl::StrCat(remark, "\n")] {
      if (const auto self = weak.lock(); self == nullptr || !open_) return;
      Log(step, line, /*is_stderr=*/true);
    });
    FARM_CHECK(posted) << "the event loop refuses work";
  };
}

void Session::PoolSteps::Post(std::function<void(Session& session, int& step)> tell) const {
  const bool posted = loop_.Post([weak = session_, step = step_, tell = std::move(tell)] {
    if (const auto session = weak.lock(); session != nullptr && session->open_) {
      tell(*session, *step);
    }
  });
  FARM_CHECK(posted) << "the event loop refuses work";
}

void Session::PoolSteps::Begin(const std::string& name) const {
  Post([name](Session& session, int& step) {
    step = session.AddStep(name);
    session.ReportStarted(step, "", "running");
  });
}

void Session::PoolSteps::Remark(const std::string& remark) const {
  Post([line = absl::StrCat(remark, "\n")](Session& session, int& step) {
    session.Log(step, line, /*is_stderr=*/true);
  });
}

void Session::PoolSteps::End(const absl::Status& status) const {
  Post([status](Session& session, int& step) {
    session.ReportFinished(
        step, status.ok() ? v1::StepFinished::OUTCOME_RAN : v1::StepFinished::OUTCOME_FAILED,
        status);
  });
}

void Session::Warn(const std::string& message, const std::string& rule, int line) {
  v1::BuildEvent event;
  event.mutable_warning()->set_message(message);
  event.mutable_warning()->set_rule(rule);
  event.mutable_warning()->set_line(line);
  events_.Emit(std::move(event));
}

void Session::RunStep(StepRun run, std::function<void(absl::StatusOr<StepDone>)> then) {
  if (!run.lookup) return Dispatch(std::move(run), std::move(then));
  const std::string domain = options_.domain;
  const Digest key = run.request.key;
  Blocking([&farm = farm_, domain, key] { return farm.actions.Get(domain, key); },
           [this, run = std::move(run),
            then = std::move(then)](absl::StatusOr<v1::ActionRecord> record) mutable {
             if (!record.ok() || !CheckResult(run.request.spec.identity(), record->result()).ok()) {
               return Dispatch(std::move(run), std::move(then));
             }
             ReportCached(run.step, record->result());
             then(StepDone{.result = record->result(), .cached = true});
           });
}

void Session::Dispatch(StepRun run, std::function<void(absl::StatusOr<StepDone>)> then) {
  const int step = run.step;
  const bool counts = IsOfDockerfile(run.request.spec.identity()) && !run.is_internal;
  for (const v1::RegistryCredential& credential : options_.credentials) {
    const bool uses_registry =
        run.request.spec.identity().has_unpack() || run.request.spec.identity().has_push();
    if (uses_registry) *run.request.spec.mutable_execution()->add_credentials() = credential;
  }
  ReportStarted(step, "", "waiting", run.reasons);
  if (!farm_.runner.HasWorkers() && !std::exchange(told_of_no_worker_, true)) {
    Warn("no worker is at this farm: what has to run waits for one");
  }
  const std::weak_ptr<Session> weak = weak_from_this();
  const auto ticket = std::make_shared<StepRunner::Ticket>(0);
  const v1::StepSpec spec = run.request.spec;
  StepRunner::Observer observer;
  observer.on_phase = [this, weak, step](const std::string& worker, v1::LeaseState::Phase phase) {
    if (weak.lock() == nullptr || !open_) return;
    ReportStarted(step, worker, PhaseName(phase));
  };
  observer.on_log = [this, weak, step](absl::string_view bytes, bool is_stderr) {
    if (weak.lock() == nullptr || !open_) return;
    Log(step, bytes, is_stderr);
  };
  observer.on_done = [this, weak, step, ticket, spec, counts, then,
                      origin = run.origin](absl::StatusOr<StepRunner::Outcome> outcome) {
    const std::shared_ptr<Session> self = weak.lock();
    if (self == nullptr || !open_) return;
    tickets_.erase(*ticket);
    if (!outcome.ok()) {
      // `then` decides whether the session ends: a lost blob can be made again.
      ReportFinished(step, v1::StepFinished::OUTCOME_FAILED, outcome.status());
      return then(outcome.status());
    }
    const v1::StepResult& result = outcome->result;
    if (result.exit_code() != 0) {
      const absl::Status error = CommandFailed(spec, result, origin);
      v1::StepFinished finished;
      finished.set_id(step);
      finished.set_outcome(v1::StepFinished::OUTCOME_FAILED);
      finished.set_exit_code(result.exit_code());
      *finished.mutable_error() = ToErrorDetail(error);
      EmitFinished(std::move(finished));
      return Fail(error, step);
    }
    if (counts) ++steps_ran_;
    ++publishing_;
    v1::StepFinished finished;
    finished.set_id(step);
    finished.set_outcome(result.not_modified() ? v1::StepFinished::OUTCOME_CACHED
                         : outcome->shared     ? v1::StepFinished::OUTCOME_SHARED
                                               : v1::StepFinished::OUTCOME_RAN);
    finished.set_adopted(outcome->adopted);
    *finished.mutable_usage() = result.usage();
    finished.set_diff_id(result.layer().diff_id().hash());
    EmitFinished(std::move(finished));
    then(StepDone{.result = result});
  };
  observer.on_published = [this, weak](absl::Status status) {
    const std::shared_ptr<Session> self = weak.lock();
    if (self == nullptr || !open_) return;
    --publishing_;
    if (!status.ok()) return Fail(Annotate(status, "keeping a step's result"));
    if (publishing_ > 0) return;
    for (auto& waiting : std::exchange(when_published_, {})) waiting();
  };
  observer.ask_ssh_agent = [this, weak](const std::string& id, const std::string& question,
                                        std::function<bool()> is_wanted,
                                        SshAgentRelay::Answer then) {
    if (weak.lock() == nullptr || !open_) return false;
    SshAgentRelay* agents = ssh_agents();
    if (agents == nullptr || !agents->Has(id)) return false;
    agents->Ask(id, question, std::move(is_wanted), std::move(then));
    return true;
  };
  *ticket = farm_.runner.Run(std::move(run.request), std::move(observer));
  tickets_.insert(*ticket);
}

void Session::WhenPublished(std::function<void()> then) {
  if (publishing_ == 0) return then();
  when_published_.push_back(std::move(then));
}

int Session::AddLayer(FoundLayer found) {
  layers_.push_back({.ref = std::move(found.ref),
                     .source = std::move(found.source),
                     .blob = std::move(found.blob),
                     .here = found.here});
  return static_cast<int>(layers_.size()) - 1;
}

void Session::ForgetLayers() { layers_.clear(); }

void Session::NeedLayers(const std::vector<int>& indexes, std::function<void(absl::Status)> then) {
  auto missing = std::make_shared<int>(1);  // One for this loop itself.
  auto shared_then = std::make_shared<std::function<void(absl::Status)>>(std::move(then));
  const auto arrived = [missing, shared_then](absl::Status status) {
    if (*missing <= 0) return;  // An error was told already.
    if (!status.ok()) {
      *missing = 0;
      (*shared_then)(status);
    } else if (--*missing == 0) {
      (*shared_then)(absl::OkStatus());
    }
  };
  for (int index : indexes) {
    if (layer(index).here) continue;
    ++*missing;
    layer(index).waiting.push_back(arrived);
    if (!layer(index).coming) BringLayer(index);
  }
  arrived(absl::OkStatus());
}

void Session::BringLayer(int index) {
  Layer& wanted = layer(index);
  wanted.coming = true;
  v1::StepSpec spec;
  v1::UnpackOperation& unpack = *spec.mutable_identity()->mutable_unpack();
  *spec.mutable_identity()->mutable_platform() = farm_.platform;
  if (wanted.blob.has_value()) {
    unpack.mutable_blob()->set_media_type(wanted.blob->media_type);
    *unpack.mutable_blob()->mutable_digest() = DigestToProto(wanted.blob->digest);
  } else {
    return LayerArrived(
        index, absl::DataLossError(absl::StrCat("layer ", wanted.ref.diff_id().hash(),
                                                " is lost, and no image says where it came from")));
  }
  unpack.set_diff_id(absl::StrCat("sha256:", wanted.ref.diff_id().hash()));
  if (wanted.source.has_value()) {
    *spec.mutable_inputs()->add_registries() = *wanted.source;
  }
  StepRun run;
  run.step =
      AddStep(absl::StrCat("[internal] pull layer ", wanted.blob->digest.hex().substr(0, 12)));
  spec.mutable_execution()->set_name("pull layer");
  StepKey key = ComputeStepKey(spec.identity(), Digest());
  run.request = {
      .domain = options_.domain, .build = options_.id, .key = key.digest, .spec = std::move(spec)};
  for (v1::KeyPart& part : key.parts) *run.request.record.add_parts() = std::move(part);
  RunStep(std::move(run), [this, index](absl::StatusOr<StepDone> done) {
    if (!done.ok()) return LayerArrived(index, done.status());
    Layer& here = layer(index);
    *here.ref.mutable_diff_id() = done->result.layer().diff_id();
    *here.ref.mutable_table() = done->result.layer().table();
    here.ref.clear_forms();
    *here.ref.add_forms() = done->result.layer().form();
    here.here = true;
    LayerArrived(index, absl::OkStatus());
  });
}

void Session::LayerArrived(int index, absl::Status status) {
  layer(index).coming = false;
  for (auto& waiting : std::exchange(layer(index).waiting, {})) waiting(status);
}

void Session::Succeed(v1::BuiltImage image) {
  // What is named here must survive a power cut.
  WhenPublished([this, image = std::move(image)]() mutable { OnSucceeded(std::move(image)); });
}

void Session::OnSucceeded(v1::BuiltImage image) {
  if (!open_) return;
  image.set_steps_ran(steps_ran_);
  image.set_steps_cached(steps_cached_);
  made_ = image;
  v1::BuildFinished finished;
  *finished.mutable_image() = std::move(image);
  End(std::move(finished));
}

void Session::Fail(const absl::Status& error, int failed_step) {
  if (!open_) return;
  LogInfo("session failed", {{"session", options_.id}, {"error", LogText(error)}});
  v1::BuildFinished finished;
  *finished.mutable_error() = ToErrorDetail(error);
  finished.set_failed_step(failed_step);
  End(std::move(finished));
}

void Session::End(v1::BuildFinished finished) {
  AnnounceSteps();
  while (!begun_.empty()) {
    ReportFinished(begun_.begin()->first, v1::StepFinished::OUTCOME_CANCELLED);
  }
  open_ = false;
  cancel_->Cancel();
  if (SshAgentRelay* agents = ssh_agents(); agents != nullptr) agents->Close();
  for (StepRunner::Ticket ticket : std::exchange(tickets_, {})) farm_.runner.Leave(ticket);
  when_published_.clear();
  v1::BuildEvent event;
  *event.mutable_finished() = std::move(finished);
  events_.Emit(std::move(event));
}

}  // namespace farm
