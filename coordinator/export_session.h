#ifndef FARM_COORDINATOR_EXPORT_SESSION_H_
#define FARM_COORDINATOR_EXPORT_SESSION_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/session.h"
#include "oci/image_config.h"
#include "oci/manifest.h"

namespace farm {

// A session that hands an image to others: layers in the forms they want, pushed to registries, or
// flattened. Layer bytes are moved by steps on workers; here are only documents.
class ExportSession : public Session {
 public:
  using Session::Session;

 protected:
  // An image of the session: its config, and its layers (indexes of Session's) with the blobs that
  // its manifest names, base first.
  struct Image {
    std::string config_bytes;
    std::vector<int> layers;
    std::vector<Descriptor> blobs;
  };

  // A layer that a step has made, as one of the session's.
  static FoundLayer MadeLayer(const v1::StepResult& result);

  // Replaces the layers of `image` from index `kept` on by ones in which no file has a time later
  // than `latest`. `then` gets the image with their blobs and diffIDs, all durable; an error ends
  // the session.
  void RewriteTimes(Image image, size_t kept, absl::Time latest,
                    std::function<void(const Image& rewritten)> then);

  // Manifest for `image`: `blobs` and the config.
  static Manifest ManifestFor(const Image& image);

  // Brings all layers into the CAS in form `compression` ("gzip", "zstd", "uncompressed"; "": as
  // they are), compressing what is not. `then` gets the image with those blobs.
  void PrepareForms(Image image, const std::string& compression,
                    std::function<void(absl::StatusOr<Image>)> then);
  // Pushes to the registries of `names`; ends the session on an error.
  void Push(const Image& image, const std::vector<std::string>& names,
            const std::string& compression, std::function<void(std::vector<v1::PushedImage>)> then);
  // Does `exports` one after another, as asked for, and adds to `built` what they gave; pushes that
  // name nothing go to `tags`. Ends the session on an error.
  void Export(const Image& image, std::vector<v1::Export> exports, std::vector<std::string> tags,
              v1::BuiltImage built, std::function<void(v1::BuiltImage)> then);
  // One tar of the merged root, as a blob of the CAS.
  void Flatten(const Image& image, std::function<void(v1::Digest)> then);

 private:
  struct ExportChain;
  void ExportNext(const std::shared_ptr<ExportChain>& chain);
  // The manifest alone, as a blob: no tag is moved to it.
  void StoreManifest(const Image& image, std::function<void(v1::Digest)> then);
  void Compress(int layer, const std::string& compression_id,
                std::function<void(absl::StatusOr<Descriptor>)> then);
  void PushTo(const std::string& name, const Image& image,
              std::function<void(v1::PushedImage)> then);
  void PushLayers(const std::string& repository, const Image& image,
                  std::function<void(absl::Status)> then);
};

}  // namespace farm

#endif  // FARM_COORDINATOR_EXPORT_SESSION_H_
