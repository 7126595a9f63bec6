#include "layer/table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "layer/paths.h"
#include "layer/table_rules.h"
#include "layer/wire.h"

namespace farm {
namespace {

// docs/formats/table.md describes these bytes; a change to any of them is a new version.
constexpr absl::string_view kMagic = "farmTBL1";
constexpr size_t kEntriesPerBlock = 1024;
constexpr size_t kTrailerBytes = 16;  // Offset of the index, number of entries.
constexpr size_t kEntryBytesMin = 4;  // Of a whiteout.
constexpr uint8_t kTypeMask = 0x0f;
constexpr uint8_t kOpaqueFlag = 0x10;
constexpr uint8_t kLinkFlag = 0x20;
constexpr uint8_t kXattrsFlag = 0x40;

constexpr absl::string_view kContentVersion = "farm content 1\n";
constexpr absl::string_view kCanonicalVersion = "farm canonical 1\n";
// The kernel stamps files with a clock that moves by the tick, 10 ms at most: a file made right
// after the step's start may have a time before it.
constexpr absl::Duration kFileClockLag = absl::Milliseconds(10);

constexpr char kImpliedDirectory = 0;  // In place of the attributes of a directory without entry.

// Type to xattrs, but neither path, time nor hard link: what all encodings have in common.
void AppendAttributes(const TableEntry& entry, uint8_t flags, std::string* out) {
  if (entry.opaque) flags |= kOpaqueFlag;
  if (!entry.xattrs.empty()) flags |= kXattrsFlag;
  out->push_back(static_cast<char>(static_cast<uint8_t>(entry.type) | flags));
  if (entry.type == EntryType::kWhiteout) return;
  AppendVarint(entry.mode, out);
  AppendVarint(entry.uid, out);
  AppendVarint(entry.gid, out);
  if (entry.type == EntryType::kFile) {
    AppendVarint(static_cast<uint64_t>(entry.size_bytes()), out);
    out->append(entry.content.raw().data(), entry.content.raw().size());
  } else if (entry.type == EntryType::kSymlink) {
    AppendCounted(entry.link_target, out);
  } else if (IsDevice(entry.type)) {
    AppendVarint(entry.device_major, out);
    AppendVarint(entry.device_minor, out);
  }
  if (entry.xattrs.empty()) return;
  AppendVarint(entry.xattrs.size(), out);
  for (const auto& [name, value] : entry.xattrs) {
    AppendCounted(name, out);
    AppendCounted(value, out);
  }
}

void AppendTime(absl::Time time, std::string* out) {
  const timespec value = absl::ToTimespec(time);
  const int64_t seconds = value.tv_sec;
  AppendVarint(static_cast<uint64_t>(seconds) << 1 ^ static_cast<uint64_t>(seconds >> 63), out);
  AppendVarint(static_cast<uint64_t>(value.tv_nsec), out);
}

absl::Time ReadTime(WireReader& reader) {
  const uint64_t zigzag = reader.Varint();
  const auto seconds = static_cast<int64_t>(zigzag >> 1 ^ (~(zigzag & 1) + 1));
  const uint64_t nanoseconds = reader.Varint();
  // What is out of range becomes a time that CheckFields() or the comparison of bytes refuses.
  if (nanoseconds >= 1'000'000'000) return absl::InfiniteFuture();
  return absl::FromUnixSeconds(seconds) + absl::Nanoseconds(nanoseconds);
}

uint32_t ReadUint32(WireReader& reader) { return static_cast<uint32_t>(reader.Varint()); }

void ReadXattrs(WireReader& reader, const TableLimits& limits, TableEntry* entry) {
  const uint64_t count = reader.Varint();
  // Every xattr has a name, so more than this is over the limit in bytes as well.
  if (count > static_cast<uint64_t>(limits.xattr_bytes_max)) return reader.Fail();
  for (uint64_t i = 0; i < count && reader.ok(); ++i) {
    const absl::string_view name = reader.Counted();
    const absl::string_view value = reader.Counted();
    entry->xattrs.emplace_hint(entry->xattrs.end(), name, value);
  }
}

// Reads what AppendAttributes() wrote; the flags say what else follows.
uint8_t ReadAttributes(WireReader& reader, const TableLimits& limits, TableEntry* entry) {
  const uint8_t first = reader.Byte();
  entry->type = static_cast<EntryType>(first & kTypeMask);
  entry->opaque = (first & kOpaqueFlag) != 0;
  if (entry->type == EntryType::kWhiteout) return first;
  entry->mode = ReadUint32(reader);
  entry->uid = ReadUint32(reader);
  entry->gid = ReadUint32(reader);
  if (entry->type == EntryType::kFile) {
    const uint64_t size_bytes = reader.Varint();
    const absl::string_view raw = reader.Bytes(sizeof(Digest::Hash));
    Digest::Hash hash{};
    std::copy(raw.begin(), raw.end(), hash.begin());
    entry->content = Digest(hash, static_cast<int64_t>(size_bytes));
  } else if (entry->type == EntryType::kSymlink) {
    entry->link_target = std::string(reader.Counted());
  } else if (IsDevice(entry->type)) {
    entry->device_major = ReadUint32(reader);
    entry->device_minor = ReadUint32(reader);
  }
  if ((first & kXattrsFlag) != 0) ReadXattrs(reader, limits, entry);
  return first;
}

size_t SharedPrefix(absl::string_view a, absl::string_view b) {
  const size_t size = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + size, b.begin()).first -
                             a.begin());
}

absl::Status NotATable(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a table of contents: ", why));
}

// Names of one inode within a selection of entries, whatever they link to outside of it.
class HardLinkGroups {
 public:
  using Key = std::pair<size_t, absl::string_view>;  // Layer, and path of the first name in it.

  // To be called for all entries of the selection before First().
  void Add(const TableEntry& entry, size_t layer = 0) {
    if (!entry.hard_link_to.empty()) firsts_.try_emplace(Key(layer, entry.hard_link_to));
  }
  bool empty() const { return firsts_.empty(); }

  // For the entries in order: null if the entry is the first name of its inode that the selection
  // has, or the only one; else that first name.
  const std::string* First(const TableEntry& entry, size_t layer = 0) {
    if (firsts_.empty() || entry.type != EntryType::kFile) return nullptr;
    const auto group =
        firsts_.find(Key(layer, entry.hard_link_to.empty() ? entry.path : entry.hard_link_to));
    if (group == firsts_.end()) return nullptr;
    if (group->second != nullptr) return group->second;
    group->second = &entry.path;
    return nullptr;
  }

 private:
  absl::flat_hash_map<Key, const std::string*> firsts_;
};

// Digests of the directories of a selection, from the inside out. Entries come in order.
class ContentHasher {
 public:
  // `root` is the path of the selected directory, `entry` its entry or null.
  ContentHasher(absl::string_view root, const TableEntry* entry) { Open(root, entry); }

  void Add(const TableEntry& entry) {
    const absl::string_view parent = SplitPath(entry.path).first;
    CloseUntilAbove(entry.path);
    while (path().size() < parent.size()) OpenNextTowards(parent);
    if (entry.type == EntryType::kDirectory) {
      Open(entry.path, &entry);
      return;
    }
    AppendCounted(entry.name(), &buffer());
    AppendAttributes(entry, 0, &buffer());
  }

  Digest Finish() {
    while (depth_ > 1) Close();
    hash_.Update(buffer());
    return hash_.Finish();
  }

 private:
  struct Frame {
    absl::string_view path;
    std::string buffer;
  };

  absl::string_view path() const { return frames_[depth_ - 1].path; }
  std::string& buffer() { return frames_[depth_ - 1].buffer; }

  void CloseUntilAbove(absl::string_view path_below) {
    while (!IsUnder(path_below, path())) Close();
  }

  // Opens the next directory on the way to `target` that has no entry of its own.
  void OpenNextTowards(absl::string_view target) {
    const size_t start = path().empty() ? 0 : path().size() + 1;
    Open(target.substr(0, target.find('/', start)), nullptr);
  }

  void Open(absl::string_view path, const TableEntry* entry) {
    if (depth_ == frames_.size()) frames_.emplace_back();
    Frame& frame = frames_[depth_++];  // Frames are kept for their buffers.
    frame.path = path;
    frame.buffer.clear();
    if (entry == nullptr) {
      frame.buffer.push_back(kImpliedDirectory);
    } else {
      AppendAttributes(*entry, 0, &frame.buffer);
    }
  }

  void Close() {
    hash_.Update(buffer());
    const Digest digest = hash_.Finish();
    const absl::string_view closed = path();
    --depth_;
    const size_t start = path().empty() ? 0 : path().size() + 1;
    AppendCounted(closed.substr(start), &buffer());
    // The same type byte as an entry's, so that no file's attributes read like a directory's
    // digest.
    buffer().push_back(static_cast<char>(EntryType::kDirectory));
    buffer().append(digest.raw().data(), digest.raw().size());
  }

  std::vector<Frame> frames_;
  size_t depth_ = 0;
  Sha256 hash_;
};

// What Merge() has so far: entries of the layers' tables, in order.
struct MergedEntry {
  const TableEntry* entry;
  size_t layer;
};

// The first item from `first` on of which `before` is false; it is true of all items in front of
// that one. Cheap if they are few: a small layer must not cost a pass over a big one.
template <typename Iterator, typename Predicate>
Iterator Gallop(Iterator first, Iterator last, Predicate before) {
  for (std::ptrdiff_t step = 1; first != last; step *= 2) {
    const Iterator probe = first + std::min<std::ptrdiff_t>(step, last - first);
    if (!before(*(probe - 1))) return std::partition_point(first, probe, before);
    first = probe;
  }
  return last;
}

std::vector<MergedEntry> MergeLayer(const std::vector<MergedEntry>& below, const Table& table,
                                    size_t layer) {
  std::vector<MergedEntry> merged;
  merged.reserve(below.size() + table.size());
  auto lower = below.begin();
  for (const TableEntry& upper : table.entries()) {
    const auto same_or_after = Gallop(lower, below.end(), [&](const MergedEntry& item) {
      return PathLess(item.entry->path, upper.path);
    });
    merged.insert(merged.end(), lower, same_or_after);
    lower = same_or_after;
    // A layer may lack the directories above its entries; they still replace a non-directory, which
    // then is the last before them in order.
    if (!merged.empty() && merged.back().entry->type != EntryType::kDirectory &&
        IsUnder(upper.path, merged.back().entry->path)) {
      merged.pop_back();
    }
    const bool merges = upper.type == EntryType::kDirectory && !upper.opaque;
    lower = Gallop(lower, below.end(), [&](const MergedEntry& item) {
      return item.entry->path == upper.path || (!merges && IsUnder(item.entry->path, upper.path));
    });
    if (upper.type != EntryType::kWhiteout) merged.push_back({&upper, layer});
  }
  merged.insert(merged.end(), lower, below.end());
  return merged;
}

TableEntry ImpliedDirectory(absl::string_view path) {
  TableEntry entry;
  entry.path = std::string(path);
  entry.type = EntryType::kDirectory;
  entry.mode = 0755;
  return entry;
}

// Appends the directories above `path` that are neither in `entries` nor the root. `entries` is in
// order and all in it comes before `path`.
void AppendMissingParents(absl::string_view path, std::vector<TableEntry>* entries) {
  const absl::string_view before = entries->empty() ? "" : absl::string_view(entries->back().path);
  for (size_t slash = path.find('/'); slash != absl::string_view::npos;
       slash = path.find('/', slash + 1)) {
    const absl::string_view parent = path.substr(0, slash);
    if (before != parent && !IsUnder(before, parent)) {
      entries->push_back(ImpliedDirectory(parent));
      return AppendMissingParents(path, entries);  // `before` may be gone: look again.
    }
  }
}

}  // namespace

absl::string_view EntryTypeName(EntryType type) {
  switch (type) {
    case EntryType::kDirectory:
      return "directory";
    case EntryType::kFile:
      return "file";
    case EntryType::kSymlink:
      return "symlink";
    case EntryType::kCharDevice:
      return "char device";
    case EntryType::kBlockDevice:
      return "block device";
    case EntryType::kFifo:
      return "fifo";
    case EntryType::kWhiteout:
      return "whiteout";
  }
  return "thing of unknown type";
}

absl::string_view TableEntry::name() const {
  return absl::string_view(path).substr(path.rfind('/') + 1);
}

int64_t MemoryBytes(const TableEntry& entry) {
  // A node of the map: its links and colour before the pair.
  constexpr size_t kXattrBytes = 4 * sizeof(void*) + 2 * sizeof(std::string);
  size_t bytes =
      sizeof(TableEntry) + entry.path.size() + entry.link_target.size() + entry.hard_link_to.size();
  for (const auto& [name, value] : entry.xattrs) bytes += kXattrBytes + name.size() + value.size();
  return static_cast<int64_t>(bytes);
}

absl::Status TableMemory::Add(const TableEntry& entry) {
  bytes_ += MemoryBytes(entry);
  if (bytes_ <= bytes_max_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("entries that take more than memory_bytes_max ", bytes_max_, " in memory"));
}

bool PathLess(absl::string_view a, absl::string_view b) {
  const size_t i = SharedPrefix(a, b);
  if (i == a.size() || i == b.size()) return a.size() < b.size();
  if (a[i] == '/') return true;
  if (b[i] == '/') return false;
  return static_cast<uint8_t>(a[i]) < static_cast<uint8_t>(b[i]);
}

absl::StatusOr<Table> Table::FromEntries(std::vector<TableEntry> entries,
                                         const TableLimits& limits) {
  const auto less = [](const TableEntry& a, const TableEntry& b) {
    return PathLess(a.path, b.path);
  };
  RETURN_IF_ERROR(CheckEntryCount(entries.size(), limits));
  TableMemory memory(limits);
  for (const TableEntry& entry : entries) {
    RETURN_IF_ERROR(memory.Add(entry));
    RETURN_IF_ERROR(CheckEntry(entry, limits));
  }
  if (!std::is_sorted(entries.begin(), entries.end(), less)) {
    std::sort(entries.begin(), entries.end(), less);
  }
  for (size_t i = 1; i < entries.size(); ++i) {
    RETURN_IF_ERROR(CheckOrder(entries[i - 1], entries[i]));
  }
  RETURN_IF_ERROR(NormalizeHardLinks(entries, limits));
  return Table(std::move(entries));
}

std::string Table::Encode() const {
  std::string out(kMagic);
  std::string index;
  absl::flat_hash_map<absl::string_view, size_t> first_names;
  for (const TableEntry& entry : entries_) {
    if (!entry.hard_link_to.empty()) first_names.try_emplace(entry.hard_link_to, 0);
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    const TableEntry& entry = entries_[i];
    size_t shared = 0;
    if (i % kEntriesPerBlock == 0) {
      AppendVarint(out.size(), &index);
      AppendCounted(entry.path, &index);
    } else {
      shared = SharedPrefix(entries_[i - 1].path, entry.path);
    }
    AppendVarint(shared, &out);
    AppendCounted(absl::string_view(entry.path).substr(shared), &out);
    AppendAttributes(entry, entry.hard_link_to.empty() ? 0 : kLinkFlag, &out);
    if (entry.type == EntryType::kWhiteout) continue;
    AppendTime(entry.mtime, &out);
    if (!entry.hard_link_to.empty()) {
      AppendVarint(first_names.at(entry.hard_link_to), &out);
    } else if (!first_names.empty()) {
      const auto found = first_names.find(entry.path);
      if (found != first_names.end()) found->second = i;
    }
  }
  const size_t index_offset = out.size();
  out.append(index);
  AppendFixed64(index_offset, &out);
  AppendFixed64(entries_.size(), &out);
  return out;
}

absl::StatusOr<Table> Table::Decode(absl::string_view bytes, const TableLimits& limits) {
  if (static_cast<int64_t>(bytes.size()) > limits.table_bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a table of ", bytes.size(), " bytes, over table_bytes_max ", limits.table_bytes_max));
  }
  if (bytes.size() < kMagic.size() + kTrailerBytes || !absl::StartsWith(bytes, kMagic)) {
    return NotATable(absl::StrCat("it does not begin with ", kMagic));
  }
  WireReader trailer(bytes.substr(bytes.size() - kTrailerBytes));
  const uint64_t index_offset = trailer.Fixed64();
  const uint64_t count = trailer.Fixed64();
  RETURN_IF_ERROR(CheckEntryCount(count, limits));
  if (index_offset < kMagic.size() || index_offset > bytes.size() - kTrailerBytes ||
      count > index_offset / kEntryBytesMin) {
    return NotATable("its last bytes do not fit its size");
  }
  WireReader reader(bytes.substr(kMagic.size(), index_offset - kMagic.size()));
  std::vector<TableEntry> entries(count);
  TableMemory memory(limits);
  for (size_t i = 0; i < count; ++i) {
    TableEntry& entry = entries[i];
    const uint64_t shared = reader.Varint();
    const absl::string_view rest = reader.Counted();
    const size_t shared_max = i == 0 ? 0 : entries[i - 1].path.size();
    if (!reader.ok() || shared > shared_max) return NotATable("it is cut off or damaged");
    entry.path.reserve(shared + rest.size());
    if (shared > 0) entry.path.assign(entries[i - 1].path, 0, shared);
    entry.path.append(rest.data(), rest.size());
    const uint8_t flags = ReadAttributes(reader, limits, &entry);
    if (entry.type < EntryType::kDirectory || entry.type > EntryType::kWhiteout) {
      return NotATable(absl::StrCat("an entry of unknown type ", flags & kTypeMask));
    }
    if (entry.type != EntryType::kWhiteout) entry.mtime = ReadTime(reader);
    if ((flags & kLinkFlag) != 0) {
      const uint64_t first = reader.Varint();
      if (!reader.ok() || first >= i || !entries[first].hard_link_to.empty()) {
        return NotATable("a hard link to no earlier entry");
      }
      RETURN_IF_ERROR(CheckHardLink(entry, entries[first]));
      entry.hard_link_to = entries[first].path;
    }
    if (!reader.ok()) return NotATable("it is cut off or damaged");
    RETURN_IF_ERROR(memory.Add(entry)) << "table of contents";
    RETURN_IF_ERROR(CheckEntry(entry, limits)) << "table of contents";
    if (i == 0) continue;
    RETURN_IF_ERROR(CheckOrder(entries[i - 1], entry)) << "table of contents";
  }
  Table table(std::move(entries));
  // One table, one encoding: else two blobs could name the same layer. Writing it again also checks
  // the index and that no bytes are left over.
  if (table.Encode() != bytes) return NotATable("it is not in canonical form");
  return table;
}

int64_t Table::memory_bytes() const {
  int64_t bytes = sizeof(Table);
  for (const TableEntry& entry : entries_) bytes += MemoryBytes(entry);
  return bytes;
}

const TableEntry* Table::Find(absl::string_view path) const {
  const absl::Span<const TableEntry> subtree = Subtree(path);
  return !subtree.empty() && subtree.front().path == path ? &subtree.front() : nullptr;
}

bool Table::IsDirectory(absl::string_view path) const {
  if (path.empty()) return true;
  const absl::Span<const TableEntry> subtree = Subtree(path);
  return !subtree.empty() &&
         (subtree.front().path != path || subtree.front().type == EntryType::kDirectory);
}

absl::Span<const TableEntry> Table::Subtree(absl::string_view path) const {
  const auto first = std::lower_bound(
      entries_.begin(), entries_.end(), path,
      [](const TableEntry& entry, absl::string_view key) { return PathLess(entry.path, key); });
  const auto last = std::partition_point(first, entries_.end(), [&](const TableEntry& entry) {
    return entry.path == path || IsUnder(entry.path, path);
  });
  return absl::MakeConstSpan(entries_).subspan(first - entries_.begin(), last - first);
}

std::vector<const TableEntry*> Table::Children(absl::string_view path) const {
  std::vector<const TableEntry*> children;
  const size_t start = path.empty() ? 0 : path.size() + 1;
  const absl::Span<const TableEntry> subtree = Subtree(path);
  for (auto entry = subtree.begin(); entry != subtree.end();) {
    if (entry->path == path) {
      ++entry;
      continue;
    }
    const absl::string_view child =
        absl::string_view(entry->path).substr(0, entry->path.find('/', start));
    if (entry->path == child) children.push_back(&*entry);
    ++entry;
    if (entry == subtree.end() || !IsUnder(entry->path, child)) continue;
    entry = std::partition_point(
        entry, subtree.end(), [&](const TableEntry& other) { return IsUnder(other.path, child); });
  }
  return children;
}

absl::StatusOr<Digest> Table::ContentDigest(absl::string_view path) const {
  const TableEntry* top = Find(path);
  if (top == nullptr && !IsDirectory(path)) {
    return absl::NotFoundError(absl::StrCat(ShownPath(path), " is not in the table"));
  }
  if (top == nullptr || top->type == EntryType::kDirectory) return DirectoryDigest(path, top);
  std::string encoding(kContentVersion);
  AppendAttributes(*top, 0, &encoding);
  return DigestOf(encoding);
}

absl::StatusOr<Digest> Table::ContentsDigest(absl::string_view path) const {
  if (IsDirectory(path)) return DirectoryDigest(path, nullptr);
  return absl::NotFoundError(absl::StrCat(ShownPath(path), " is no directory of the table"));
}

// `metadata` is the directory's own; null: none, as if it had no entry.
Digest Table::DirectoryDigest(absl::string_view path, const TableEntry* metadata) const {
  absl::Span<const TableEntry> selection = Subtree(path);
  if (!selection.empty() && selection.front().path == path) selection.remove_prefix(1);
  ContentHasher hasher(path, metadata);
  HardLinkGroups links;
  for (const TableEntry& entry : selection) {
    hasher.Add(entry);
    links.Add(entry);
  }
  std::string encoding(kContentVersion);
  encoding.push_back(static_cast<char>(EntryType::kDirectory));
  const Digest directory = hasher.Finish();
  encoding.append(directory.raw().data(), directory.raw().size());
  if (!links.empty()) {
    const size_t start = path.empty() ? 0 : path.size() + 1;
    for (const TableEntry& entry : selection) {
      const std::string* first = links.First(entry);
      if (first == nullptr) continue;
      AppendCounted(absl::string_view(entry.path).substr(start), &encoding);
      AppendCounted(absl::string_view(*first).substr(start), &encoding);
    }
  }
  return DigestOf(encoding);
}

Digest Table::CanonicalDigest(absl::Time step_start, absl::Time step_end) const {
  constexpr size_t kFlushBytes = 64 * 1024;
  const absl::Time start = absl::FromUnixSeconds(absl::ToUnixSeconds(step_start - kFileClockLag));
  Sha256 hash;
  std::string buffer(kCanonicalVersion);
  for (const TableEntry& entry : entries_) {
    AppendCounted(entry.path, &buffer);
    AppendAttributes(entry, entry.hard_link_to.empty() ? 0 : kLinkFlag, &buffer);
    if (entry.type == EntryType::kWhiteout) continue;
    const bool now = start <= entry.mtime && entry.mtime <= step_end;
    buffer.push_back(now ? 1 : 0);
    if (!now) AppendTime(entry.mtime, &buffer);
    if (!entry.hard_link_to.empty()) AppendCounted(entry.hard_link_to, &buffer);
    if (buffer.size() < kFlushBytes) continue;
    hash.Update(buffer);
    buffer.clear();
  }
  hash.Update(buffer);
  return hash.Finish();
}

Table Table::Merge(absl::Span<const Table* const> base_to_top) {
  std::vector<MergedEntry> merged;
  for (size_t layer = 0; layer < base_to_top.size(); ++layer) {
    merged = MergeLayer(merged, *base_to_top[layer], layer);
  }
  HardLinkGroups links;
  for (const MergedEntry& item : merged) links.Add(*item.entry, item.layer);
  std::vector<TableEntry> entries;
  entries.reserve(merged.size());
  for (const MergedEntry& item : merged) {
    AppendMissingParents(item.entry->path, &entries);
    entries.push_back(*item.entry);
    entries.back().opaque = false;
    const std::string* first = links.First(*item.entry, item.layer);
    entries.back().hard_link_to = first == nullptr ? "" : *first;
  }
  return Table(std::move(entries));
}

}  // namespace farm
