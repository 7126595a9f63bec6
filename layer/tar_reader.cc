#include "layer/tar_reader.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "layer/paths.h"
#include "layer/tar_header.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 128 * 1024;
constexpr int64_t kGlobalRecordsMax = 1000;

// Seconds that an mtime may be from 1970; see TableEntry::mtime.
constexpr int64_t kMtimeSecondsMax = int64_t{1} << 40;

absl::string_view FieldOf(const char* header, TarField field) {
  return {header + field.offset, field.size};
}

// Text up to the first zero byte, or all of the field.
absl::string_view TextOf(const char* header, TarField field) {
  const absl::string_view bytes = FieldOf(header, field);
  return bytes.substr(0, bytes.find('\0'));
}

// GNU's form for what octal cannot hold: big-endian two's complement, marked by the highest bit.
std::optional<int64_t> ParseBase256(absl::string_view bytes) {
  const bool negative = (bytes[0] & 0x40) != 0;
  uint64_t value = negative ? ~uint64_t{0} : 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    auto byte = static_cast<uint8_t>(bytes[i]);
    if (i == 0) byte = static_cast<uint8_t>(negative ? byte | 0x80 : byte & 0x7f);
    const uint8_t overflow = static_cast<uint8_t>(value >> 56);
    if (overflow != (negative ? 0xff : 0)) return std::nullopt;
    value = value << 8 | byte;
  }
  const auto result = static_cast<int64_t>(value);
  if ((result < 0) != negative) return std::nullopt;
  return result;
}

std::optional<int64_t> ParseOctal(absl::string_view text) {
  text = text.substr(0, text.find('\0'));
  text = absl::StripAsciiWhitespace(text);
  int64_t value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '7' || value >> 59 != 0) return std::nullopt;
    value = value << 3 | (digit - '0');
  }
  return value;
}

absl::StatusOr<int64_t> NumberOf(const char* header, TarField field, absl::string_view what) {
  const absl::string_view bytes = FieldOf(header, field);
  const std::optional<int64_t> value =
      (bytes[0] & 0x80) != 0 ? ParseBase256(bytes) : ParseOctal(bytes);
  if (value.has_value()) return *value;
  return absl::InvalidArgumentError(absl::StrCat("tar header with the ", std::string(what), " ",
                                                 ShownPath(bytes), ", which is no number"));
}

absl::StatusOr<uint32_t> Uint32Of(const char* header, TarField field, absl::string_view what) {
  ASSIGN_OR_RETURN(const int64_t value, NumberOf(header, field, what));
  if (value < 0 || value > UINT32_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("tar header with the ", std::string(what), " ", value));
  }
  return static_cast<uint32_t>(value);
}

// Seconds with an optional fraction, of which nanoseconds are kept.
std::optional<absl::Time> ParsePaxTime(absl::string_view text) {
  const size_t dot = std::min(text.find('.'), text.size());
  int64_t seconds = 0;
  if (!absl::SimpleAtoi(text.substr(0, dot), &seconds)) return std::nullopt;
  if (seconds < -kMtimeSecondsMax || seconds > kMtimeSecondsMax) return std::nullopt;
  int64_t nanoseconds = 0;
  int64_t unit = 100'000'000;
  for (size_t i = dot + 1; i < text.size(); ++i, unit /= 10) {
    if (!absl::ascii_isdigit(text[i])) return std::nullopt;
    nanoseconds += unit * (text[i] - '0');
  }
  if (text[0] == '-') nanoseconds = -nanoseconds;
  return absl::FromUnixSeconds(seconds) + absl::Nanoseconds(nanoseconds);
}

absl::Status BadPaxRecord(absl::string_view record) {
  return absl::InvalidArgumentError(absl::StrCat("bad pax record ", ShownPath(record)));
}

// Reads "LENGTH KEY=VALUE\n" again and again.
absl::Status ParsePaxRecords(absl::string_view bytes, std::map<std::string, std::string>* records) {
  while (!bytes.empty()) {
    const size_t space = bytes.find(' ');
    size_t length = 0;
    if (space == absl::string_view::npos || space > 10 ||
        !absl::SimpleAtoi(bytes.substr(0, space), &length) || length > bytes.size() ||
        length < space + 3 || bytes[length - 1] != '\n') {
      return BadPaxRecord(bytes);
    }
    const absl::string_view record = bytes.substr(space + 1, length - space - 2);
    bytes.remove_prefix(length);
    const size_t equals = record.find('=');
    if (equals == absl::string_view::npos || equals == 0) return BadPaxRecord(record);
    records->insert_or_assign(std::string(record.substr(0, equals)),
                              std::string(record.substr(equals + 1)));
  }
  return absl::OkStatus();
}

absl::Status ApplyPaxRecord(absl::string_view key, const std::string& value, TarEntry* entry) {
  const auto bad = [&] {
    return absl::InvalidArgumentError(absl::StrCat("entry ", ShownPath(entry->name),
                                                   ": pax record ", std::string(key), " is ",
                                                   ShownPath(value)));
  };
  if (absl::StartsWith(key, "GNU.sparse.")) {
    return absl::InvalidArgumentError(absl::StrCat("entry ", ShownPath(entry->name),
                                                   " is a sparse file; make the archive without "
                                                   "tar's --sparse"));
  }
  if (absl::ConsumePrefix(&key, kPaxXattrPrefix)) {
    entry->xattrs[std::string(key)] = value;
    return absl::OkStatus();
  }
  if (value.empty()) return absl::OkStatus();  // Takes a global record back.
  if (key == "path" || key == "linkpath") {
    if (value.find('\0') != std::string::npos) return bad();
    (key == "path" ? entry->name : entry->link_name) = value;
  } else if (key == "size") {
    if (!absl::SimpleAtoi(value, &entry->size_bytes) || entry->size_bytes < 0) return bad();
  } else if (key == "uid" || key == "gid") {
    if (!absl::SimpleAtoi(value, key == "uid" ? &entry->uid : &entry->gid)) return bad();
  } else if (key == "mtime") {
    const std::optional<absl::Time> mtime = ParsePaxTime(value);
    if (!mtime.has_value()) return bad();
    entry->mtime = *mtime;
  }
  return absl::OkStatus();  // Others say nothing that a layer keeps.
}

absl::StatusOr<TarType> TypeOf(char flag, absl::string_view name) {
  switch (flag) {
    case '\0':  // v7, which marks directories by their names alone.
      return absl::EndsWith(name, "/") ? TarType::kDirectory : TarType::kFile;
    case '0':
    case '7':  // Contiguous: a file like others on Linux.
      return TarType::kFile;
    case '1':
      return TarType::kHardLink;
    case '2':
      return TarType::kSymlink;
    case '3':
      return TarType::kCharDevice;
    case '4':
      return TarType::kBlockDevice;
    case '5':
      return TarType::kDirectory;
    case '6':
      return TarType::kFifo;
    case 'S':
      return absl::InvalidArgumentError(absl::StrCat(
          "entry ", ShownPath(name), " is a sparse file; make the archive without tar's --sparse"));
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "entry ", ShownPath(name), " is of the unknown type ", ShownPath({&flag, 1})));
  }
}

std::string NameOf(const char* header) {
  const absl::string_view name = TextOf(header, kTarName);
  if (FieldOf(header, kTarMagic).substr(0, 6) != kUstarMagic.substr(0, 6)) return std::string(name);
  const bool star = FieldOf(header, kStarTrailer) == absl::string_view("tar\0", 4);
  const absl::string_view prefix = TextOf(header, star ? kStarPrefix : kTarPrefix);
  return prefix.empty() ? std::string(name) : absl::StrCat(prefix, "/", name);
}

// All of a header but its type.
absl::Status ParseHeader(const char* header, TarEntry* entry) {
  *entry = TarEntry();
  entry->name = NameOf(header);
  entry->link_name = std::string(TextOf(header, kTarLinkName));
  ASSIGN_OR_RETURN(const uint32_t mode, Uint32Of(header, kTarMode, "mode"));
  entry->mode = mode & 07777;  // Old writers put the file's type above.
  ASSIGN_OR_RETURN(entry->uid, Uint32Of(header, kTarUid, "uid"));
  ASSIGN_OR_RETURN(entry->gid, Uint32Of(header, kTarGid, "gid"));
  ASSIGN_OR_RETURN(entry->size_bytes, NumberOf(header, kTarSize, "size"));
  ASSIGN_OR_RETURN(const int64_t mtime, NumberOf(header, kTarMtime, "mtime"));
  if (entry->size_bytes < 0 || mtime < -kMtimeSecondsMax || mtime > kMtimeSecondsMax) {
    return absl::InvalidArgumentError(absl::StrCat("entry ", ShownPath(entry->name), " has size ",
                                                   entry->size_bytes, " and mtime ", mtime));
  }
  entry->mtime = absl::FromUnixSeconds(mtime);
  return absl::OkStatus();
}

absl::Status ParseDevice(const char* header, TarEntry* entry) {
  ASSIGN_OR_RETURN(entry->device_major, Uint32Of(header, kTarDeviceMajor, "device major"));
  ASSIGN_OR_RETURN(entry->device_minor, Uint32Of(header, kTarDeviceMinor, "device minor"));
  return absl::OkStatus();
}

// Headers that say something of the entry to come, or of all; a volume's label says nothing.
bool IsExtension(char type_flag) {
  return type_flag == 'x' || type_flag == 'g' || type_flag == 'L' || type_flag == 'K' ||
         type_flag == 'V';
}

bool IsZeroBlock(const char* block) {
  return block[0] == 0 && std::memcmp(block, block + 1, kTarBlockBytes - 1) == 0;
}

int64_t PaddingOf(int64_t size_bytes) {
  constexpr int64_t kBlock = kTarBlockBytes;
  return (kBlock - size_bytes % kBlock) % kBlock;
}

}  // namespace

TarReader::TarReader(ByteSource& source, const TarLimits& limits, TwinSha256* hash)
    : source_(source),
      limits_(limits),
      hash_(hash),
      buffer_(std::make_unique_for_overwrite<char[]>(kBufferBytes)) {}

absl::StatusOr<bool> TarReader::Next(TarEntry* entry) {
  Records records;
  std::string long_name;
  std::string long_link;
  int64_t extended_bytes = 0;
  while (true) {
    RETURN_IF_ERROR(Skip());
    ASSIGN_OR_RETURN(const bool more, NextHeader(entry));
    if (!more) {
      if (records.empty() && long_name.empty() && long_link.empty()) return false;
      return absl::DataLossError("the tar ends after an extended header");
    }
    if (!IsExtension(type_flag_)) break;
    // Not each by itself: any number of them may come before an entry.
    extended_bytes += static_cast<int64_t>(kTarBlockBytes);
    if (entry->size_bytes > limits_.extended_header_bytes_max - extended_bytes) {
      return OverExtended();
    }
    extended_bytes += entry->size_bytes;
    if (type_flag_ == 'x') {
      ASSIGN_OR_RETURN(const std::string pax, ExtendedHeader());
      RETURN_IF_ERROR(ParsePaxRecords(pax, &records));
    } else if (type_flag_ == 'g') {
      ASSIGN_OR_RETURN(const std::string pax, ExtendedHeader());
      RETURN_IF_ERROR(AddGlobal(pax));
    } else if (type_flag_ == 'L' || type_flag_ == 'K') {
      ASSIGN_OR_RETURN(const std::string name, ExtendedHeader());
      (type_flag_ == 'L' ? long_name : long_link) = name.substr(0, name.find('\0'));
    }
  }
  if (++entries_ > limits_.entries_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the tar has more than entries_max ", limits_.entries_max, " entries"));
  }
  if (!long_name.empty()) entry->name = std::move(long_name);
  if (!long_link.empty()) entry->link_name = std::move(long_link);
  for (const auto& [key, value] : global_) {
    if (records.count(key) != 0) continue;
    RETURN_IF_ERROR(ApplyPaxRecord(key, value, entry));
  }
  for (const auto& [key, value] : records) RETURN_IF_ERROR(ApplyPaxRecord(key, value, entry));
  ASSIGN_OR_RETURN(entry->type, TypeOf(type_flag_, entry->name));
  // Some writers put a hard link's or a directory's size there, and yet no data.
  if (entry->type != TarType::kFile) entry->size_bytes = 0;
  if (entry->size_bytes > limits_.bytes_max) return OverLimit();
  data_left_ = entry->size_bytes;
  padding_left_ = PaddingOf(data_left_);
  return true;
}

absl::Status TarReader::OverLimit() const {
  return absl::ResourceExhaustedError(
      absl::StrCat("the tar is longer than tar_bytes_max ", limits_.bytes_max));
}

absl::Status TarReader::OverExtended() const {
  return absl::ResourceExhaustedError(
      absl::StrCat("extended tar headers of one entry, or global ones, over "
                   "extended_header_bytes_max ",
                   limits_.extended_header_bytes_max));
}

// Global records replace those of the same key.
absl::Status TarReader::AddGlobal(absl::string_view pax) {
  RETURN_IF_ERROR(ParsePaxRecords(pax, &global_));
  if (static_cast<int64_t>(global_.size()) > kGlobalRecordsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("more than ", kGlobalRecordsMax, " global pax records"));
  }
  int64_t bytes = 0;
  for (const auto& [key, value] : global_) bytes += static_cast<int64_t>(key.size() + value.size());
  return bytes <= limits_.extended_header_bytes_max ? absl::OkStatus() : OverExtended();
}

absl::StatusOr<bool> TarReader::NextHeader(TarEntry* entry) {
  ASSIGN_OR_RETURN(const char* block, NextBlock());
  if (block == nullptr) return false;
  if (IsZeroBlock(block)) {
    ASSIGN_OR_RETURN(block, NextBlock());
    if (block == nullptr || IsZeroBlock(block)) return false;
    return absl::InvalidArgumentError("not a tar: a block of zeros between entries");
  }
  if (!IsTarHeader({block, kTarBlockBytes})) {
    return absl::InvalidArgumentError(headers_ == 0
                                          ? "not a tar: it does not begin with a tar header"
                                          : "damaged tar: a header with a wrong checksum");
  }
  ++headers_;
  RETURN_IF_ERROR(ParseHeader(block, entry));
  type_flag_ = block[kTarTypeFlag.offset];
  if (type_flag_ == '3' || type_flag_ == '4') {
    RETURN_IF_ERROR(ParseDevice(block, entry));
  }
  data_left_ = entry->size_bytes;
  padding_left_ = PaddingOf(data_left_);
  return true;
}

absl::StatusOr<std::string> TarReader::ExtendedHeader() {
  std::string bytes;
  while (data_left_ > 0) {
    ASSIGN_OR_RETURN(const absl::string_view chunk, NextData());
    bytes.append(chunk.data(), chunk.size());
  }
  return bytes;
}

absl::StatusOr<absl::string_view> TarReader::NextData(TwinSha256* content) {
  if (data_left_ == 0) return absl::string_view();
  if (begin_ == end_) {
    ASSIGN_OR_RETURN(const size_t count, Fill());
    if (count == 0) return absl::DataLossError("the tar ends within an entry's data");
  }
  const auto count =
      static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(end_ - begin_), data_left_));
  data_left_ -= static_cast<int64_t>(count);
  if (content == nullptr) return Take(count);
  const absl::string_view bytes(buffer_.get() + begin_, count);
  begin_ += count;
  if (hash_ == nullptr) {
    content->Update(bytes);
  } else {
    TwinSha256::UpdateBoth(*hash_, *content, bytes);
  }
  return bytes;
}

absl::Status TarReader::Skip() {
  data_left_ += std::exchange(padding_left_, 0);
  while (data_left_ > 0) RETURN_IF_ERROR(NextData().status());
  return absl::OkStatus();
}

absl::Status TarReader::Drain() {
  while (true) {
    Take(end_ - begin_);
    ASSIGN_OR_RETURN(const size_t count, Fill());
    if (count == 0) return absl::OkStatus();
  }
}

// The next bytes of the buffer, hashed.
absl::string_view TarReader::Take(size_t count) {
  const absl::string_view bytes(buffer_.get() + begin_, count);
  begin_ += count;
  if (hash_ != nullptr) hash_->Update(bytes);
  return bytes;
}

// Adds bytes to the buffer; 0 at the end of the source.
absl::StatusOr<size_t> TarReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  FARM_CHECK_LT(end_, kBufferBytes);
  ASSIGN_OR_RETURN(const size_t count, source_.Read(buffer_.get() + end_, kBufferBytes - end_));
  end_ += count;
  bytes_read_ += static_cast<int64_t>(count);
  if (bytes_read_ > limits_.bytes_max) return OverLimit();
  return count;
}

// Null at the end of the source.
absl::StatusOr<const char*> TarReader::NextBlock() {
  while (end_ - begin_ < kTarBlockBytes) {
    ASSIGN_OR_RETURN(const size_t count, Fill());
    if (count > 0) continue;
    if (begin_ == end_) return nullptr;
    return absl::DataLossError("the tar ends within a header");
  }
  return Take(kTarBlockBytes).data();
}

bool IsTarHeader(absl::string_view bytes) {
  if (bytes.size() < kTarBlockBytes || IsZeroBlock(bytes.data())) return false;
  const std::optional<int64_t> checksum = ParseOctal(FieldOf(bytes.data(), kTarChecksum));
  if (!checksum.has_value()) return false;
  if (*checksum == TarChecksum(bytes.data())) return true;
  // Some old writers summed signed bytes.
  int64_t difference = 0;
  for (size_t i = 0; i < kTarBlockBytes; ++i) {
    const bool own = i >= kTarChecksum.offset && i < kTarChecksum.offset + kTarChecksum.size;
    if (!own && (bytes[i] & 0x80) != 0) difference += 256;
  }
  return *checksum == static_cast<int64_t>(TarChecksum(bytes.data())) - difference;
}

}  // namespace farm
