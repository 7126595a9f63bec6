#include "layer/tar_writer.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "layer/tar_header.h"

namespace farm {
namespace {

constexpr size_t kBufferBytes = 128 * 1024;
constexpr char kPaxHeaderName[] = "PaxHeader";  // Of no meaning to readers of pax.

char TypeFlag(TarType type) {
  switch (type) {
    case TarType::kFile:
      return '0';
    case TarType::kHardLink:
      return '1';
    case TarType::kSymlink:
      return '2';
    case TarType::kCharDevice:
      return '3';
    case TarType::kBlockDevice:
      return '4';
    case TarType::kDirectory:
      return '5';
    case TarType::kFifo:
      return '6';
  }
  FARM_CHECK(false) << "no such TarType";
  return 0;
}

// Octal digits and a zero byte; all zeros if that is too small for the number, whose pax record
// then counts.
bool FitsOctal(int64_t value, TarField field) {
  return value >= 0 && value >> (3 * (field.size - 1)) == 0;
}

void PutOctal(int64_t value, TarField field, char* header) {
  if (!FitsOctal(value, field)) value = 0;
  for (size_t i = field.size - 1; i-- > 0; value >>= 3) {
    header[field.offset + i] = static_cast<char>('0' + (value & 7));
  }
}

void PutText(absl::string_view text, TarField field, char* header) {
  std::copy_n(text.begin(), std::min(text.size(), field.size), header + field.offset);
}

// "LENGTH KEY=VALUE\n", where LENGTH counts all of it.
void AppendPaxRecord(absl::string_view key, absl::string_view value, std::string* out) {
  const size_t rest = key.size() + value.size() + 3;  // Space, equals sign, newline.
  size_t length = rest + 1;
  while (absl::StrCat(length).size() + rest > length) ++length;
  absl::StrAppend(out, length, " ", key, "=", value, "\n");
}

std::string PaxRecords(const TarEntry& entry, absl::string_view name) {
  std::string records;
  const auto add_text = [&](const char* key, absl::string_view text, TarField field) {
    if (text.size() > field.size) AppendPaxRecord(key, text, &records);
  };
  const auto add_number = [&](const char* key, int64_t value, TarField field) {
    if (!FitsOctal(value, field)) AppendPaxRecord(key, absl::StrCat(value), &records);
  };
  add_text("path", name, kTarName);
  add_text("linkpath", entry.link_name, kTarLinkName);
  add_number("size", entry.size_bytes, kTarSize);
  add_number("uid", entry.uid, kTarUid);
  add_number("gid", entry.gid, kTarGid);
  add_number("mtime", absl::ToUnixSeconds(entry.mtime), kTarMtime);
  for (const auto& [key, value] : entry.xattrs) {
    AppendPaxRecord(absl::StrCat(kPaxXattrPrefix, key), value, &records);
  }
  return records;
}

absl::Status OverLimit() {
  return absl::ResourceExhaustedError("the tar is longer than tar_bytes_max");
}

}  // namespace

TarWriter::TarWriter(ByteSink& sink, int64_t bytes_max, TwinSha256* hash)
    : sink_(sink), bytes_left_(bytes_max), hash_(hash) {
  buffer_.reserve(kBufferBytes + 4 * kTarBlockBytes);
}

absl::Status TarWriter::AddEntry(const TarEntry& entry) {
  FARM_CHECK_EQ(data_left_, 0);
  // At once, not after writing as much of a sparse file's zeros as there is room for.
  if (entry.size_bytes > bytes_left_) return OverLimit();
  AppendZerosToBlock();
  std::string name = entry.name;
  if (entry.type == TarType::kDirectory && !absl::EndsWith(name, "/")) name += '/';
  const std::string pax = PaxRecords(entry, name);
  if (!pax.empty()) {
    TarEntry header;
    header.mode = 0644;
    header.size_bytes = static_cast<int64_t>(pax.size());
    AppendHeader(header, kPaxHeaderName, 'x');
    RETURN_IF_ERROR(Append(pax, nullptr));
    AppendZerosToBlock();
  }
  AppendHeader(entry, name, TypeFlag(entry.type));
  data_left_ = entry.size_bytes;
  return buffer_.size() < kBufferBytes ? absl::OkStatus() : Flush();
}

void TarWriter::AppendHeader(const TarEntry& entry, absl::string_view name, char type_flag) {
  const size_t start = buffer_.size();
  buffer_.append(kTarBlockBytes, '\0');
  char* header = buffer_.data() + start;
  PutText(name, kTarName, header);
  PutOctal(entry.mode, kTarMode, header);
  PutOctal(entry.uid, kTarUid, header);
  PutOctal(entry.gid, kTarGid, header);
  PutOctal(entry.size_bytes, kTarSize, header);
  PutOctal(absl::ToUnixSeconds(entry.mtime), kTarMtime, header);
  header[kTarTypeFlag.offset] = type_flag;
  PutText(entry.link_name, kTarLinkName, header);
  PutText(kUstarMagic, kTarMagic, header);
  PutOctal(entry.device_major, kTarDeviceMajor, header);
  PutOctal(entry.device_minor, kTarDeviceMinor, header);
  // Six digits, a zero byte, a space: the one form that all writers agree on.
  PutOctal(TarChecksum(header), {kTarChecksum.offset, kTarChecksum.size - 1}, header);
  header[kTarChecksum.offset + kTarChecksum.size - 1] = ' ';
}

absl::Status TarWriter::AddData(absl::string_view bytes, TwinSha256* content) {
  data_left_ -= static_cast<int64_t>(bytes.size());
  FARM_CHECK_GE(data_left_, 0);
  return Append(bytes, content);
}

absl::Status TarWriter::Finish() {
  FARM_CHECK_EQ(data_left_, 0);
  AppendZerosToBlock();
  buffer_.append(2 * kTarBlockBytes, '\0');
  return Flush();
}

absl::Status TarWriter::Append(absl::string_view bytes, TwinSha256* content) {
  while (!bytes.empty()) {
    const size_t count =
        std::min(bytes.size(), kBufferBytes - std::min(kBufferBytes, buffer_.size()));
    buffer_.append(bytes.data(), count);
    if (content != nullptr && hash_ != nullptr) {
      HashBuffered(count);
      TwinSha256::UpdateBoth(*hash_, *content, bytes.substr(0, count));
      hashed_ = buffer_.size();
    } else if (content != nullptr) {
      content->Update(bytes.substr(0, count));
    }
    bytes.remove_prefix(count);
    if (buffer_.size() < kBufferBytes) continue;
    RETURN_IF_ERROR(Flush());
  }
  return absl::OkStatus();
}

// What was flushed before was a multiple of the block size, as the buffer's is.
void TarWriter::AppendZerosToBlock() {
  buffer_.append((kTarBlockBytes - buffer_.size() % kTarBlockBytes) % kTarBlockBytes, '\0');
}

// All but the last `keep` bytes.
void TarWriter::HashBuffered(size_t keep) {
  if (hash_ == nullptr) return;
  const size_t end = buffer_.size() - keep;
  hash_->Update(absl::string_view(buffer_).substr(hashed_, end - hashed_));
  hashed_ = end;
}

absl::Status TarWriter::Flush() {
  if (static_cast<int64_t>(buffer_.size()) > bytes_left_) {
    return OverLimit();
  }
  bytes_left_ -= static_cast<int64_t>(buffer_.size());
  HashBuffered(0);
  RETURN_IF_ERROR(sink_.Write(buffer_));
  buffer_.clear();
  hashed_ = 0;
  return absl::OkStatus();
}

}  // namespace farm
