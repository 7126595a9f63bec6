#include "cas/garbage_collector.h"

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"

namespace farm {
namespace {

int64_t HourOf(absl::Time time) { return absl::ToUnixSeconds(time) / 3600; }

}  // namespace

GarbageCollector::GarbageCollector(Clock& clock, CollectableBlobStore& blobs, Options options)
    : clock_(clock), blobs_(blobs), options_(options) {
  FARM_CHECK_LE(options_.low_mark_bytes, options_.high_mark_bytes);
  FARM_CHECK(options_.grace >= kGraceMin) << "a grace of " << options_.grace;
}

absl::StatusOr<GarbageCollector::Usage> GarbageCollector::Measure(const LiveSet& live) {
  Usage usage;
  const auto add = [](const Digest& digest, Amount& amount) {
    ++amount.blobs;
    amount.bytes += digest.size_bytes();
  };
  RETURN_IF_ERROR(blobs_.ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
    Usage::Row& row = usage.by_kind[std::string(live.KindOf(info.digest))];
    add(info.digest, usage.total);
    add(info.digest, row.all);
    if (!live.IsPinned(info.digest)) add(info.digest, row.reclaimable);
    return true;
  }));
  return usage;
}

absl::StatusOr<GarbageCollector::Amount> GarbageCollector::Collect(const LiveSet& live,
                                                                   const CancelToken& cancel,
                                                                   const Removed& removed) {
  return Remove(live, clock_.Now() - options_.grace, options_.high_mark_bytes,
                options_.low_mark_bytes, cancel, removed);
}

absl::Time GarbageCollector::BeginPrune() {
  const absl::Time begun = clock_.Now();
  blobs_.NoteUsesSince(begun);
  return begun;
}

absl::StatusOr<GarbageCollector::Amount> GarbageCollector::Prune(const LiveSet& live,
                                                                 const PruneOptions& options,
                                                                 const CancelToken& cancel,
                                                                 const Removed& removed) {
  const absl::Time unused_since =
      std::min(options.begun - options.unused_for,
               options.busy_since - LastUseResolutionFor(options_.grace));
  return Remove(live, unused_since, options.keep_bytes, options.keep_bytes, cancel, removed);
}

absl::StatusOr<GarbageCollector::Amount> GarbageCollector::Remove(
    const LiveSet& live, absl::Time unused_since, int64_t start_bytes, int64_t target_bytes,
    const CancelToken& cancel, const Removed& tell) {
  const auto may_go = [&](const CollectableBlobStore::BlobInfo& info) {
    return info.last_use < unused_since && !live.IsPinned(info.digest);
  };
  int64_t left_bytes = 0;
  std::map<int64_t, int64_t> removable_bytes;  // by the hour of the last use
  RETURN_IF_ERROR(blobs_.ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
    left_bytes += info.digest.size_bytes();
    if (may_go(info)) removable_bytes[HourOf(info.last_use)] += info.digest.size_bytes();
    return !cancel.cancelled();
  }));
  Amount removed;
  if (left_bytes <= start_bytes || cancel.cancelled()) return removed;

  int64_t last_hour = 0;        // of which only a part has to go
  int64_t last_hour_bytes = 0;  // how much
  int64_t surplus_bytes = left_bytes - target_bytes;
  for (const auto& [hour, bytes] : removable_bytes) {
    if (surplus_bytes <= 0) break;
    last_hour = hour;
    last_hour_bytes = surplus_bytes;
    surplus_bytes -= bytes;
  }

  absl::Status status;
  const auto remove = [&](const Digest& digest) {
    absl::StatusOr<bool> done = blobs_.DeleteIfUnusedSince(digest, unused_since);
    if (!done.ok()) {
      status = done.status();
      return false;
    }
    if (*done) {
      ++removed.blobs;
      removed.bytes += digest.size_bytes();
      if (tell) tell(digest);
    }
    return !cancel.cancelled();
  };
  RETURN_IF_ERROR(blobs_.ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
    const int64_t hour = HourOf(info.last_use);
    if (hour > last_hour || !may_go(info)) return true;
    if (hour == last_hour) {
      if (last_hour_bytes <= 0) return true;
      last_hour_bytes -= info.digest.size_bytes();
    }
    return remove(info.digest);
  }));
  RETURN_IF_ERROR(status);
  return removed;
}

}  // namespace farm
