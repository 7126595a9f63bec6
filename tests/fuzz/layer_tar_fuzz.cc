// A tar, whose checksums are made right first: else no mutation of a header would be looked at.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "base/byte_stream.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "layer/tar_header.h"
#include "layer/tar_reader.h"
#include "layer/tar_writer.h"

namespace farm {
namespace {

constexpr TarLimits kLimits = {
    .bytes_max = 1 << 20, .entries_max = 1000, .extended_header_bytes_max = 1 << 16};

using Entries = std::vector<std::pair<TarEntry, std::string>>;

std::string WithChecksums(absl::string_view input) {
  std::string tar(input);
  for (size_t at = 0; at + kTarBlockBytes <= tar.size(); at += kTarBlockBytes) {
    char* header = tar.data() + at;
    if (!absl::StartsWith(header + kTarMagic.offset, "ustar")) continue;
    snprintf(header + kTarChecksum.offset, kTarChecksum.size, "%06o", TarChecksum(header));
  }
  return tar;
}

absl::StatusOr<Entries> ReadAll(const std::string& tar) {
  StringSource source(tar);
  TarReader reader(source, kLimits);
  Entries entries;
  TarEntry entry;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, reader.Next(&entry));
    if (!more) break;
    std::string data;
    while (true) {
      ASSIGN_OR_RETURN(const absl::string_view chunk, reader.NextData());
      if (chunk.empty()) break;
      data.append(chunk.data(), chunk.size());
    }
    FARM_CHECK_EQ(static_cast<int64_t>(data.size()), entry.size_bytes);
    entries.emplace_back(entry, std::move(data));
  }
  RETURN_IF_ERROR(reader.Drain());
  return entries;
}

std::string WriteAll(const Entries& entries) {
  StringSink sink;
  TarWriter writer(sink);
  for (const auto& [entry, data] : entries) {
    FARM_CHECK_OK(writer.AddEntry(entry));
    FARM_CHECK_OK(writer.AddData(data));
  }
  FARM_CHECK_OK(writer.Finish());
  return sink.Take();
}

void Test(absl::string_view input) {
  absl::StatusOr<Entries> entries = ReadAll(WithChecksums(input));
  if (!entries.ok()) return;
  // Written in canonical form it says the same, and writing it again changes nothing.
  const std::string canonical = WriteAll(*entries);
  absl::StatusOr<Entries> again = ReadAll(canonical);
  if (absl::IsResourceExhausted(again.status())) return;  // Headers of ours may be longer.
  FARM_CHECK_OK(again.status());
  FARM_CHECK_EQ(again->size(), entries->size());
  for (size_t i = 0; i < entries->size(); ++i) {
    FARM_CHECK((*again)[i].second == (*entries)[i].second) << i;
    FARM_CHECK((*again)[i].first.xattrs == (*entries)[i].first.xattrs) << i;
  }
  FARM_CHECK(WriteAll(*again) == canonical);
}

}  // namespace
}  // namespace farm

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farm::Test(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
