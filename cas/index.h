#ifndef FARM_CAS_INDEX_H_
#define FARM_CAS_INDEX_H_

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// The tables of the index, each an ordered map of byte strings. docs/formats/index.md says what
// keys and values they hold. Names on disk are those of TableName().
enum class IndexTable {
  kMeta,      // format version, coordinator incarnation
  kBlob,      // small blobs: "b", raw digest -> bytes; "u", raw digest -> size and last use
  kLayer,     // domain, diffID -> LayerRecord
  kAction,    // domain, StepKey -> ActionRecord
  kAdoption,  // domain, parent chainID, canonical digest -> StepResult
  kImage,     // domain, manifest digest -> ImageRecord
  kTag,       // domain, canonical reference -> TagRecord
  kDuration,  // domain, hash of a step's name -> ActionRecord of its last run, without a result
  kReapi,     // action results uploaded by REAPI clients
};
inline constexpr int kIndexTables = 9;

absl::string_view IndexTableName(IndexTable table);

// One atomic change: all of it becomes visible and durable, or nothing.
class IndexBatch {
 public:
  struct Expectation {
    IndexTable table;
    std::string key;
    std::optional<std::string> value;  // nullopt: no entry
  };
  struct Write {
    IndexTable table;
    std::string key;
    std::optional<std::string> value;  // nullopt: delete
  };

  // The batch is applied only if `key` now has `value` (nullopt: is absent).
  IndexBatch& Expect(IndexTable table, absl::string_view key, std::optional<std::string> value);
  IndexBatch& Put(IndexTable table, absl::string_view key, absl::string_view value);
  IndexBatch& Delete(IndexTable table, absl::string_view key);

  const std::vector<Expectation>& expectations() const { return expectations_; }
  const std::vector<Write>& writes() const { return writes_; }

 private:
  std::vector<Expectation> expectations_;
  std::vector<Write> writes_;
};

// Small records under ordered keys. Safe for concurrent calls.
class Index {
 public:
  enum class Durability {
    kOrdered,  // survives a process' death; after a power cut, a prefix of all batches survives
    kSynced,   // and this batch, with all before it, survives a power cut
  };

  virtual ~Index() = default;

  // NOT_FOUND if there is none; DATA_LOSS if the record is damaged on disk.
  virtual absl::StatusOr<std::string> Get(IndexTable table, absl::string_view key) = 0;

  //   ABORTED             an expectation did not hold; nothing was changed
  //   RESOURCE_EXHAUSTED  the disk is full
  virtual absl::Status Apply(const IndexBatch& batch, Durability durability) = 0;

  // Calls `visit` for each entry whose key begins with `prefix` and is >= `start`, in the order of
  // keys, until it returns false. Entries changed meanwhile may or may not be seen.
  virtual absl::Status Scan(
      IndexTable table, absl::string_view prefix, absl::string_view start,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) = 0;
};

// A key of parts, in which no part can be mistaken for another: each part is written with its
// length (2 bytes, big endian) before it. The first part of every key but kMeta's and kBlob's is
// the trust domain. Keys with equal first parts are neighbours, so IndexKey({domain}) is a prefix
// for scans. A part of 65,535 bytes or more, which only what comes from outside can have, stands in
// the key as its SHA-256: of such a part IndexKeyParts() gives the 32 bytes of that.
std::string IndexKey(std::initializer_list<absl::string_view> parts);
// The parts of such a key; DATA_LOSS if it is none.
absl::StatusOr<std::vector<std::string>> IndexKeyParts(absl::string_view key);

// For those who write an Index: the errors of its contract, in one wording.
absl::Status NoIndexEntry(IndexTable table);            // NOT_FOUND
absl::Status IndexExpectationFailed(IndexTable table);  // ABORTED

}  // namespace farm

#endif  // FARM_CAS_INDEX_H_
