#ifndef FARM_COORDINATOR_PUBLISHER_H_
#define FARM_COORDINATOR_PUBLISHER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/digest.h"
#include "cas/action_cache.h"
#include "cas/blob_store.h"
#include "cas/index.h"
#include "proto/farm/v1/record.pb.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Writes what steps gave into the index: action entries, layer records and adoptions. Its calls
// block on the disk. Safe for concurrent calls.
class Publisher {
 public:
  Publisher(BlobStore& blobs, Index& index, ActionCache& actions)
      : blobs_(blobs), index_(index), actions_(actions) {}

  // The result that was given before for an equal layer on the same root, if its blobs are there.
  // NOT_FOUND if there is none.
  absl::StatusOr<v1::StepResult> FindEqualLayer(absl::string_view domain,
                                                const Digest& parent_chain_id,
                                                const Digest& canonical);

  struct Entry {
    std::string domain;
    Digest key;
    v1::ActionRecord record;
    std::optional<Digest> parent_chain_id;  // set: remember the layer for adoption
    std::vector<std::string> aliases;       // under which FindLastRun() finds the key's parts
  };
  // Makes the blobs of `entry` durable, then writes its records in one batch. Blob before index:
  // after a power cut an orphan blob is collected later, but a record without its blob would be
  // served as a hit.
  absl::Status Publish(const Entry& entry);

  // What the farm knows of a layer. NOT_FOUND.
  absl::StatusOr<v1::LayerRecord> FindLayer(absl::string_view domain, const Digest& diff_id);
  // Adds forms to the record of a layer, or makes one.
  absl::Status AddLayer(absl::string_view domain, const v1::LayerRecord& layer);

  // Remembers under `entry.aliases` that the command of `entry.record` failed. Nothing else of
  // `entry` is read: a failure is no result to be found.
  absl::Status PublishFailure(const Entry& entry);

  // The step that ran last under `alias`, for --explain. Of its result there is only the exit code,
  // if that is not 0. NOT_FOUND.
  absl::StatusOr<v1::ActionRecord> FindLastRun(absl::string_view domain, absl::string_view alias);

 private:
  BlobStore& blobs_;
  Index& index_;
  ActionCache& actions_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_PUBLISHER_H_
