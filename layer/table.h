// The table of contents of a layer or of a build context: what is in it, without the bytes of
// files.
//
// A layer's table is made in the same pass as its tar and checked again at each unpack. A context
// travels as a table and one blob a file. Both are read by the planner (which files does this COPY
// select, and what is their digest?) and by workers (what must be fetched and written?).
//
//   ASSIGN_OR_RETURN(Table table, Table::Decode(blob));
//   ASSIGN_OR_RETURN(Digest digest, table.ContentDigest("src"));
//   for (const TableEntry* child : table.Children("src")) ...
#ifndef FARM_LAYER_TABLE_H_
#define FARM_LAYER_TABLE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "base/digest.h"

namespace farm {

// The numbers are part of the encoding: never change one.
enum class EntryType : uint8_t {
  kDirectory = 1,
  kFile = 2,
  kSymlink = 3,
  kCharDevice = 4,
  kBlockDevice = 5,
  kFifo = 6,
  kWhiteout = 7,  // In layers: the name below is gone. Has a path and nothing else.
};

// "directory", "file", ... for messages.
absl::string_view EntryTypeName(EntryType type);

struct TableEntry {
  // Relative to the root: "usr/bin/env". No leading or trailing slash, no empty, "." or ".."
  // component, no zero byte. "" is the root itself, which a table need not hold.
  std::string path;
  EntryType type = EntryType::kFile;
  uint32_t mode = 0;  // Permissions, set-id and sticky bits (07777). Symlinks: always 0777.
  uint32_t uid = 0;
  uint32_t gid = 0;
  absl::Time mtime = absl::UnixEpoch();  // To the nanosecond; whole seconds in layers made here.
  Digest content;                        // Files: SHA-256 and size of the bytes. Else empty.
  std::string link_target;               // Symlinks: as written. Else empty.
  uint32_t device_major = 0;             // Devices only.
  uint32_t device_minor = 0;
  // Files that are one inode under several names: "" for the first of them in table order, its path
  // for the others. All carry the same metadata and content.
  std::string hard_link_to;
  // Layers: a directory that hides all that is below it. Only read from layers of others; ours have
  // explicit whiteouts.
  bool opaque = false;
  std::map<std::string, std::string> xattrs;

  int64_t size_bytes() const { return content.size_bytes(); }
  // The last component of the path.
  absl::string_view name() const;

  friend bool operator==(const TableEntry&, const TableEntry&) = default;
};

// What a table from elsewhere may hold at most.
struct TableLimits {
  int64_t entries_max = 1'000'000;
  int64_t table_bytes_max = int64_t{512} << 20;  // Of the encoding.
  int64_t path_bytes_max = 4095;                 // Of one path, and of one symlink's target.
  int64_t path_depth_max = 512;                  // Components of one path.
  int64_t xattr_bytes_max = 128 << 10;           // Names and values of one entry.
  // Of all entries, as MemoryBytes() counts: the encoding shortens paths, so that few of its bytes
  // can stand for many here.
  int64_t memory_bytes_max = int64_t{1} << 30;
};

// About what an entry takes in memory.
int64_t MemoryBytes(const TableEntry& entry);

// Adds up entries as they come, so that who gathers them stops in time.
class TableMemory {
 public:
  explicit TableMemory(const TableLimits& limits) : bytes_max_(limits.memory_bytes_max) {}

  // RESOURCE_EXHAUSTED once the entries take more than TableLimits::memory_bytes_max.
  absl::Status Add(const TableEntry& entry);

 private:
  int64_t bytes_ = 0;
  const int64_t bytes_max_;
};

// Bytes that one component of a path may have: the kernel's NAME_MAX.
inline constexpr int64_t kNameBytesMax = 255;

// True if `a` comes before `b` in a table: by component, bytewise, so that a directory is followed
// by all that is in it ("a", "a/b", "a-b").
bool PathLess(absl::string_view a, absl::string_view b);

// Entries in order of PathLess, each path once. Immutable once made, then safe for concurrent
// calls.
class Table {
 public:
  Table() = default;  // Empty.

  // Takes entries in any order. `hard_link_to` may name any other file of the group; it is made to
  // name the first. INVALID_ARGUMENT names the entry that breaks a rule above: a bad or double
  // path, a field that its type does not have, a hard link to no file or to one with other
  // metadata, an entry under a file. RESOURCE_EXHAUSTED names the limit.
  static absl::StatusOr<Table> FromEntries(std::vector<TableEntry> entries,
                                           const TableLimits& limits = {});

  // Reads what Encode() wrote, and nothing else: every table has one encoding.
  //   INVALID_ARGUMENT    not a table, of another version, or not in canonical form
  //   RESOURCE_EXHAUSTED  over a limit, which is named
  static absl::StatusOr<Table> Decode(absl::string_view bytes, const TableLimits& limits = {});

  // docs/formats/table.md describes the bytes: entries in blocks, paths shortened by what they
  // share with the entry before, an index of blocks at the end (so that a part can be read alone).
  std::string Encode() const;

  absl::Span<const TableEntry> entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  bool empty() const { return entries_.empty(); }
  // About what the table takes in memory. Costs a pass over the entries.
  int64_t memory_bytes() const;

  // Null if there is no such entry. O(log n), as all look-ups here.
  const TableEntry* Find(absl::string_view path) const;
  // True if `path` is a directory: as an entry, or by having entries under it (the directories
  // above an entry of a layer need not be in its table), or as the root.
  bool IsDirectory(absl::string_view path) const;
  // The entry itself, if there is one, and all under it, in order. "" is the whole table.
  absl::Span<const TableEntry> Subtree(absl::string_view path) const;
  // Entries directly in directory `path`, by name.
  std::vector<const TableEntry*> Children(absl::string_view path) const;

  // Digest of what a COPY of `path` would copy: for a file its metadata and content, for a
  // directory its metadata and recursively its children by name. Not in it: times, the entry's own
  // name and place, names outside of the selection that are hard links to files in it. Two
  // selections with equal digests are the same to every step; so this is what keys hold. Costs a
  // pass over the subtree's entries, and no bytes of files. `size_bytes()` of the result has no
  // meaning.
  //   NOT_FOUND  no such entry or directory
  absl::StatusOr<Digest> ContentDigest(absl::string_view path) const;

  // The same for what is in directory `path`, whatever its own metadata.
  //   NOT_FOUND  no such directory
  absl::StatusOr<Digest> ContentsDigest(absl::string_view path) const;

  // Digest of a whole layer as the step left it, times included, except that each time the step
  // itself made (`step_start` less a clock tick, floored to the second, to `step_end`, both
  // included) counts as
  // "now": two runs that differ in nothing but when they ran have equal digests.
  Digest CanonicalDigest(absl::Time step_start, absl::Time step_end) const;

  // The merged root of a stack of layers, base first: whiteouts and opaque directories are applied
  // and gone, an entry replaces the one below (a non-directory with all that was in it),
  // directories merge. A directory that exists only through what is in it becomes an entry: 0755,
  // 0:0, epoch. A hard link whose first name is hidden becomes the first name of the rest.
  static Table Merge(absl::Span<const Table* const> base_to_top);

  friend bool operator==(const Table&, const Table&) = default;

 private:
  explicit Table(std::vector<TableEntry> entries) : entries_(std::move(entries)) {}

  Digest DirectoryDigest(absl::string_view path, const TableEntry* metadata) const;

  std::vector<TableEntry> entries_;
};

}  // namespace farm

#endif  // FARM_LAYER_TABLE_H_
