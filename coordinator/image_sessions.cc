#include "coordinator/image_sessions.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/time_proto.h"
#include "oci/reference.h"
#include "plan/config_changes.h"
#include "plan/step_key.h"

namespace farm {
namespace {

absl::StatusOr<v1::BuiltImage> StoreAndTag(FarmContext& farm, const std::string& domain,
                                           const std::string& manifest, const std::string& config,
                                           const std::string& repository,
                                           const std::vector<std::string>& repo_digests,
                                           const std::vector<std::string>& tags) {
  ASSIGN_OR_RETURN(const Digest digest,
                   farm.images.Put(domain, manifest, config, repository, repo_digests, tags));
  v1::BuiltImage built;
  *built.mutable_manifest() = DigestToProto(digest);
  *built.mutable_config() = DigestToProto(DigestOf(config));
  for (const std::string& tag : tags) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag));
    built.add_tags(reference.WithDefaultTag().familiar());
  }
  return built;
}

}  // namespace

void ImportSession::Start() {
  if (!request_.tag().empty()) {
    const absl::StatusOr<Reference> tag = Reference::Parse(request_.tag());
    if (!tag.ok()) return Fail(tag.status());
  }
  v1::StepSpec spec;
  *spec.mutable_identity()->mutable_platform() = farm_.platform;
  v1::UnpackOperation& unpack = *spec.mutable_identity()->mutable_unpack();
  *unpack.mutable_blob()->mutable_digest() = request_.blob();
  // Whatever compression it has is found by its first bytes.
  unpack.mutable_blob()->set_media_type(kOciLayerType);
  spec.mutable_execution()->set_name("import");
  StepKey key = ComputeStepKey(spec.identity(), Digest());
  StepRun run;
  run.step = AddStep("import the root file system");
  run.request = {.domain = domain(), .build = id(), .key = key.digest, .spec = std::move(spec)};
  for (v1::KeyPart& part : key.parts) *run.request.record.add_parts() = std::move(part);
  RunStep(std::move(run), [this](absl::StatusOr<StepDone> done) {
    if (!done.ok()) return Fail(done.status());
    WhenPublished([this, result = done->result] { Store(result); });
  });
}

void ImportSession::Store(const v1::StepResult& result) {
  Blocking(
      [&farm = farm_, request = request_, domain = domain(),
       result]() -> absl::StatusOr<v1::BuiltImage> {
        const v1::Platform platform = request.has_platform() ? request.platform() : farm.platform;
        ASSIGN_OR_RETURN(const Digest diff_id, DigestFromProto(result.layer().diff_id()));
        ASSIGN_OR_RETURN(const Digest form, DigestFromProto(result.layer().form().digest()));
        ImageConfig config;
        ASSIGN_OR_RETURN(
            config.config,
            ApplyConfigChanges({request.changes().begin(), request.changes().end()}, platform));
        config.created = farm.clock.Now();
        config.platform = {.os = platform.os(),
                           .architecture = platform.architecture(),
                           .variant = platform.variant()};
        config.diff_ids = {diff_id.oci()};
        config.history = {
            {.created = config.created,
             .comment = request.message().empty() ? "Imported from -" : request.message()}};
        const std::string config_bytes = SerializeImageConfig(config);
        const Image image{
            .config_bytes = config_bytes,
            .blobs = {{.media_type = result.layer().form().media_type(), .digest = form}}};
        return StoreAndTag(farm, domain, SerializeManifest(ManifestFor(image)), config_bytes, "",
                           {},
                           request.tag().empty() ? std::vector<std::string>()
                                                 : std::vector<std::string>{request.tag()});
      },
      [this](absl::StatusOr<v1::BuiltImage> built) {
        if (!built.ok()) return Fail(built.status());
        Succeed(*std::move(built));
      });
}

void ImportSession::AddLiveBlobs(LiveBlobs& live) const {
  Session::AddLiveBlobs(live);
  if (!open()) return;
  if (absl::StatusOr<Digest> blob = DigestFromProto(request_.blob()); blob.ok()) {
    live.blobs.push_back(*blob);
  }
}

void LoadSession::Start() {
  struct Parsed {
    std::vector<FoundLayer> layers;
    Manifest manifest;
  };
  Blocking(
      [&farm = farm_, request = request_, domain = domain()]() -> absl::StatusOr<Parsed> {
        Parsed parsed;
        ASSIGN_OR_RETURN(parsed.manifest, ParseManifest(request.manifest_json()));
        ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(request.config_json()));
        if (parsed.manifest.config.digest != DigestOf(request.config_json())) {
          return absl::InvalidArgumentError("the manifest names another config");
        }
        ASSIGN_OR_RETURN(parsed.layers,
                         FindLayers(farm, domain, config.diff_ids, parsed.manifest.layers, ""));
        return parsed;
      },
      [this](absl::StatusOr<Parsed> parsed) {
        if (!parsed.ok()) return Fail(parsed.status());
        std::vector<int> layers;
        for (FoundLayer& found : parsed->layers) layers.push_back(AddLayer(std::move(found)));
        NeedLayers(layers, [this](absl::Status status) {
          if (!status.ok()) return Fail(status);
          WhenPublished([this] {
            Blocking(
                [&farm = farm_, request = request_, domain = domain()] {
                  return StoreAndTag(farm, domain, request.manifest_json(), request.config_json(),
                                     "", {}, {request.tags().begin(), request.tags().end()});
                },
                [this](absl::StatusOr<v1::BuiltImage> built) {
                  if (!built.ok()) return Fail(built.status());
                  Succeed(*std::move(built));
                });
          });
        });
      });
}

void LoadSession::AddLiveBlobs(LiveBlobs& live) const {
  Session::AddLiveBlobs(live);
  if (!open()) return;
  if (const auto manifest = ParseManifest(request_.manifest_json()); manifest.ok()) {
    for (const Descriptor& blob : manifest->layers) live.blobs.push_back(blob.digest);
  }
}

void PullSession::Start() {
  BlockingOn(
      farm_.slow_pool,
      [&farm = farm_, request = request_, domain = domain(), cancel = cancel_,
       auth = AuthOf(options_.credentials), lookup = PoolSteps(*this)] {
        lookup.Begin(absl::StrCat("[internal] load metadata for ", request.name()));
        absl::StatusOr<ResolvedBase> base = ResolveBase(
            farm, domain, request.name(),
            request.has_platform() ? request.platform() : farm.platform, /*pull=*/true,
            {.auth = &auth, .cancel = cancel.get(), .remark = [&lookup](const std::string& remark) {
               lookup.Remark(remark);
             }});
        lookup.End(base.status());
        return base;
      },
      [this](absl::StatusOr<ResolvedBase> base) {
        if (!base.ok()) return Fail(base.status());
        OnResolved(*std::move(base));
      });
}

void PullSession::OnResolved(ResolvedBase base) {
  std::vector<int> layers;
  for (const FoundLayer& found : base.layers) layers.push_back(AddLayer(found));
  NeedLayers(layers, [this, base = std::move(base)](absl::Status status) {
    if (!status.ok()) return Fail(status);
    WhenPublished([this, base] {
      Blocking(
          [&farm = farm_, domain = domain(), name = request_.name(),
           base]() -> absl::StatusOr<v1::BuiltImage> {
            ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(name));
            ASSIGN_OR_RETURN(const Reference pinned, Reference::Parse(base.image.reference));
            std::vector<std::string> tags;
            if (reference.digest().empty()) tags.push_back(reference.WithDefaultTag().canonical());
            return StoreAndTag(farm, domain, base.manifest_bytes, base.config_bytes,
                               base.repository,
                               {absl::StrCat(reference.RepositoryOnly().canonical(), "@",
                                             pinned.digest().empty() ? base.image.manifest.oci()
                                                                     : pinned.digest())},
                               tags);
          },
          [this](absl::StatusOr<v1::BuiltImage> built) {
            if (!built.ok()) return Fail(built.status());
            Succeed(*std::move(built));
          });
    });
  });
}

void StoredImageSession::Start() {
  Blocking(
      [&farm = farm_, domain = domain(), name = name_]() -> absl::StatusOr<Found> {
        Found found;
        ASSIGN_OR_RETURN(found.stored, farm.images.Find(domain, name));
        ASSIGN_OR_RETURN(found.layers, FindLayers(farm, domain, found.stored.config.diff_ids,
                                                  found.stored.manifest.layers,
                                                  found.stored.record.repository()));
        return found;
      },
      [this](absl::StatusOr<Found> found) {
        if (!found.ok()) return Fail(found.status());
        OnFound(*std::move(found));
      });
}

void StoredImageSession::OnFound(Found found) {
  Image image{.config_bytes = found.stored.config_bytes,
              .layers = {},
              .blobs = found.stored.manifest.layers};
  for (FoundLayer& layer : found.layers) image.layers.push_back(AddLayer(std::move(layer)));
  if (!push_) {
    return PrepareForms(image, compression_, [this](absl::StatusOr<Image> ready) {
      if (!ready.ok()) return Fail(ready.status());
      Blocking(
          [&farm = farm_, image = *ready]() -> absl::StatusOr<v1::BuiltImage> {
            v1::BuiltImage built;
            ASSIGN_OR_RETURN(const Digest manifest,
                             PutBytes(farm.blobs, SerializeManifest(ManifestFor(image))));
            *built.mutable_manifest() = DigestToProto(manifest);
            *built.mutable_config() = DigestToProto(DigestOf(image.config_bytes));
            return built;
          },
          [this](absl::StatusOr<v1::BuiltImage> built) {
            if (!built.ok()) return Fail(built.status());
            Succeed(*std::move(built));
          });
    });
  }
  const std::string manifest = found.stored.manifest_bytes;
  Push(image, {name_}, compression_, [this, manifest](std::vector<v1::PushedImage> pushed) {
    // The image is known by the digest it has there from now on.
    Blocking(
        [&farm = farm_, domain = domain(), manifest, pushed]() -> absl::StatusOr<v1::BuiltImage> {
          v1::BuiltImage built;
          std::vector<std::string> repo_digests;
          for (const v1::PushedImage& one : pushed) {
            ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(one.name()));
            repo_digests.push_back(absl::StrCat(reference.RepositoryOnly().canonical(),
                                                "@sha256:", one.manifest().hash()));
            *built.add_pushed() = one;
          }
          ASSIGN_OR_RETURN(const Manifest parsed, ParseManifest(manifest));
          ASSIGN_OR_RETURN(const std::string config,
                           GetBytes(farm.blobs, parsed.config.digest, kImageConfigBytesMax));
          ASSIGN_OR_RETURN(const Digest digest,
                           farm.images.Put(domain, manifest, config, "", repo_digests, {}));
          *built.mutable_manifest() = DigestToProto(digest);
          *built.mutable_config() = DigestToProto(parsed.config.digest);
          return built;
        },
        [this](absl::StatusOr<v1::BuiltImage> built) {
          if (!built.ok()) return Fail(built.status());
          Succeed(*std::move(built));
        });
  });
}

}  // namespace farm
