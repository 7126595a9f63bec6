// Short ways to write table entries in tests.
#ifndef FARM_LAYER_TESTING_TABLE_BUILDERS_H_
#define FARM_LAYER_TESTING_TABLE_BUILDERS_H_

#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/sha256.h"
#include "layer/table.h"

namespace farm {

inline TableEntry DirectoryEntry(std::string path, uint32_t mode = 0755) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = EntryType::kDirectory;
  entry.mode = mode;
  return entry;
}

inline TableEntry FileEntry(std::string path, absl::string_view content, uint32_t mode = 0644) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.mode = mode;
  entry.content = DigestOf(content);
  return entry;
}

inline TableEntry HardLinkEntry(std::string path, const TableEntry& first) {
  TableEntry entry = first;
  entry.path = std::move(path);
  entry.hard_link_to = first.path;
  return entry;
}

inline TableEntry SymlinkEntry(std::string path, std::string target) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = EntryType::kSymlink;
  entry.mode = 0777;
  entry.link_target = std::move(target);
  return entry;
}

inline TableEntry WhiteoutEntry(std::string path) {
  TableEntry entry;
  entry.path = std::move(path);
  entry.type = EntryType::kWhiteout;
  return entry;
}

}  // namespace farm

#endif  // FARM_LAYER_TESTING_TABLE_BUILDERS_H_
