#include "coordinator/table_cache.h"

#include <utility>
#include <vector>

#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

std::string KeyOf(const Digest& digest) { return std::string(digest.raw()); }

}  // namespace

absl::StatusOr<std::shared_ptr<const Table>> TableCache::Get(const Digest& digest) {
  const std::string key = KeyOf(digest);
  if (auto table = Find(key)) return table;
  ASSIGN_OR_RETURN(const std::string bytes,
                   GetBytes(blobs_, digest, TableLimits().table_bytes_max));
  ASSIGN_OR_RETURN(Table table, Table::Decode(bytes));
  return Keep(key, std::move(table));
}

absl::StatusOr<std::shared_ptr<const Table>> TableCache::Merged(absl::Span<const Digest> digests) {
  Sha256 hash;
  hash.Update("merged");
  for (const Digest& digest : digests) hash.Update(digest.raw());
  const std::string key = KeyOf(hash.Finish());
  if (auto table = Find(key)) return table;
  std::vector<std::shared_ptr<const Table>> held;
  std::vector<const Table*> tables;
  for (const Digest& digest : digests) {
    ASSIGN_OR_RETURN(held.emplace_back(), Get(digest));
    tables.push_back(held.back().get());
  }
  return Keep(key, Table::Merge(tables));
}

std::shared_ptr<const Table> TableCache::Find(const std::string& key) {
  MutexLock lock(mu_);
  const auto it = kept_.find(key);
  if (it == kept_.end()) return nullptr;
  uses_.splice(uses_.begin(), uses_, it->second.use);
  return it->second.table;
}

std::shared_ptr<const Table> TableCache::Keep(const std::string& key, Table table) {
  auto shared = std::make_shared<const Table>(std::move(table));
  const int64_t memory_bytes = shared->memory_bytes();
  MutexLock lock(mu_);
  if (const auto it = kept_.find(key); it != kept_.end()) return it->second.table;
  uses_.push_front(key);
  kept_[key] = {.table = shared, .memory_bytes = memory_bytes, .use = uses_.begin()};
  memory_bytes_ += memory_bytes;
  while (memory_bytes_ > memory_bytes_max_ && uses_.size() > 1) {
    const auto oldest = kept_.find(uses_.back());
    memory_bytes_ -= oldest->second.memory_bytes;
    kept_.erase(oldest);
    uses_.pop_back();
  }
  return shared;
}

}  // namespace farm
