#ifndef FARM_CAS_GARBAGE_COLLECTOR_H_
#define FARM_CAS_GARBAGE_COLLECTOR_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/digest.h"
#include "cas/blob_store.h"

namespace farm {

inline constexpr absl::Duration kGraceMin = absl::Seconds(10);
// How exactly uses are noted by who opens the store's files in another process.
inline constexpr absl::Duration kOtherProcessLastUseResolution = absl::Seconds(1);
// How long after BeginPrune() what is alive may be looked up: longer than the resolution above, and
// than the second that a record of the index is exact to, so that all uses from then on are noted.
inline constexpr absl::Duration kPruneDelay = absl::Seconds(2);

// How exactly a store has to note uses for a collector with this grace.
inline absl::Duration LastUseResolutionFor(absl::Duration grace) {
  return std::min(kLastUseResolution, grace / 2);
}

// What the owner of a store knows about its blobs: which ones something holds, and what they are.
// Answers from memory, for the time of one run. What becomes held during a run was just used, which
// protects it too.
class LiveSet {
 public:
  virtual ~LiveSet() = default;
  // Never to be removed now: a tagged image, an open session or a lease names it.
  virtual bool IsPinned(const Digest& digest) const = 0;
  // What Measure() counts it as.
  virtual absl::string_view KindOf(const Digest& digest) const = 0;
};

// Removes blobs that nothing holds, the least recently used first. It reads the list of blobs
// twice, first to learn how old those must be that have to go, and holds no list of its own: memory
// grows with the hours since the oldest use, not with the number of blobs. Readers and writers of
// the store never wait for it. One run at a time; other calls may come from any thread.
//
// Collect() never removes a blob used within the grace. That is for those who can't pin: an upload
// lives until something names it, and who was told that a blob is there can rely on it for half a
// grace (the store of `blobs` must note uses as exactly as LastUseResolutionFor(grace)). What a
// session or an image names is pinned and needs no grace, so a short one loses nothing: an upload
// that takes longer than the grace, in a store over its mark, is found missing and made again.
class GarbageCollector {
 public:
  struct Options {
    int64_t high_mark_bytes = int64_t{100} << 30;  // Collect() begins when the store is over this
    int64_t low_mark_bytes = int64_t{80} << 30;    // and ends when it is down to this
    absl::Duration grace = absl::Hours(6);         // at least kGraceMin
  };
  GarbageCollector(Clock& clock, CollectableBlobStore& blobs, Options options);

  struct Amount {
    int64_t blobs = 0;
    int64_t bytes = 0;  // of content; the disk's blocks and the index's records come on top
    friend bool operator==(const Amount&, const Amount&) = default;
  };
  struct Usage {
    struct Row {
      Amount all;
      Amount reclaimable;  // what Prune() would remove now if no build were under way
    };
    std::map<std::string, Row> by_kind;
    Amount total;
  };
  absl::StatusOr<Usage> Measure(const LiveSet& live);

  // Told of each blob that was removed.
  using Removed = std::function<void(const Digest&)>;

  // What was removed. If `cancel` is cancelled it ends early, and the answer says what was done.
  absl::StatusOr<Amount> Collect(const LiveSet& live, const CancelToken& cancel,
                                 const Removed& removed = nullptr);

  struct PruneOptions {
    absl::Time begun;                                  // from BeginPrune()
    absl::Duration unused_for = absl::ZeroDuration();  // only what was not used for so long
    int64_t keep_bytes = 0;                            // ends when the store is down to this
    // The start of the oldest build that is under way: what its steps have made is in the store
    // before anything names it. What was used since then stays, and a resolution longer, as uses
    // were noted no better.
    absl::Time busy_since = absl::InfiniteFuture();
  };
  // Removes what nothing holds, without a grace: who wants the room back wants it now. Instead, all
  // uses are noted from BeginPrune() on, and `live` is looked up kPruneDelay later. So what a
  // build that starts then relies on was either used since, or it is held. An upload that no build
  // names yet is found missing and made again.
  absl::Time BeginPrune();
  absl::StatusOr<Amount> Prune(const LiveSet& live, const PruneOptions& options,
                               const CancelToken& cancel, const Removed& removed = nullptr);

 private:
  // Removes unpinned blobs not used since `unused_since`, oldest hour first, until no more than
  // `target_bytes` are left, if there are more than `start_bytes`.
  absl::StatusOr<Amount> Remove(const LiveSet& live, absl::Time unused_since, int64_t start_bytes,
                                int64_t target_bytes, const CancelToken& cancel,
                                const Removed& tell);

  Clock& clock_;
  CollectableBlobStore& blobs_;
  const Options options_;
};

}  // namespace farm

#endif  // FARM_CAS_GARBAGE_COLLECTOR_H_
