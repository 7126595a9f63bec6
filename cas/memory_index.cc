#include "cas/memory_index.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"

namespace farm {
namespace {

// Entries copied at a time, so that no lock is held while a caller looks at them.
constexpr size_t kScanPageEntries = 256;

}  // namespace

absl::StatusOr<std::string> MemoryIndex::Get(IndexTable table, absl::string_view key) {
  MutexLock lock(mu_);
  const Table& entries = TableOf(table);
  const auto it = entries.find(std::string(key));
  if (it == entries.end()) return NoIndexEntry(table);
  return it->second;
}

absl::Status MemoryIndex::Apply(const IndexBatch& batch, Durability) {
  MutexLock lock(mu_);
  for (const IndexBatch::Expectation& expected : batch.expectations()) {
    const Table& entries = TableOf(expected.table);
    const auto it = entries.find(expected.key);
    const bool holds =
        it == entries.end() ? !expected.value.has_value() : expected.value == it->second;
    if (!holds) return IndexExpectationFailed(expected.table);
  }
  for (const IndexBatch::Write& write : batch.writes()) {
    if (write.value.has_value()) {
      TableOf(write.table)[write.key] = *write.value;
    } else {
      TableOf(write.table).erase(write.key);
    }
  }
  return absl::OkStatus();
}

absl::Status MemoryIndex::Scan(
    IndexTable table, absl::string_view prefix, absl::string_view start,
    const std::function<bool(absl::string_view key, absl::string_view value)>& visit) {
  std::string next(std::max(prefix, start));
  while (true) {
    std::vector<std::pair<std::string, std::string>> page;
    {
      MutexLock lock(mu_);
      const Table& entries = TableOf(table);
      for (auto it = entries.lower_bound(next);
           it != entries.end() && absl::StartsWith(it->first, prefix) &&
           page.size() < kScanPageEntries;
           ++it) {
        page.push_back(*it);
      }
    }
    for (const auto& [key, value] : page) {
      if (!visit(key, value)) return absl::OkStatus();
    }
    if (page.size() < kScanPageEntries) return absl::OkStatus();
    next = page.back().first + '\0';  // The smallest key after it.
  }
}

}  // namespace farm
