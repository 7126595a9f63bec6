#include "coordinator/store_collector.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "base/digest_proto.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/time_proto.h"

namespace farm {
namespace {

constexpr absl::Duration kLoopTimeout = absl::Seconds(30);
constexpr absl::Duration kBoundEvery = absl::Hours(1);  // It reads whole tables.

using DigestSet = absl::flat_hash_set<Digest>;

void Add(const v1::Digest& digest, DigestSet& set) {
  if (absl::StatusOr<Digest> value = DigestFromProto(digest); value.ok()) set.insert(*value);
}

}  // namespace

class StoreCollector::Known final : public LiveSet {
 public:
  DigestSet images;
  DigestSet sessions;
  DigestSet steps;
  bool keep_steps = false;
  absl::Time busy_since = absl::InfiniteFuture();

  bool IsPinned(const Digest& digest) const override {
    return images.contains(digest) || sessions.contains(digest) ||
           (keep_steps && steps.contains(digest));
  }
  absl::string_view KindOf(const Digest& digest) const override {
    if (images.contains(digest)) return "image";
    return steps.contains(digest) ? "step" : "context";
  }
};

StoreCollector::StoreCollector(Clock& clock, Executor& loop, CollectableBlobStore& blobs,
                               Index& index, ImageStore& images, TableCache& tables,
                               SessionTable& sessions, const CancelToken& stopping, Options options)
    : clock_(clock),
      loop_(loop),
      index_(index),
      images_(images),
      tables_(tables),
      sessions_(sessions),
      stopping_(stopping),
      options_(options),
      collector_(clock, blobs,
                 {.high_mark_bytes = options.high_mark_bytes,
                  .low_mark_bytes = options.low_mark_bytes,
                  .grace = options.grace}),
      sweeper_(index, blobs) {}

StoreCollector::~StoreCollector() = default;

absl::StatusOr<std::unique_ptr<StoreCollector::Known>> StoreCollector::Look(bool keep_steps) {
  auto known = std::make_unique<Known>();
  known->keep_steps = keep_steps;
  // Sessions first: what they publish meanwhile is young, and so protected.
  struct Answer {
    CancelToken done;
    Session::LiveBlobs live;
    absl::Time busy_since;
  };
  const auto answer = std::make_shared<Answer>();
  const bool posted = loop_.Post([this, answer] {
    answer->live = sessions_.LiveBlobs();
    answer->busy_since = sessions_.BusySince();
    answer->done.Cancel();
  });
  if (!posted || !answer->done.WaitFor(kLoopTimeout)) {
    return absl::UnavailableError("the coordinator is stopping or has too much to do");
  }
  known->busy_since = answer->busy_since;
  const auto& [blobs, tables] = answer->live;
  known->sessions.insert(blobs.begin(), blobs.end());
  known->sessions.insert(tables.begin(), tables.end());
  for (const Digest& digest : tables) {
    const absl::StatusOr<std::shared_ptr<const Table>> table = tables_.Get(digest);
    if (!table.ok()) continue;
    for (const TableEntry& entry : (*table)->entries()) {
      if (entry.type == EntryType::kFile) known->sessions.insert(entry.content);
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Digest> images, images_.LiveBlobs());
  known->images.insert(images.begin(), images.end());
  RETURN_IF_ERROR(
      index_.Scan(IndexTable::kLayer, "", "", [&](absl::string_view, absl::string_view value) {
        v1::LayerRecord layer;
        if (layer.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          Add(layer.table(), known->steps);
          for (const v1::Descriptor& form : layer.forms()) {
            Add(form.digest(), known->steps);
          }
        }
        return true;
      }));
  return known;
}

absl::StatusOr<v1::DiskUsageResponse> StoreCollector::DiskUsage() {
  ASSIGN_OR_RETURN(const std::unique_ptr<Known> known, Look(/*keep_steps=*/false));
  ASSIGN_OR_RETURN(const GarbageCollector::Usage usage, collector_.Measure(*known));
  v1::DiskUsageResponse response;
  for (const auto& [kind, row] : usage.by_kind) {
    v1::DiskUsageResponse::Row& out = *response.add_rows();
    out.set_kind(kind);
    out.set_count(row.all.blobs);
    out.set_size_bytes(row.all.bytes);
    out.set_reclaimable_bytes(row.reclaimable.bytes);
  }
  response.set_size_bytes(usage.total.bytes);
  response.set_high_mark_bytes(options_.high_mark_bytes);
  response.set_low_mark_bytes(options_.low_mark_bytes);
  return response;
}

absl::StatusOr<GarbageCollector::Amount> StoreCollector::Sweep(
    const std::function<absl::StatusOr<GarbageCollector::Amount>(const GarbageCollector::Removed&)>&
        collect) {
  DigestSet removed;
  absl::StatusOr<GarbageCollector::Amount> amount =
      collect([&removed](const Digest& digest) { removed.insert(digest); });
  // Also of a run that failed half-way.
  RETURN_IF_ERROR(sweeper_.Sweep(removed));
  return amount;
}

absl::StatusOr<v1::PruneResponse> StoreCollector::Prune(const v1::PruneRequest& request) {
  MutexLock lock(one_at_a_time_);
  const absl::Time begun = collector_.BeginPrune();
  if (stopping_.WaitFor(kPruneDelay)) {
    return absl::UnavailableError("the coordinator is stopping");
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Known> known, Look(/*keep_steps=*/!request.all()));
  ASSIGN_OR_RETURN(const GarbageCollector::Amount removed,
                   Sweep([&](const GarbageCollector::Removed& tell) {
                     return collector_.Prune(*known,
                                             {.begun = begun,
                                              .unused_for = DurationFromProto(request.unused_for()),
                                              .keep_bytes = request.keep_bytes(),
                                              .busy_since = known->busy_since},
                                             stopping_, tell);
                   }));
  v1::PruneResponse response;
  response.set_blobs_removed(removed.blobs);
  response.set_bytes_removed(removed.bytes);
  return response;
}

absl::Status StoreCollector::Collect() {
  MutexLock lock(one_at_a_time_);
  ASSIGN_OR_RETURN(const std::unique_ptr<Known> known, Look(/*keep_steps=*/false));
  ASSIGN_OR_RETURN(const GarbageCollector::Amount removed,
                   Sweep([&](const GarbageCollector::Removed& tell) {
                     return collector_.Collect(*known, stopping_, tell);
                   }));
  if (const absl::Time now = clock_.Now(); now >= bound_at_) {
    bound_at_ = now + kBoundEvery;
    RETURN_IF_ERROR(sweeper_.Bound());
  }
  if (removed.blobs > 0) {
    LogInfo("collected",
            {{"blobs", std::to_string(removed.blobs)}, {"bytes", std::to_string(removed.bytes)}});
  }
  return absl::OkStatus();
}

}  // namespace farm
