#ifndef FARM_CAS_MEMORY_INDEX_H_
#define FARM_CAS_MEMORY_INDEX_H_

#include <array>
#include <functional>
#include <map>
#include <string>

#include "base/mutex.h"
#include "cas/index.h"

namespace farm {

// An index that is gone with the process: for tests, and for programs that keep nothing.
class MemoryIndex final : public Index {
 public:
  absl::StatusOr<std::string> Get(IndexTable table, absl::string_view key) override;
  absl::Status Apply(const IndexBatch& batch, Durability durability) override;
  absl::Status Scan(
      IndexTable table, absl::string_view prefix, absl::string_view start,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) override;

 private:
  using Table = std::map<std::string, std::string, std::less<>>;

  Table& TableOf(IndexTable table) FARM_REQUIRES(mu_) {
    return tables_[static_cast<size_t>(table)];
  }

  Mutex mu_;
  std::array<Table, kIndexTables> tables_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_CAS_MEMORY_INDEX_H_
