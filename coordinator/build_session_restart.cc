// A blob that a step needs is gone or damaged: what made it runs again.
#include <utility>

#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/log.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "coordinator/build_session.h"

namespace farm {
namespace {

// How often a build looks at everything anew because blobs turned out to be lost.
constexpr int kRestartsMax = 3;

absl::StatusOr<std::vector<Digest>> FilesOf(FarmContext& farm, const Digest& context_table) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const Table> table, farm.tables.Get(context_table));
  std::vector<Digest> files;
  for (const TableEntry& entry : table->entries()) {
    if (entry.type == EntryType::kFile) files.push_back(entry.content);
  }
  return files;
}

class NullSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
};

// A worker on this host reads the store's files without verifying them, so the store does not know
// what the worker found. Reading a blob to its end makes the store see the damage and put the blob
// aside: it is missing then, and what made it runs again.
void PutAsideDamaged(FarmContext& farm, std::vector<Digest> blobs,
                     const std::vector<Digest>& context_tables) {
  for (const Digest& table : context_tables) {
    const absl::StatusOr<std::vector<Digest>> files = FilesOf(farm, table);
    if (files.ok()) blobs.insert(blobs.end(), files->begin(), files->end());
  }
  NullSink sink;
  for (const Digest& blob : blobs) {
    const absl::Status read = farm.blobs.Get(blob, 0, sink);
    if (absl::IsDataLoss(read)) LogError("blob damaged", {{"error", LogText(read)}});
  }
}

}  // namespace

void BuildSession::OnStepError(int index, const absl::Status& error) {
  const PlanStep& step = plan_->steps[static_cast<size_t>(index)];
  const int id = nodes_[static_cast<size_t>(index)].step;
  if (!MayRestart(error)) {
    return Fail(step.Locate(error), id);
  }
  LogWarning("blobs are lost", {{"build", this->id()}, {"error", LogText(error)}});
  if (!absl::IsDataLoss(error)) return RestartIfContextIsComplete(index);
  const int generation = generation_;
  Blocking(
      [&farm = farm_, blobs = BlobsRead(step), contexts = ContextsRead(step)] {
        PutAsideDamaged(farm, blobs, contexts);
        return true;
      },
      [this, generation, index](bool) {
        if (generation == generation_) RestartIfContextIsComplete(index);
      });
}

void BuildSession::OnContextError(const absl::Status& error, int step, int layer) {
  if (!MayRestart(error)) {
    return Fail(PositionOf(error).has_value() ? error : ContextError(error), step);
  }
  LogWarning("blobs are lost", {{"build", id()}, {"error", LogText(error)}});
  const int generation = generation_;
  Blocking(
      [&farm = farm_, is_damaged = absl::IsDataLoss(error), blobs = BlobsOf({layer})] {
        if (is_damaged) PutAsideDamaged(farm, blobs, {});
        return true;
      },
      [this, generation](bool) {
        if (generation == generation_) Restart();
      });
}

bool BuildSession::MayRestart(const absl::Status& error) const {
  const bool lost_blob =
      absl::IsNotFound(error) || absl::IsDataLoss(error) || absl::IsFailedPrecondition(error);
  return lost_blob && !PositionOf(error).has_value() && restarts_ < kRestartsMax;
}

std::vector<Digest> BuildSession::BlobsRead(const PlanStep& step) const {
  std::vector<int> indexes = step.link ? std::vector<int>() : LayersOf(step.parent);
  for (const SourceRequest& source : step.sources) {
    const std::vector<int> more = LayersOf(source.from);
    indexes.insert(indexes.end(), more.begin(), more.end());
  }
  return BlobsOf(indexes);
}

std::vector<Digest> BuildSession::BlobsOf(const std::vector<int>& layer_indexes) const {
  std::vector<Digest> blobs;
  for (int index : layer_indexes) {
    const v1::LayerRef& ref = layers()[static_cast<size_t>(index)].ref;
    if (const auto table = DigestFromProto(ref.table()); table.ok()) blobs.push_back(*table);
    for (const v1::Descriptor& form : ref.forms()) {
      if (const auto digest = DigestFromProto(form.digest()); digest.ok()) blobs.push_back(*digest);
    }
  }
  return blobs;
}

std::vector<Digest> BuildSession::ContextsRead(const PlanStep& step) const {
  std::vector<Digest> tables;
  for (const SourceRequest& source : step.sources) {
    const std::optional<Digest> table = ContextTable(source.from);
    if (table.has_value()) tables.push_back(*table);
  }
  return tables;
}

void BuildSession::RestartIfContextIsComplete(int index) {
  std::vector<Digest> contexts = ContextsRead(plan_->steps[static_cast<size_t>(index)]);
  const int id = nodes_[static_cast<size_t>(index)].step;
  if (contexts.empty()) return Restart();
  // Only the client can bring back what is missing of its context.
  const int generation = generation_;
  Blocking(
      [&farm = farm_, contexts = std::move(contexts)]() -> absl::StatusOr<bool> {
        for (const Digest& table : contexts) {
          ASSIGN_OR_RETURN(const std::vector<Digest> files, FilesOf(farm, table));
          ASSIGN_OR_RETURN(const std::vector<Digest> missing, farm.blobs.FindMissing(files));
          if (!missing.empty()) return false;
        }
        return true;
      },
      [this, generation, id](absl::StatusOr<bool> complete) {
        if (generation != generation_) return;
        if (!complete.ok() || !*complete) {
          return Fail(
              absl::FailedPreconditionError("files of the build context are not in the farm"), id);
        }
        Restart();
      });
}

void BuildSession::Restart() {
  ++restarts_;
  ++generation_;
  // What the bases' layers have left is looked up again as well.
  Blocking(
      [&farm = farm_, domain = domain(),
       bases = bases_]() mutable -> absl::StatusOr<std::vector<ResolvedBase>> {
        for (ResolvedBase& base : bases) {
          std::vector<Descriptor> blobs;
          for (const FoundLayer& found : base.layers) blobs.push_back(found.blob);
          ASSIGN_OR_RETURN(base.layers, FindLayers(farm, domain, base.image.config.diff_ids, blobs,
                                                   base.repository));
        }
        return bases;
      },
      [this](absl::StatusOr<std::vector<ResolvedBase>> bases) {
        if (!bases.ok()) return Fail(bases.status());
        bases_ = *std::move(bases);
        ForgetLayers();
        for (Node& node : nodes_) node = {.step = node.step};
        // A context from a URL is fetched again, too, and then leads to the rest.
        if (context_.has_value()) return FetchContext();
        StartSteps();
      });
}

}  // namespace farm
