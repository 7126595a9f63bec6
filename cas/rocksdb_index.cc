#include "cas/rocksdb_index.h"

#include <dirent.h>
#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <shared_mutex>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

constexpr absl::string_view kFormatKey = "format";
// Values from this size on stay out of the tables that compaction rewrites again and again.
constexpr uint64_t kSeparateValueBytesMin = 4096;
constexpr int kBloomBitsPerKey = 10;
constexpr uint64_t kInfoLogBytesMax = 4 << 20;

rocksdb::Slice ToSlice(absl::string_view view) { return {view.data(), view.size()}; }
absl::string_view ToView(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

absl::Status ToStatus(const rocksdb::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat("index: ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsIOError() || status.IsBusy() || status.IsTryAgain()) {
    return absl::UnavailableError(message);
  }
  return absl::InternalError(message);
}

absl::Status IndexDamaged(absl::string_view dir, absl::string_view reason) {
  return absl::DataLossError(absl::StrCat(
      "the index in ", dir, " is damaged (", reason,
      "). Move this directory away and start again: ",
      "large blobs stay, everything else is built or uploaded again when it is asked for"));
}

// Holds `dir` against other programs. RocksDB has a lock of its own, but does not say clearly that
// it was the lock it failed at.
absl::StatusOr<UniqueFd> LockDir(const std::string& dir) {
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return ErrnoStatus(errno, dir);
  UniqueFd fd(open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, dir);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return ErrnoStatus(errno, dir);
  return absl::FailedPreconditionError(absl::StrCat(
      "another farm-coordinator uses ", dir, ": stop it, or give this one another state_dir"));
}

// RocksDB takes a directory without CURRENT for a new one and makes an empty database over what is
// there. Says if it would.
bool LacksCurrentFile(const std::string& dir) {
  if (access((dir + "/CURRENT").c_str(), F_OK) == 0) return false;
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(dir.c_str()), closedir);
  if (entries == nullptr) return false;
  while (const dirent* entry = readdir(entries.get())) {
    if (absl::EndsWith(entry->d_name, ".sst") || absl::EndsWith(entry->d_name, ".blob")) {
      return true;
    }
  }
  return false;
}

rocksdb::Options DatabaseOptions(const RocksDbIndex::Options& options,
                                 const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::Options result;
  result.create_if_missing = true;
  result.max_open_files = options.open_files_max;
  result.max_background_jobs = options.background_jobs;
  result.max_total_wal_size = static_cast<uint64_t>(options.log_bytes_max);
  // Counted against the cache, so that cache_bytes bounds both.
  result.write_buffer_manager = std::make_shared<rocksdb::WriteBufferManager>(
      static_cast<size_t>(options.write_buffer_bytes), cache);
  // After a power cut the log is believed up to the first record that is not whole: a prefix.
  result.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  result.max_log_file_size = kInfoLogBytesMax;
  result.keep_log_file_num = 2;
  result.info_log_level = rocksdb::InfoLogLevel::WARN_LEVEL;
  result.stats_dump_period_sec = 0;
  result.stats_persist_period_sec = 0;
  return result;
}

rocksdb::ColumnFamilyOptions TableOptions(const std::string& name,
                                          const RocksDbIndex::Options& options,
                                          const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.cache_index_and_filter_blocks = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  rocksdb::ColumnFamilyOptions result;
  result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  result.write_buffer_size = static_cast<size_t>(options.write_buffer_bytes / 3);
  result.max_write_buffer_number = 3;
  result.compression = rocksdb::kLZ4Compression;
  if (name == IndexTableName(IndexTable::kBlob)) {
    result.enable_blob_files = true;
    result.min_blob_size = kSeparateValueBytesMin;
    result.blob_compression_type = rocksdb::kLZ4Compression;
    result.enable_blob_garbage_collection = true;
  }
  return result;
}

// The first key after all that begin with `prefix`; "" if there is none.
std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && end.back() == '\xFF') end.pop_back();
  if (!end.empty()) ++end.back();
  return end;
}

}  // namespace

struct RocksDbIndex::Impl {
  using Handle = rocksdb::ColumnFamilyHandle*;

  ~Impl() {
    for (const Handle handle : handles) db->DestroyColumnFamilyHandle(handle);
    if (db == nullptr) return;
    // Changes not synced are flushed to the system at least: a clean end is no crash.
    db->SyncWAL().PermitUncheckedError();
    db->Close().PermitUncheckedError();
  }

  absl::Status Open();
  absl::Status CheckFormat();
  absl::Status Read(IndexTable table, absl::string_view key, std::string* value);
  absl::Status Check(const std::vector<IndexBatch::Expectation>& expectations);
  absl::Status Write(const IndexBatch& batch, bool sync);

  Handle TableOf(IndexTable table) const { return tables[static_cast<size_t>(table)]; }

  RocksDbIndex::Options options;
  UniqueFd lock;
  std::shared_ptr<rocksdb::Cache> cache;
  std::unique_ptr<rocksdb::DB> db;
  std::vector<Handle> handles;                // all that are open, to be destroyed
  std::array<Handle, kIndexTables> tables{};  // those of handles that are ours
  // Held alone over a batch with expectations, so that nothing is written between its check and its
  // write; shared by the others.
  std::shared_mutex writers;
};

absl::StatusOr<std::unique_ptr<RocksDbIndex>> RocksDbIndex::Open(const std::string& dir) {
  Options options;
  options.dir = dir;
  return Open(std::move(options));
}

absl::StatusOr<std::unique_ptr<RocksDbIndex>> RocksDbIndex::Open(Options options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  RETURN_IF_ERROR(impl->Open());
  return std::unique_ptr<RocksDbIndex>(new RocksDbIndex(std::move(impl)));
}

RocksDbIndex::RocksDbIndex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RocksDbIndex::~RocksDbIndex() = default;

absl::Status RocksDbIndex::Impl::Open() {
  ASSIGN_OR_RETURN(lock, LockDir(options.dir), _ << "open the index");
  if (LacksCurrentFile(options.dir)) return IndexDamaged(options.dir, "CURRENT is missing");
  cache = rocksdb::NewLRUCache(static_cast<size_t>(options.cache_bytes));
  rocksdb::Options db_options = DatabaseOptions(options, cache);

  // In an old index, tables are made only after the format is known, so that a newer one is left as
  // it is.
  std::vector<std::string> names;
  const bool is_new = access((options.dir + "/CURRENT").c_str(), F_OK) != 0;
  if (!is_new) {
    const rocksdb::Status listed = rocksdb::DB::ListColumnFamilies(db_options, options.dir, &names);
    if (!listed.ok()) return IndexDamaged(options.dir, listed.ToString());
  } else {
    names = {rocksdb::kDefaultColumnFamilyName};
    for (int table = 0; table < kIndexTables; ++table) {
      names.emplace_back(IndexTableName(static_cast<IndexTable>(table)));
    }
  }
  db_options.create_missing_column_families = is_new;
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  for (const std::string& name : names) {
    descriptors.emplace_back(name, TableOptions(name, options, cache));
  }
  rocksdb::DB* opened = nullptr;
  const rocksdb::Status status =
      rocksdb::DB::Open(db_options, options.dir, descriptors, &handles, &opened);
  if (status.IsCorruption()) return IndexDamaged(options.dir, status.ToString());
  RETURN_IF_ERROR(ToStatus(status)) << "open " << options.dir;
  db.reset(opened);

  for (size_t i = 0; i < names.size(); ++i) {
    for (int table = 0; table < kIndexTables; ++table) {
      if (names[i] == IndexTableName(static_cast<IndexTable>(table))) tables[table] = handles[i];
    }
  }
  RETURN_IF_ERROR(CheckFormat());
  for (int table = 0; table < kIndexTables; ++table) {
    if (tables[table] != nullptr) continue;
    const std::string name(IndexTableName(static_cast<IndexTable>(table)));
    RETURN_IF_ERROR(
        ToStatus(db->CreateColumnFamily(TableOptions(name, options, cache), name, &tables[table])));
    handles.push_back(tables[table]);
  }
  IndexBatch format;
  format.Put(IndexTable::kMeta, kFormatKey, absl::StrCat(kFormatVersion));
  return Write(format, /*sync=*/true);
}

absl::Status RocksDbIndex::Impl::CheckFormat() {
  if (TableOf(IndexTable::kMeta) == nullptr) return absl::OkStatus();  // New.
  std::string text;
  const absl::Status status = Read(IndexTable::kMeta, kFormatKey, &text);
  if (absl::IsNotFound(status)) return absl::OkStatus();  // New: it died before it was done.
  RETURN_IF_ERROR(status);
  int version = 0;
  if (!absl::SimpleAtoi(text, &version)) {
    return IndexDamaged(options.dir, absl::StrCat("its format is \"", text, "\", no number"));
  }
  if (version > kFormatVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the index in ", options.dir, " has format ", version,
                     ", and this program knows formats up to ", kFormatVersion,
                     ": run the farm that wrote it, or a newer one, or use another state_dir"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> RocksDbIndex::Get(IndexTable table, absl::string_view key) {
  std::string value;
  RETURN_IF_ERROR(impl_->Read(table, key, &value));
  return value;
}

absl::Status RocksDbIndex::Apply(const IndexBatch& batch, Durability durability) {
  const bool sync = durability == Durability::kSynced;
  if (batch.expectations().empty()) {
    const std::shared_lock<std::shared_mutex> lock(impl_->writers);
    return impl_->Write(batch, sync);
  }
  {
    const std::unique_lock<std::shared_mutex> lock(impl_->writers);
    RETURN_IF_ERROR(impl_->Check(batch.expectations()));
    RETURN_IF_ERROR(impl_->Write(batch, /*sync=*/false));
  }
  if (!sync) return absl::OkStatus();
  // An empty synced write makes all before it durable, and RocksDB does one sync for all who ask at
  // once. Nothing waits for the disk under the lock.
  return impl_->Write(IndexBatch(), /*sync=*/true);
}

absl::Status RocksDbIndex::Scan(
    IndexTable table, absl::string_view prefix, absl::string_view start,
    const std::function<bool(absl::string_view key, absl::string_view value)>& visit) {
  const std::string end = PrefixEnd(prefix);
  const rocksdb::Slice upper_bound = ToSlice(end);
  rocksdb::ReadOptions read;
  if (!end.empty()) read.iterate_upper_bound = &upper_bound;
  read.fill_cache = false;  // A scan of everything must not push out what is asked for often.
  const std::unique_ptr<rocksdb::Iterator> it(impl_->db->NewIterator(read, impl_->TableOf(table)));
  for (it->Seek(ToSlice(std::max(prefix, start))); it->Valid(); it->Next()) {
    if (!visit(ToView(it->key()), ToView(it->value()))) return absl::OkStatus();
  }
  return ToStatus(it->status());
}

absl::Status RocksDbIndex::Impl::Read(IndexTable table, absl::string_view key, std::string* value) {
  const rocksdb::Status status =
      db->Get(rocksdb::ReadOptions(), TableOf(table), ToSlice(key), value);
  if (status.IsNotFound()) return NoIndexEntry(table);
  return ToStatus(status);
}

absl::Status RocksDbIndex::Impl::Check(const std::vector<IndexBatch::Expectation>& expectations) {
  for (const IndexBatch::Expectation& expected : expectations) {
    std::string value;
    const absl::Status status = Read(expected.table, expected.key, &value);
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    const bool holds = status.ok() ? expected.value == value : !expected.value.has_value();
    if (!holds) return IndexExpectationFailed(expected.table);
  }
  return absl::OkStatus();
}

absl::Status RocksDbIndex::Impl::Write(const IndexBatch& batch, bool sync) {
  rocksdb::WriteBatch writes;
  for (const IndexBatch::Write& write : batch.writes()) {
    const rocksdb::Status status =
        write.value.has_value()
            ? writes.Put(TableOf(write.table), ToSlice(write.key), ToSlice(*write.value))
            : writes.Delete(TableOf(write.table), ToSlice(write.key));
    RETURN_IF_ERROR(ToStatus(status));
  }
  rocksdb::WriteOptions options;
  options.sync = sync;
  const rocksdb::Status status = db->Write(options, &writes);
  if (status.IsNoSpace()) {
    // RocksDB refuses all writes after that until it is told to look again.
    db->Resume().PermitUncheckedError();
  }
  return ToStatus(status);
}

}  // namespace farm
