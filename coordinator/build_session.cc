#include "coordinator/build_session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "coordinator/build_request.h"
#include "coordinator/layout_image.h"
#include "coordinator/step_result.h"
#include "dockerfile/parser.h"
#include "layer/chain_id.h"
#include "oci/reference.h"
#include "plan/plan_lint.h"
#include "plan/planner.h"
#include "plan/platform_proto.h"
#include "plan/resolve_sources.h"

namespace farm {
namespace {

// Names under which the parts of a step's key are remembered: what it does, and where it stands in
// the builds of the same repository. Elsewhere another Dockerfile's step stands in that place.
std::vector<std::string> AliasesOf(const v1::StartBuildRequest& request, const PlanStep& step) {
  std::string repository;
  if (request.tags_size() > 0) {
    if (const auto tag = Reference::Parse(request.tags(0)); tag.ok())
      repository = tag->repository();
  }
  const std::vector<std::string> words = absl::StrSplit(step.name, absl::MaxSplits(']', 1));
  return {absl::StrCat("i:", step.instruction), absl::StrCat("p:", repository, " ", words.front())};
}

std::vector<std::string> Explain(Publisher& publisher, const std::string& domain,
                                 const std::vector<std::string>& aliases, const StepKey& key) {
  for (const std::string& alias : aliases) {
    const absl::StatusOr<v1::ActionRecord> last = publisher.FindLastRun(domain, alias);
    if (!last.ok()) continue;
    std::vector<std::string> reasons =
        ExplainKey(key.parts, {last->parts().begin(), last->parts().end()});
    const int exit_code = last->result().exit_code();
    if (exit_code != 0) {
      reasons.push_back(absl::StrCat("it failed when it ran last: exit code: ", exit_code));
    }
    if (reasons.empty()) reasons.push_back("its result is not kept any more");
    return reasons;
  }
  return {"no earlier run of it is known"};
}

}  // namespace

BuildSession::BuildSession(FarmContext& farm, Options options, v1::StartBuildRequest request)
    : ExportSession(farm, std::move(options)),
      request_(std::move(request)),
      ssh_agents_({request_.ssh_agents().begin(), request_.ssh_agents().end()}, farm.clock) {}

void BuildSession::Start() {
  v1::BuildEvent event;
  event.mutable_started()->set_build_id(id());
  events().Emit(std::move(event));
  if (const absl::Status wrong = CheckRequest(request_); !wrong.ok()) return Fail(wrong);
  if (request_.context_url().empty()) return StartPreparing();
  if (const absl::Status added = AddContextSteps(); !added.ok()) return Fail(added);
  FetchContext();
}

void BuildSession::StartPreparing() {
  BlockingOn(
      farm_.slow_pool,
      [&farm = farm_, domain = domain(), request = request_, lookups = PoolSteps(*this),
       cancel = cancel_] { return Prepare(farm, domain, request, lookups, *cancel); },
      [this](absl::StatusOr<Prepared> prepared) {
        if (!prepared.ok()) return Fail(prepared.status());
        OnPrepared(*std::move(prepared));
      });
}

absl::StatusOr<BuildSession::Prepared> BuildSession::Prepare(FarmContext& farm,
                                                             const std::string& domain,
                                                             const v1::StartBuildRequest& request,
                                                             const PoolSteps& lookups,
                                                             CancelToken& cancel) {
  RETURN_IF_ERROR(CheckContexts(farm, request));
  ASSIGN_OR_RETURN(DockerfileSource source,
                   DockerfileSource::Create(request.dockerfile_name(), request.dockerfile()));
  ASSIGN_OR_RETURN(const Dockerfile file, ParseDockerfile(std::move(source)));
  ASSIGN_OR_RETURN(const PlanOptions options, PlanOptionsOf(farm, request));
  const RegistryAuth auth = AuthOf({request.credentials().begin(), request.credentials().end()});
  const RegistryCall call{.auth = &auth,
                          .cancel = &cancel,
                          .remark = [&](const std::string& remark) { lookups.Remark(remark); }};
  ClientLayouts layouts(request);
  Prepared prepared;
  ResolvedImages images;
  std::map<ImageKey, ResolvedBase> resolved;
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<ImageKey> wanted, ImagesToResolve(file, images, options));
    if (wanted.empty()) break;
    for (const ImageKey& key : wanted) {
      ASSIGN_OR_RETURN(const Platform platform, Platform::Parse(key.platform));
      // What a registry is asked for is shown as a step of its own.
      lookups.Begin(absl::StrCat("[internal] load metadata for ", key.name));
      absl::StatusOr<ResolvedBase> base =
          layouts.Has(key.name) ? layouts.Resolve(farm, domain, key.name, platform)
                                : ResolveBase(farm, domain, key.name, PlatformToProto(platform),
                                              request.pull(), call);
      if (!base.ok()) base = UnresolvedImage(file, images, options, key, base.status());
      lookups.End(base.status());
      RETURN_IF_ERROR(base.status());
      images[key] = base->image;
      resolved[key] = *std::move(base);
    }
  }
  ASSIGN_OR_RETURN(prepared.plan, MakePlan(file, images, options));
  if (request.rewrite_timestamps() && !prepared.plan.created_max.has_value()) {
    return absl::InvalidArgumentError(
        "rewrite-timestamp=true needs a time: give --build-arg SOURCE_DATE_EPOCH=SECONDS");
  }
  RETURN_IF_ERROR(CheckSent(prepared.plan, request));
  ASSIGN_OR_RETURN(prepared.lint, LintForPlan(file, images, options, {.target_only = true}));
  prepared.lint_status = prepared.lint.ToStatus(file);
  for (const BaseImage& image : prepared.plan.bases) {
    const auto it = resolved.find({.name = image.name, .platform = image.platform});
    FARM_CHECK(it != resolved.end()) << "the plan names a base that was not resolved";
    prepared.bases.push_back(it->second);
  }
  return prepared;
}

void BuildSession::OnPrepared(Prepared prepared) {
  plan_ = std::make_shared<const Plan>(std::move(prepared.plan));
  bases_ = std::move(prepared.bases);
  if (const absl::Status refused = CheckRunnable(*plan_, request_); !refused.ok())
    return Fail(refused);
  for (const std::string& warning : plan_->warnings) Warn(warning);
  for (const LintWarning& warning : prepared.lint.warnings) {
    Warn(warning.message, warning.rule, warning.line);
  }
  if (!prepared.lint_status.ok()) return Fail(prepared.lint_status);
  AddRemoteSteps();
  AddPlanSteps();
  CheckSources(ContextsHere(), [this] { StartSteps(); });
}

void BuildSession::StartSteps() {
  AddBaseLayers();
  FetchRemotes();
  Advance();
}

void BuildSession::AddPlanSteps() {
  nodes_.resize(plan_->steps.size());
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const PlanStep& step = plan_->steps[i];
    std::vector<int> deps;
    for (int dep : step.Dependencies(*plan_)) deps.push_back(nodes_[static_cast<size_t>(dep)].step);
    for (const SourceRequest& request : step.sources) {
      if (request.from.kind != FileSystemRef::Kind::kRemote) continue;
      deps.push_back(remotes_[static_cast<size_t>(request.from.index)].step);
    }
    nodes_[i].step = AddStep(step.name, deps, step.position.line);
  }
  AnnounceSteps();
}

void BuildSession::AddBaseLayers() {
  base_layers_.clear();
  for (const ResolvedBase& base : bases_) {
    std::vector<int>& indexes = base_layers_.emplace_back();
    for (const FoundLayer& found : base.layers) indexes.push_back(AddLayer(found));
  }
}

void BuildSession::Advance() {
  if (!open() || finishing_) return;
  bool all_done = true;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].state == State::kDone) continue;
    all_done = false;
    if (nodes_[i].state != State::kWaiting) continue;
    const std::vector<int> deps = plan_->steps[i].Dependencies(*plan_);
    const bool ready = std::all_of(deps.begin(), deps.end(), [this](int dep) {
      return nodes_[static_cast<size_t>(dep)].state == State::kDone;
    });
    if (!ready || !HasRemotesOf(plan_->steps[i])) continue;
    nodes_[i].state = State::kKeyed;
    MakeKey(static_cast<int>(i));
  }
  if (!all_done) return;
  finishing_ = true;
  // A name is given only to what survives a power cut.
  WhenPublished([this] { Finish(); });
}

std::optional<Digest> BuildSession::ContextTable(FileSystemRef file_system) const {
  if (file_system.kind != FileSystemRef::Kind::kContext) return std::nullopt;
  const v1::Digest& table = file_system.index == 0
                                ? request_.context_table()
                                : request_.named_contexts(file_system.index - 1).table();
  const absl::StatusOr<std::optional<Digest>> sent = SentTable(table);
  return sent.ok() ? *sent : std::nullopt;
}

BuildSession::Tables BuildSession::TablesOf(FileSystemRef file_system) const {
  if (const std::optional<Digest> sent = ContextTable(file_system); sent.has_value()) {
    return {.digests = {*sent}, .is_complete = true};
  }
  Tables tables;
  for (int index : LayersOf(file_system)) tables.digests.push_back(TableOf(index));
  return tables;
}

absl::StatusOr<std::shared_ptr<const Table>> BuildSession::Load(FarmContext& farm,
                                                                const Tables& tables) {
  if (tables.is_complete) return farm.tables.Get(tables.digests[0]);
  return farm.tables.Merged(tables.digests);
}

std::vector<int> BuildSession::LayersOf(FileSystemRef file_system) const {
  if (file_system.kind == FileSystemRef::Kind::kRemote) {
    return {remotes_[static_cast<size_t>(file_system.index)].layer};
  }
  if (file_system.kind == FileSystemRef::Kind::kContext) {
    if (file_system.index != 0 || !context_.has_value() || context_->layer < 0) return {};
    return {context_->layer};
  }
  // There is no plan while the context is fetched.
  if (file_system.kind == FileSystemRef::Kind::kScratch) return {};
  std::vector<int> indexes;
  if (const int base = BaseOf(*plan_, file_system); base >= 0) {
    indexes = base_layers_[static_cast<size_t>(base)];
  }
  for (int step : StepsOf(*plan_, file_system)) {
    indexes.push_back(nodes_[static_cast<size_t>(step)].layer);
  }
  return indexes;
}

Digest BuildSession::ChainIdOf(FileSystemRef file_system) const {
  std::vector<Digest> diff_ids;
  for (int index : LayersOf(file_system)) {
    const v1::LayerRef& ref = layers()[static_cast<size_t>(index)].ref;
    diff_ids.push_back(*DigestFromProto(ref.diff_id()));
  }
  return ChainId(diff_ids);
}

Digest BuildSession::RootChainIdOf(const PlanStep& step) const {
  return ChainIdOf(step.link ? FileSystemRef() : step.parent);
}

void BuildSession::MakeKey(int index) {
  const PlanStep& step = plan_->steps[static_cast<size_t>(index)];
  // A copy's key is made of what it copies: the tables of its sources must be here.
  std::vector<int> sources;
  for (const SourceRequest& request : step.sources) {
    const std::vector<int> layers = LayersOf(request.from);
    sources.insert(sources.end(), layers.begin(), layers.end());
  }
  const int generation = generation_;
  NeedLayers(sources, [this, index, generation](absl::Status status) {
    if (!open() || generation != generation_) return;
    if (!status.ok()) return OnStepError(index, status);
    const PlanStep& step = plan_->steps[static_cast<size_t>(index)];
    std::vector<Tables> tables;  // of each source
    for (const SourceRequest& request : step.sources) tables.push_back(TablesOf(request.from));
    Blocking(
        [&farm = farm_, plan = plan_, index, domain = domain(), tables = std::move(tables),
         parent = RootChainIdOf(step), aliases = AliasesOf(request_, step), cancel = cancel_,
         lookup = !request_.no_cache(), explain = request_.explain()]() -> absl::StatusOr<Keyed> {
          const PlanStep& step = plan->steps[static_cast<size_t>(index)];
          Keyed keyed{.identity = step.identity};
          std::vector<Table> selections;
          if (!step.sources.empty() || !step.inline_files.empty()) {
            std::vector<std::shared_ptr<const Table>> held;
            std::vector<const Table*> sources;
            for (const Tables& of_source : tables) {
              ASSIGN_OR_RETURN(held.emplace_back(), Load(farm, of_source));
              sources.push_back(held.back().get());
            }
            ASSIGN_OR_RETURN(ResolvedSources resolved, ResolveSources(step, sources, *cancel));
            keyed.identity = std::move(resolved.identity);
            selections = std::move(resolved.selections);
          }
          keyed.key = ComputeStepKey(keyed.identity, parent);
          if (lookup) {
            absl::StatusOr<v1::ActionRecord> record = farm.actions.Get(domain, keyed.key.digest);
            if (record.ok() && CheckResult(keyed.identity, record->result()).ok()) {
              keyed.hit = *std::move(record);
            } else if (!record.ok() && !absl::IsNotFound(record.status())) {
              LogWarning("action cache", {{"error", LogText(record.status())}});
            }
          }
          if (!keyed.hit.has_value()) {
            for (const Table& selection : selections) {
              ASSIGN_OR_RETURN(keyed.selections.emplace_back(),
                               PutBytes(farm.blobs, selection.Encode()));
            }
          }
          if (explain && !keyed.hit.has_value()) {
            keyed.reasons = lookup ? Explain(farm.publisher, domain, aliases, keyed.key)
                                   : std::vector<std::string>{"--no-cache was asked for"};
          }
          return keyed;
        },
        [this, index, generation](absl::StatusOr<Keyed> keyed) {
          if (generation != generation_) return;
          if (!keyed.ok()) return OnStepError(index, keyed.status());
          OnKeyed(index, *std::move(keyed));
        });
  });
}

void BuildSession::OnKeyed(int index, Keyed keyed) {
  if (keyed.hit.has_value()) {
    ++steps_cached_;
    ReportCached(nodes_[static_cast<size_t>(index)].step, keyed.hit->result());
    return OnStepDone(index, keyed.hit->result());
  }
  selections_.insert(selections_.end(), keyed.selections.begin(), keyed.selections.end());
  const PlanStep& step = plan_->steps[static_cast<size_t>(index)];
  const std::vector<int> needed = step.link ? std::vector<int>() : LayersOf(step.parent);
  const int generation = generation_;
  NeedLayers(needed, [this, index, generation, keyed = std::move(keyed)](absl::Status status) {
    if (!open() || generation != generation_) return;
    if (!status.ok()) return OnStepError(index, status);
    RunPlanStep(index, keyed);
  });
}

void BuildSession::RunPlanStep(int index, Keyed keyed) {
  const PlanStep& step = plan_->steps[static_cast<size_t>(index)];
  StepRun run;
  run.step = nodes_[static_cast<size_t>(index)].step;
  run.lookup = false;  // It was looked up when its key was made.
  run.reasons = std::move(keyed.reasons);
  run.origin = step.origin;
  StepRunner::Request& request = run.request;
  request.domain = domain();
  request.build = id();
  request.key = keyed.key.digest;
  request.parent_chain_id = RootChainIdOf(step);
  request.record.set_name(step.name);
  request.aliases = AliasesOf(request_, step);
  for (v1::KeyPart& part : keyed.key.parts) *request.record.add_parts() = std::move(part);
  *request.spec.mutable_identity() = std::move(keyed.identity);
  v1::StepExecution& execution = *request.spec.mutable_execution();
  if (const absl::Status status =
          AddSecrets(step, request.spec.identity().run(), request_, execution);
      !status.ok()) {
    return Fail(status, run.step);
  }
  execution.set_cache_scope(domain());
  execution.set_name(step.name);
  execution.set_network(farm_.run_network_default);
  execution.set_cgroup_parent(request_.cgroup_parent());
  if (const absl::Status can = farm_.runner.CheckCanRun(request.spec); !can.ok()) {
    return Fail(step.Error(absl::StrCat(step.name, ": ", can.message())), run.step);
  }
  *execution.mutable_extra_hosts() = request_.extra_hosts();
  for (const std::string& proxy : plan_->proxy_env) execution.add_extra_env(proxy);
  for (const auto& [name, value] : request_.proxy_args()) {
    execution.add_extra_env(absl::StrCat(name, "=", value));
  }
  v1::StepInputs& inputs = *request.spec.mutable_inputs();
  if (!step.link) {
    for (int layer_index : LayersOf(step.parent)) *inputs.add_root() = layer(layer_index).ref;
  }
  for (const SourceRequest& copy : step.sources) {
    v1::CopySource& source = *inputs.add_sources();
    const std::vector<int> copied = LayersOf(copy.from);
    if (copy.from.kind == FileSystemRef::Kind::kContext && copied.empty()) {
      source.mutable_context_table();
      if (const std::optional<Digest> table = ContextTable(copy.from); table.has_value()) {
        *source.mutable_context_table() = DigestToProto(*table);
      }
    } else {
      source.mutable_layers();
      for (int layer_index : copied) {
        *source.mutable_layers()->add_layers() = layer(layer_index).ref;
      }
    }
  }
  const int generation = generation_;
  RunStep(std::move(run), [this, index, generation](absl::StatusOr<StepDone> done) {
    if (generation != generation_) return;
    if (!done.ok()) return OnStepError(index, done.status());
    OnStepDone(index, done->result);
  });
}

void BuildSession::OnStepDone(int index, const v1::StepResult& result) {
  Node& node = nodes_[static_cast<size_t>(index)];
  node.layer = AddLayer(MadeLayer(result));
  node.made = {.diff_id = *DigestFromProto(result.layer().diff_id()),
               .finished = TimeFromProto(result.finished())};
  node.state = State::kDone;
  Advance();
}

void BuildSession::Finish() {
  std::vector<StepLayer> made;
  for (const Node& node : nodes_) made.push_back(node.made);
  const ImageConfig config = FinishImageConfig(*plan_, made);
  Image image{.config_bytes = SerializeImageConfig(config), .layers = LayersOf(plan_->result)};
  for (int index : image.layers) image.blobs.push_back(*layer(index).blob);
  if (!request_.rewrite_timestamps()) return StoreAndExport(image);
  const int base = BaseOf(*plan_, plan_->result);
  const size_t kept = base < 0 ? 0 : base_layers_[static_cast<size_t>(base)].size();
  RewriteTimes(std::move(image), kept, *plan_->created_max,
               [this](const Image& rewritten) { StoreAndExport(rewritten); });
}

void BuildSession::StoreAndExport(const Image& image) {
  StoreImage(image, [this, image](v1::BuiltImage built) {
    Export(image, {request_.exports().begin(), request_.exports().end()},
           {request_.tags().begin(), request_.tags().end()}, std::move(built),
           [this](v1::BuiltImage exported) { Succeed(std::move(exported)); });
  });
}

void BuildSession::StoreImage(const Image& image, std::function<void(v1::BuiltImage)> then) {
  std::string repository;
  if (const int base = BaseOf(*plan_, plan_->result); base >= 0) {
    repository = bases_[static_cast<size_t>(base)].repository;
  }
  Blocking(
      [&farm = farm_, domain = domain(), image, repository,
       tags = std::vector<std::string>(request_.tags().begin(),
                                       request_.tags().end())]() -> absl::StatusOr<v1::BuiltImage> {
        const std::string manifest = SerializeManifest(ManifestFor(image));
        ASSIGN_OR_RETURN(const Digest digest, farm.images.Put(domain, manifest, image.config_bytes,
                                                              repository, {}, tags));
        v1::BuiltImage built;
        *built.mutable_manifest() = DigestToProto(digest);
        *built.mutable_config() = DigestToProto(DigestOf(image.config_bytes));
        for (const std::string& tag : tags) {
          ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag));
          built.add_tags(reference.WithDefaultTag().familiar());
        }
        return built;
      },
      [this, then = std::move(then)](absl::StatusOr<v1::BuiltImage> built) {
        if (!built.ok()) return Fail(built.status());
        then(*std::move(built));
      });
}

void BuildSession::AddLiveBlobs(LiveBlobs& live) const {
  // Once it is over, only for a client that has yet to write an archive or files of the result:
  // what every finished build has made would keep a busy store above its marks.
  const bool is_fetched = std::any_of(request_.exports().begin(), request_.exports().end(),
                                      [](const v1::Export& wanted) {
                                        return wanted.kind() == v1::Export::KIND_LAYERS ||
                                               wanted.kind() == v1::Export::KIND_FLATTEN;
                                      });
  if (open() || is_fetched) Session::AddLiveBlobs(live);
  if (!open()) return;
  for (int index = 0; index <= request_.named_contexts_size(); ++index) {
    const auto table = ContextTable({FileSystemRef::Kind::kContext, index});
    if (table.has_value()) live.tables.push_back(*table);
  }
  for (const v1::NamedContext& context : request_.named_contexts()) {
    for (const v1::Digest& layer : context.layout().layers()) {
      if (const auto blob = DigestFromProto(layer); blob.ok()) live.blobs.push_back(*blob);
    }
  }
  // What they name is of the context, or of layers.
  live.blobs.insert(live.blobs.end(), selections_.begin(), selections_.end());
}

}  // namespace farm
