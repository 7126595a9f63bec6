// A table of contents.
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "layer/table.h"

namespace farm {
namespace {

constexpr TableLimits kLimits = {.entries_max = 10'000, .table_bytes_max = 1 << 20};

void Test(absl::string_view input) {
  const absl::StatusOr<Table> table = Table::Decode(input, kLimits);
  if (!table.ok()) return;
  // What is accepted has one encoding, keeps the rules of FromEntries() and can be used.
  FARM_CHECK(table->Encode() == input);
  const absl::Span<const TableEntry> entries = table->entries();
  const absl::StatusOr<Table> again =
      Table::FromEntries(std::vector<TableEntry>(entries.begin(), entries.end()), kLimits);
  FARM_CHECK_OK(again.status());
  FARM_CHECK(*again == *table);
  FARM_CHECK_OK(table->ContentDigest("").status());
  for (const TableEntry& entry : entries) {
    FARM_CHECK(table->Find(entry.path) == &entry);
    FARM_CHECK_OK(table->ContentDigest(entry.path).status());
  }
  const Table merged = Table::Merge({&*table, &*table});
  FARM_CHECK(merged == Table::Merge({&merged}));
  FARM_CHECK_OK(Table::Decode(merged.Encode()).status());
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
