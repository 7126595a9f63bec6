#ifndef FARM_WORKER_CACHE_DIRECTORIES_H_
#define FARM_WORKER_CACHE_DIRECTORIES_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "worker/trash.h"

namespace farm {

// Caches that are kept at most, whatever they hold.
inline constexpr size_t kCacheDirectoriesMax = 10'000;

// The directories that RUN --mount=type=cache shows, on this worker's disk. They outlive the steps
// that fill them, and are in no layer and no key: one may be gone at any time that no step has it.
// Safe for concurrent calls.
//
// A key may have several directories, as in BuildKit: a step that wants one for itself gets a new
// one while the others are in use.
//
// A directory is measured on a thread of its own once no step has it any more. Then those that were
// not used for the longest time go, until the rest keeps the limits.
//
// On disk, in `dir`: HEX-N (what steps see) and the same name with ".ok" (its mark, see
// docs/formats/worker-state.md). What has no mark, or one of another start of this host that was
// not synced, goes to the trash when this is opened.
class CacheDirectories {
 public:
  struct Options {
    std::string dir;  // made if missing; on the file system of the trash
    // Of all that no step has; what is in use may exceed it. Lowered to a tenth of the file system,
    // if that is less.
    int64_t bytes_max = int64_t{20} << 30;
    std::string boot_id;  // /proc/sys/kernel/random/boot_id
  };

  // What a cache is found by. All of it is hashed into its name.
  struct Key {
    std::string scope;  // a trust domain: caches are not shared between them
    std::string id;
    std::string start;  // what tells apart the contents and owners that a new one begins with
  };

  // What a step does with a cache that others may use.
  enum class Sharing {
    kShared,   // uses it along with other shared users
    kPrivate,  // has it alone: another directory if it is in use
    kLocked,   // has it alone: waits while it is in use
  };

  // A directory that is not deleted while this lives. Moves; empty once moved from.
  class Handle {
   public:
    Handle() = default;
    Handle(Handle&& other) noexcept { *this = std::move(other); }
    Handle& operator=(Handle&& other) noexcept;
    ~Handle();

    int fd() const { return fd_.get(); }

   private:
    friend class CacheDirectories;
    Handle(CacheDirectories* owner, std::string name) : owner_(owner), name_(std::move(name)) {}

    CacheDirectories* owner_ = nullptr;
    std::string name_;
    UniqueFd fd_;
  };

  // Gives a new, empty directory its contents, owner and mode.
  using Fill = std::function<absl::Status(int dir_fd)>;

  // Borrows `clock` and `trash`.
  static absl::StatusOr<std::unique_ptr<CacheDirectories>> Open(Options options, Clock& clock,
                                                                Trash& trash);
  // Has all of it reach the disk and marks it so.
  ~CacheDirectories();

  // A directory for `key`. `on_wait` is called at most once, before it waits for another step. A
  // step that wants several must ask in the order of NameOf(), or two may wait for each other.
  // Errors are those of `fill` and of the disk, and CANCELLED.
  absl::StatusOr<Handle> Acquire(const Key& key, Sharing sharing, CancelToken& cancel,
                                 const std::function<void()>& on_wait, const Fill& fill);

  // Hex.
  static std::string NameOf(const Key& key);

  // Returns once all that was given back is measured, and the limits are kept.
  void WaitUntilMeasured();
  int64_t size_bytes() const;

 private:
  struct Entry {
    int users = 0;
    bool exclusive = false;  // its one user wants no others
    bool ready = true;       // false while it is filled
    bool measured = false;   // `size_bytes` holds: nobody had it since
    int64_t size_bytes = 0;  // when it was measured last
    absl::Time last_use;
  };
  struct Claim {
    std::string name;
    bool is_new = false;
  };

  CacheDirectories(Options options, Clock& clock, Trash& trash)
      : options_(std::move(options)), clock_(clock), trash_(trash) {}

  absl::Status Load();
  absl::Status LoadOne(const std::string& name) FARM_REQUIRES(mu_);
  std::string Path(const std::string& name) const { return options_.dir + "/" + name; }
  // Nothing if the step has to wait.
  std::optional<Claim> Take(const std::string& hex, Sharing sharing) FARM_REQUIRES(mu_);
  Claim TakeNew(const std::string& hex, Sharing sharing) FARM_REQUIRES(mu_);
  absl::Status Make(const std::string& name, const Fill& fill);
  void Abandon(const std::string& name);
  void Release(const std::string& name);
  void MeasureLoop();
  void TakeMeasure(const std::string& name, const absl::StatusOr<int64_t>& bytes)
      FARM_REQUIRES(mu_);
  void Evict() FARM_REQUIRES(mu_);
  void Drop(const std::string& name) FARM_REQUIRES(mu_);
  // The mark of a directory that nobody has says how large it is.
  void WriteMark(const std::string& name, const Entry& entry, const std::string& state)
      FARM_REQUIRES(mu_);

  const Options options_;
  Clock& clock_;
  Trash& trash_;

  mutable Mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_ FARM_GUARDED_BY(mu_);  // by directory name
  int64_t size_bytes_ FARM_GUARDED_BY(mu_) = 0;
  std::set<std::string> unmeasured_ FARM_GUARDED_BY(mu_);  // names that nobody has
  bool measuring_ FARM_GUARDED_BY(mu_) = false;
  CancelToken stop_;
  std::thread measurer_;
};

}  // namespace farm

#endif  // FARM_WORKER_CACHE_DIRECTORIES_H_
