#ifndef FARM_COORDINATOR_TABLE_CACHE_H_
#define FARM_COORDINATOR_TABLE_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/digest.h"
#include "base/mutex.h"
#include "cas/blob_store.h"
#include "layer/table.h"

namespace farm {

// Tables of contexts and layers, decoded, and merged roots of layer stacks. The ones used last are
// kept, so that a build whose context did not change decodes nothing. Calls block on the store.
// Safe for concurrent calls.
class TableCache {
 public:
  // `memory_bytes_max` bounds what is kept, over all tables (Table::memory_bytes()).
  TableCache(BlobStore& blobs, int64_t memory_bytes_max)
      : blobs_(blobs), memory_bytes_max_(memory_bytes_max) {}

  // NOT_FOUND, DATA_LOSS from the store; INVALID_ARGUMENT if the blob is no table.
  absl::StatusOr<std::shared_ptr<const Table>> Get(const Digest& table);
  // The merged root of layers with these tables, base first.
  absl::StatusOr<std::shared_ptr<const Table>> Merged(absl::Span<const Digest> tables);

 private:
  struct Kept {
    std::shared_ptr<const Table> table;
    int64_t memory_bytes = 0;
    std::list<std::string>::iterator use;
  };

  std::shared_ptr<const Table> Find(const std::string& key);
  std::shared_ptr<const Table> Keep(const std::string& key, Table table);

  BlobStore& blobs_;
  const int64_t memory_bytes_max_;
  Mutex mu_;
  int64_t memory_bytes_ FARM_GUARDED_BY(mu_) = 0;
  std::list<std::string> uses_ FARM_GUARDED_BY(mu_);  // last used first
  std::map<std::string, Kept> kept_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_COORDINATOR_TABLE_CACHE_H_
