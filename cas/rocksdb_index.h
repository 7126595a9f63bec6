#ifndef FARM_CAS_ROCKSDB_INDEX_H_
#define FARM_CAS_ROCKSDB_INDEX_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "cas/index.h"

namespace farm {

// The index in a RocksDB of its own: one process at a time, bounded memory, and a write-ahead log
// that every change goes through, so that a crash loses at most a suffix of the unsynced changes.
class RocksDbIndex final : public Index {
 public:
  // Written into every index; Open() refuses a newer one. Raise it when a record's meaning changes
  // in a way that an older program would get wrong, and say in docs/formats/index.md how.
  static constexpr int kFormatVersion = 1;

  struct Options {
    std::string dir;  // Made, 0700, if it is missing; its parent must exist.
    // Memory: blocks read lately, and changes not yet in a table file. Both come out of this.
    int64_t cache_bytes = int64_t{96} << 20;
    int64_t write_buffer_bytes = int64_t{48} << 20;
    // Log kept before the oldest changes are forced into table files: bounds the time to reopen.
    int64_t log_bytes_max = int64_t{128} << 20;
    int open_files_max = 256;
    int background_jobs = 2;
  };

  //   FAILED_PRECONDITION  another program has `dir` open, or a newer farm wrote it
  //   DATA_LOSS            it is damaged; the message says what to do
  static absl::StatusOr<std::unique_ptr<RocksDbIndex>> Open(Options options);
  // With RocksDB's defaults but for `dir`.
  static absl::StatusOr<std::unique_ptr<RocksDbIndex>> Open(const std::string& dir);
  ~RocksDbIndex() override;

  absl::StatusOr<std::string> Get(IndexTable table, absl::string_view key) override;
  absl::Status Apply(const IndexBatch& batch, Durability durability) override;
  absl::Status Scan(
      IndexTable table, absl::string_view prefix, absl::string_view start,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) override;

 private:
  struct Impl;
  explicit RocksDbIndex(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_CAS_ROCKSDB_INDEX_H_
