#ifndef FARM_COORDINATOR_IMAGE_STORE_H_
#define FARM_COORDINATOR_IMAGE_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/digest.h"
#include "cas/blob_store.h"
#include "cas/index.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "proto/farm/v1/image.pb.h"
#include "proto/farm/v1/record.pb.h"

namespace farm {

// The images of each trust domain and their names. An image is its manifest in the CAS; a tag is a
// name for one. Calls block on the disk. Safe for concurrent calls.
class ImageStore {
 public:
  ImageStore(BlobStore& blobs, Index& index, Clock& clock)
      : blobs_(blobs), index_(index), clock_(clock) {}

  // A stored image with its documents.
  struct Stored {
    v1::ImageRecord record;
    Digest manifest_digest;
    std::string manifest_bytes;
    Manifest manifest;
    std::string config_bytes;
    ImageConfig config;
  };

  // Stores manifest and config as blobs, durably, and the image's record. A record that is there
  // keeps its time and gains the repository digests. `repository` is where the layers' blobs can be
  // had from ("docker.io/library/alpine"), "" if only from the CAS. `tags`, as docker reads them,
  // are given to it in the same moment, each taken from whatever had it.
  //   INVALID_ARGUMENT  a tag is no reference, or one with a digest
  absl::StatusOr<Digest> Put(absl::string_view domain, absl::string_view manifest_bytes,
                             absl::string_view config_bytes, absl::string_view repository,
                             const std::vector<std::string>& repo_digests,
                             const std::vector<std::string>& tags);

  // Names an image that is stored. NOT_FOUND if it was removed; INVALID_ARGUMENT as above.
  absl::Status Tag(absl::string_view domain, absl::string_view name, const Digest& manifest);

  // The image that `name` stands for: a tag, a repository digest, an id or a prefix of one.
  // NOT_FOUND "no such image: x" with a suggestion; INVALID_ARGUMENT if a prefix fits several.
  absl::StatusOr<Stored> Find(absl::string_view domain, absl::string_view name);
  // Only by reference, as FROM looks it up: never an id.
  absl::StatusOr<Stored> FindByReference(absl::string_view domain, absl::string_view name);

  // The name of an image of the domain, as docker shows it, that `wanted` is a slip of the pen for.
  // "" if there is none; never `wanted` itself.
  absl::StatusOr<std::string> NearName(absl::string_view domain, const Reference& wanted);

  // All images, newest first. Of one repository if `repository` is not empty.
  absl::StatusOr<std::vector<v1::Image>> List(absl::string_view domain,
                                              absl::string_view repository);
  // With config, manifest and layer sizes, and the names of all of its forms.
  absl::StatusOr<v1::Image> Inspect(absl::string_view domain, absl::string_view name);

  // As docker rmi: a tag is taken away; an id takes all of the image's tags, in each of its forms,
  // "repository@digest" those in that repository, and itself (FAILED_PRECONDITION if there are
  // several and not `force`). An image without a name is forgotten; the collector takes its blobs.
  absl::StatusOr<v1::RemoveImageResponse> Remove(absl::string_view domain,
                                                 const std::vector<std::string>& names, bool force);

  // Forgets the images that have no tag and were stored at `stored_max` or before, as docker image
  // prune does; one that gets a tag meanwhile stays. Their ids ("sha256:…").
  absl::StatusOr<std::vector<std::string>> RemoveUntagged(absl::string_view domain,
                                                          absl::Time stored_max);

  // All blobs that images of all domains name: manifests, configs, layers' tables and forms.
  absl::StatusOr<std::vector<Digest>> LiveBlobs();

 private:
  struct Tagged {
    std::string reference;  // canonical
    Digest manifest;
    std::string record;  // as it is in the index
  };

  // One of an image's manifests. Those of one config are one image to people, which has that id:
  // its layers in several forms.
  struct Form {
    Digest manifest;
    std::string key;                    // of its record
    std::optional<std::string> before;  // the record, as it is in the index
    v1::ImageRecord record;
    bool is_meant = false;   // by what is to be removed
    bool is_tagged = false;  // by a tag that stays
  };

  absl::StatusOr<std::vector<Tagged>> Tags(absl::string_view domain);
  absl::StatusOr<std::vector<v1::ImageRecord>> Records(absl::string_view domain);
  absl::StatusOr<Stored> Load(absl::string_view domain, const Digest& manifest);
  absl::StatusOr<Digest> Resolve(absl::string_view domain, absl::string_view name, bool by_id,
                                 bool* was_id);
  // All forms of the image that has `manifest`, which comes first.
  absl::StatusOr<std::vector<Form>> FormsOf(absl::string_view domain, const Digest& manifest);
  static absl::Status AddNames(const v1::ImageRecord& record, const Digest& manifest,
                               const std::vector<Tagged>& tags, v1::Image& image);
  absl::StatusOr<v1::Image> Describe(absl::string_view domain, const Stored& stored,
                                     const std::vector<Tagged>& tags);
  // Adds to `batch` what gives the image these names (canonical) that it has not. False: nothing.
  absl::StatusOr<bool> AddTags(absl::string_view domain, const std::vector<std::string>& references,
                               const Digest& manifest, IndexBatch& batch);
  // ABORTED if something came between: try again.
  absl::StatusOr<v1::RemoveImageResponse> TryRemove(absl::string_view domain,
                                                    const std::string& name, bool force);
  // Adds to `batch` what becomes of the records once the tags are gone. `by_digest`: the name to
  // remove is a repository digest, and is not in its form's record any more.
  static void ForgetNameless(bool by_digest, std::vector<Form>& forms, IndexBatch& batch,
                             v1::RemoveImageResponse& response);
  // False if the image has a tag, or is gone. ABORTED as above.
  absl::StatusOr<bool> TryRemoveUntagged(absl::string_view domain, const Digest& manifest);

  BlobStore& blobs_;
  Index& index_;
  Clock& clock_;
};

}  // namespace farm

#endif  // FARM_COORDINATOR_IMAGE_STORE_H_
