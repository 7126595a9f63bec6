#include "cas/index.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"

namespace farm {
namespace {

// As a length: what follows is the SHA-256 of a part that is this long or longer.
constexpr size_t kHashed = 0xFFFF;
constexpr size_t kHashBytes = 32;

void AppendPart(size_t length, absl::string_view bytes, std::string& key) {
  key.push_back(static_cast<char>(length >> 8));
  key.push_back(static_cast<char>(length & 0xFF));
  key.append(bytes.data(), bytes.size());
}

}  // namespace

absl::string_view IndexTableName(IndexTable table) {
  switch (table) {
    case IndexTable::kMeta:
      return "meta";
    case IndexTable::kBlob:
      return "blob";
    case IndexTable::kLayer:
      return "layer";
    case IndexTable::kAction:
      return "action";
    case IndexTable::kAdoption:
      return "adoption";
    case IndexTable::kImage:
      return "image";
    case IndexTable::kTag:
      return "tag";
    case IndexTable::kDuration:
      return "duration";
    case IndexTable::kReapi:
      return "reapi";
  }
  FARM_CHECK(false) << "table " << static_cast<int>(table);
  return "";
}

IndexBatch& IndexBatch::Expect(IndexTable table, absl::string_view key,
                               std::optional<std::string> value) {
  expectations_.push_back({table, std::string(key), std::move(value)});
  return *this;
}

IndexBatch& IndexBatch::Put(IndexTable table, absl::string_view key, absl::string_view value) {
  writes_.push_back({table, std::string(key), std::string(value)});
  return *this;
}

IndexBatch& IndexBatch::Delete(IndexTable table, absl::string_view key) {
  writes_.push_back({table, std::string(key), std::nullopt});
  return *this;
}

std::string IndexKey(std::initializer_list<absl::string_view> parts) {
  size_t size = 0;
  for (const absl::string_view part : parts) size += 2 + std::min(part.size(), kHashed);
  std::string key;
  key.reserve(size);
  for (const absl::string_view part : parts) {
    if (part.size() < kHashed) {
      AppendPart(part.size(), part, key);
    } else {
      AppendPart(kHashed, DigestOf(part).raw(), key);
    }
  }
  return key;
}

absl::StatusOr<std::vector<std::string>> IndexKeyParts(absl::string_view key) {
  std::vector<std::string> parts;
  while (!key.empty()) {
    if (key.size() < 2) return absl::DataLossError("index key ends within a length");
    size_t size = static_cast<unsigned char>(key[0]) << 8 | static_cast<unsigned char>(key[1]);
    if (size == kHashed) size = kHashBytes;
    key.remove_prefix(2);
    if (size > key.size()) {
      return absl::DataLossError(absl::StrCat("index key has a part of ", size, " bytes, but only ",
                                              key.size(), " are left"));
    }
    parts.emplace_back(key.substr(0, size));
    key.remove_prefix(size);
  }
  return parts;
}

absl::Status NoIndexEntry(IndexTable table) {
  return absl::NotFoundError(absl::StrCat("no such entry in index table ", IndexTableName(table)));
}

absl::Status IndexExpectationFailed(IndexTable table) {
  return absl::AbortedError(
      absl::StrCat("an entry of index table ", IndexTableName(table), " is not what was expected"));
}

}  // namespace farm
