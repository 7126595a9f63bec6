// What makes entries a table. For table.cc alone.
#ifndef FARM_LAYER_TABLE_RULES_H_
#define FARM_LAYER_TABLE_RULES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "layer/table.h"

namespace farm {

// Of the errors here: INVALID_ARGUMENT names the entry that breaks a rule, RESOURCE_EXHAUSTED the
// limit.

// One entry by itself: path and fields, by the rules in the comments of TableEntry's fields.
absl::Status CheckEntry(const TableEntry& entry, const TableLimits& limits);
// Neighbours: `before` may stand right before `entry`.
absl::Status CheckOrder(const TableEntry& before, const TableEntry& entry);
absl::Status CheckEntryCount(uint64_t count, const TableLimits& limits);
// That `entry` may be a hard link to `first`.
absl::Status CheckHardLink(const TableEntry& entry, const TableEntry& first);
// Makes every hard link name the first of its group. `entries` are in order.
absl::Status NormalizeHardLinks(std::vector<TableEntry>& entries, const TableLimits& limits);

bool IsDevice(EntryType type);

}  // namespace farm

#endif  // FARM_LAYER_TABLE_RULES_H_
