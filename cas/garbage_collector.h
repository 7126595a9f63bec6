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
// A blob used within the grace is never removed. That is for those who can't pin: an upload lives
// until something names it, and who was told that a blob is there can rely on it for half a grace
// (the store of `blobs` must note uses as exactly as LastUseResolutionFor(grace)). What a session
// or an image names is pinned and needs no grace, so a short one loses nothing: an upload that
// takes longer than the grace, in a store over its mark, is found missing and made again.
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
      Amount reclaimable;  // what Prune() with no further wishes would remove
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
    absl::Duration unused_for = absl::ZeroDuration();  // only what was not used for so long
    int64_t keep_bytes = 0;                            // ends when the store is down to this
  };
  // What was used within the grace, or 2 h if that is less, stays: a person who prunes wants the
  // room back now, but uploads under way need some protection still.
  absl::StatusOr<Amount> Prune(const LiveSet& live, const PruneOptions& options,
                               const CancelToken& cancel, const Removed& removed = nullptr);

 private:
  absl::Duration PruneGrace() const;
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
