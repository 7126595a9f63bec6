#ifndef FARM_WORKER_LAYER_CACHE_H_
#define FARM_WORKER_LAYER_CACHE_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/cancel_token.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "layer/table.h"
#include "worker/trash.h"

namespace farm {

// Unpacked layers on this worker's disk, one directory each, in the form that overlayfs mounts.
// Safe for concurrent calls.
//
// Some directories fit only on the stack that they were made on: overlayfs copies up directories
// that the layer itself does not hold, and a tar may lack the parents of its entries. Such a one is
// bound to the chainID below it; the same layer on another stack is another directory.
//
// On disk, in `dir`: HEX or HEX-CHAIN (the layer), and the same name with ".ok" (its mark, see
// docs/formats/worker-state.md). A directory without a mark was not finished. A mark with the boot
// id of another start of this host is not believed either: what was written may not have reached
// the disk. Such directories go to the trash when the cache is opened.
class LayerCache {
 public:
  struct Options {
    std::string dir;  // made if missing; on the file system of the trash
    // Layers in use may exceed it. Lowered to four fifths of the file system, if that is less.
    int64_t bytes_max = int64_t{50} << 30;
    // With less the disk is full: unused layers go if a layer could not be made.
    int64_t disk_free_bytes_min = int64_t{64} << 20;
    std::string boot_id;  // /proc/sys/kernel/random/boot_id
  };

  // What a layer is found by: its diffID (of which only the hash counts) and the chainID of the
  // stack below it.
  struct Key {
    Digest diff_id;
    Digest below;
  };

  // A layer that is not evicted while this lives. Moves; empty once moved from.
  class Handle {
   public:
    Handle() = default;
    Handle(Handle&& other) noexcept { *this = std::move(other); }
    Handle& operator=(Handle&& other) noexcept;
    ~Handle();

    const std::string& path() const { return path_; }

   private:
    friend class LayerCache;
    Handle(LayerCache* cache, std::string name, std::string path)
        : cache_(cache), name_(std::move(name)), path_(std::move(path)) {}

    LayerCache* cache_ = nullptr;
    std::string name_;
    std::string path_;
  };

  // What became of a directory that a Maker filled.
  struct Made {
    int64_t size_bytes = 0;
    bool bound = false;  // fits only on Key::below
  };
  // Makes the layer in `path`, which does not exist yet, on the file system of the cache. On an
  // error what is there is thrown away.
  using Maker = std::function<absl::StatusOr<Made>(const std::string& path)>;

  // Borrows `trash` and `clock`.
  static absl::StatusOr<std::unique_ptr<LayerCache>> Open(Options options, Clock& clock,
                                                          Trash& trash);
  // Has all layers reach the disk and marks them so: they are believed after a start of the host.
  ~LayerCache();

  // The layer, made by `make` if it is not here. Who asks for a layer that is being made waits for
  // it, and makes it if that fails. If `make` is RESOURCE_EXHAUSTED and the disk is full, what is
  // not in use is evicted and `make` called again. Errors are those of `make`, and CANCELLED.
  absl::StatusOr<Handle> Acquire(const Key& key, CancelToken& cancel, const Maker& make);

  // If the disk is full and some layers are not in use: deletes them and `half_made`, which found
  // no room. False if it did nothing.
  bool MakeRoom(const std::string& half_made);

  // Diff ids (hex) that came and went since the last call; the first gives all that are here.
  struct Changes {
    std::vector<std::string> added;
    std::vector<std::string> removed;
  };
  Changes TakeChanges();
  // All diff ids (hex); what came before is no change any more.
  std::vector<std::string> TakeAll();

  int64_t size_bytes() const;

 private:
  struct Entry {
    std::string diff_id_hex;
    int64_t size_bytes = 0;
    int users = 0;
    absl::Time last_use;
  };

  LayerCache(Options options, Clock& clock, Trash& trash)
      : options_(std::move(options)), clock_(clock), trash_(trash) {}

  absl::Status Load();
  absl::Status LoadOne(const std::string& name);
  absl::Status WriteMark(const std::string& name, const Entry& entry, absl::string_view state);
  Handle Use(const std::string& name) FARM_REQUIRES(mu_);
  void Release(const std::string& name);
  // Throws away unused layers until the rest has at most `bytes_max`; false if there was none.
  // Renames under the lock: another thread may make the same layer at the same path as soon as it
  // is no entry any more.
  bool Evict(int64_t bytes_max) FARM_REQUIRES(mu_);
  void Throw(const std::string& name);
  bool HasDiffId(const std::string& hex) const FARM_REQUIRES(mu_);

  const Options options_;
  Clock& clock_;
  Trash& trash_;

  mutable Mutex mu_;
  std::condition_variable changed_;
  std::map<std::string, Entry> entries_ FARM_GUARDED_BY(mu_);  // by directory name
  std::set<std::string> being_made_ FARM_GUARDED_BY(mu_);      // diff ids, hex
  int64_t size_bytes_ FARM_GUARDED_BY(mu_) = 0;
  uint64_t next_temporary_ FARM_GUARDED_BY(mu_) = 0;
  std::set<std::string> reported_ FARM_GUARDED_BY(mu_);  // by TakeChanges()
};

// About what the entries of a layer take on disk.
int64_t UnpackedBytes(absl::Span<const TableEntry> entries);

}  // namespace farm

#endif  // FARM_WORKER_LAYER_CACHE_H_
