#include "coordinator/export_session.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "coordinator/base_resolver.h"
#include "layer/compression.h"
#include "oci/reference.h"
#include "plan/step_key.h"

namespace farm {
namespace {

// Calls `then` once `count` calls of Done() said OK, or one said an error.
class Gather {
 public:
  Gather(int count, std::function<void(absl::Status)> then) : left_(count), then_(std::move(then)) {
    if (left_ == 0) then_(absl::OkStatus());
  }
  void Done(const absl::Status& status) {
    if (left_ <= 0) return;
    left_ = status.ok() ? left_ - 1 : 0;
    if (left_ == 0) then_(status);
  }

 private:
  int left_;
  std::function<void(absl::Status)> then_;
};

absl::StatusOr<Descriptor> FromProto(const v1::Descriptor& proto) {
  Descriptor descriptor{.media_type = proto.media_type()};
  ASSIGN_OR_RETURN(descriptor.digest, DigestFromProto(proto.digest()));
  return descriptor;
}

v1::Descriptor ToProto(const Descriptor& descriptor) {
  v1::Descriptor proto;
  proto.set_media_type(descriptor.media_type);
  *proto.mutable_digest() = DigestToProto(descriptor.digest);
  return proto;
}

absl::StatusOr<std::optional<LayerCompression>> WantedForm(const std::string& compression) {
  if (compression.empty()) return std::nullopt;
  if (compression == "gzip") return LayerCompression::kGzip;
  if (compression == "zstd") return LayerCompression::kZstd;
  if (compression == "uncompressed") return LayerCompression::kNone;
  return absl::InvalidArgumentError(absl::StrCat("unknown compression \"", compression,
                                                 "\", expected gzip, zstd or uncompressed"));
}

// The form of a layer that is in the CAS and fits best; nullopt: it must be compressed first.
absl::StatusOr<std::optional<Descriptor>> PickForm(const v1::LayerRef& ref, const Descriptor& named,
                                                   std::optional<LayerCompression> wanted) {
  std::optional<Descriptor> any;
  for (const v1::Descriptor& proto : ref.forms()) {
    ASSIGN_OR_RETURN(Descriptor form, FromProto(proto));
    const absl::StatusOr<LayerCompression> compression = LayerCompressionOf(form.media_type);
    if (!compression.ok()) continue;
    if (form.digest == named.digest && (!wanted.has_value() || *compression == *wanted)) {
      return named;
    }
    if (!wanted.has_value() || *compression == *wanted) any = std::move(form);
  }
  if (any.has_value()) return any;
  // Nobody needs a tar in plain: who reads an archive reads a compressed one as well.
  if (wanted == LayerCompression::kNone && ref.forms_size() > 0) return FromProto(ref.forms(0));
  return std::nullopt;
}

}  // namespace

Manifest ExportSession::ManifestFor(const Image& image) {
  Manifest manifest;
  manifest.config = {.media_type = kOciConfigType, .digest = DigestOf(image.config_bytes)};
  for (const Descriptor& blob : image.blobs) {
    const absl::StatusOr<LayerCompression> compression = LayerCompressionOf(blob.media_type);
    manifest.layers.push_back(
        {.media_type = compression.ok() ? std::string(OciLayerType(*compression)) : blob.media_type,
         .digest = blob.digest});
  }
  return manifest;
}

struct ExportSession::ExportChain {
  const Image image;
  const std::vector<v1::Export> exports;
  const std::vector<std::string> tags;
  v1::BuiltImage built;
  const std::function<void(v1::BuiltImage)> then;
  size_t next = 0;
};

void ExportSession::Export(const Image& image, std::vector<v1::Export> exports,
                           std::vector<std::string> tags, v1::BuiltImage built,
                           std::function<void(v1::BuiltImage)> then) {
  for (size_t i = 0; i < exports.size(); ++i) built.add_export_manifests();
  ExportNext(std::make_shared<ExportChain>(ExportChain{.image = image,
                                                       .exports = std::move(exports),
                                                       .tags = std::move(tags),
                                                       .built = std::move(built),
                                                       .then = std::move(then)}));
}

void ExportSession::ExportNext(const std::shared_ptr<ExportChain>& chain) {
  if (!open()) return;
  if (chain->next == chain->exports.size()) return chain->then(std::move(chain->built));
  const auto index = static_cast<int>(chain->next);
  const v1::Export& wanted = chain->exports[chain->next++];
  switch (wanted.kind()) {
    case v1::Export::KIND_PUSH: {
      std::vector<std::string> names(wanted.names().begin(), wanted.names().end());
      if (names.empty()) names = chain->tags;
      if (names.empty()) {
        return Fail(absl::InvalidArgumentError("nothing says where to push to: give a tag"));
      }
      return Push(chain->image, names, wanted.compression(),
                  [this, chain](std::vector<v1::PushedImage> pushed) {
                    for (v1::PushedImage& one : pushed) {
                      *chain->built.add_pushed() = std::move(one);
                    }
                    ExportNext(chain);
                  });
    }
    case v1::Export::KIND_FLATTEN:
      return Flatten(chain->image, [this, chain](v1::Digest tar) {
        *chain->built.mutable_flattened() = std::move(tar);
        ExportNext(chain);
      });
    case v1::Export::KIND_LAYERS:
      return PrepareForms(chain->image, wanted.compression(),
                          [this, chain, index](absl::StatusOr<Image> ready) {
                            if (!ready.ok()) return Fail(ready.status());
                            StoreManifest(*ready, [this, chain, index](v1::Digest manifest) {
                              *chain->built.mutable_export_manifests(index) = manifest;
                              *chain->built.mutable_manifest() = std::move(manifest);
                              ExportNext(chain);
                            });
                          });
    default:
      return ExportNext(chain);
  }
}

void ExportSession::StoreManifest(const Image& image, std::function<void(v1::Digest)> then) {
  Blocking([&farm = farm_,
            bytes = SerializeManifest(ManifestFor(image))] { return PutBytes(farm.blobs, bytes); },
           [this, then = std::move(then)](absl::StatusOr<Digest> manifest) {
             if (!manifest.ok()) return Fail(manifest.status());
             then(DigestToProto(*manifest));
           });
}

void ExportSession::PrepareForms(Image image, const std::string& compression,
                                 std::function<void(absl::StatusOr<Image>)> then) {
  const absl::StatusOr<std::optional<LayerCompression>> wanted = WantedForm(compression);
  if (!wanted.ok()) return then(wanted.status());
  const std::vector<int> needed = image.layers;
  NeedLayers(needed, [this, image = std::move(image), wanted = *wanted,
                      then = std::move(then)](absl::Status status) mutable {
    if (!status.ok()) return then(status);
    auto shared = std::make_shared<Image>(std::move(image));
    auto gather = std::make_shared<Gather>(static_cast<int>(shared->layers.size()),
                                           [shared, then](absl::Status done) {
                                             if (!done.ok()) return then(done);
                                             then(*shared);
                                           });
    for (size_t i = 0; i < shared->layers.size(); ++i) {
      const int index = shared->layers[i];
      absl::StatusOr<std::optional<Descriptor>> form =
          PickForm(layer(index).ref, shared->blobs[i], wanted);
      if (!form.ok()) return gather->Done(form.status());
      if (form->has_value()) {
        shared->blobs[i] = **form;
        gather->Done(absl::OkStatus());
        continue;
      }
      const std::string id = DefaultCompressionId(
          *wanted == LayerCompression::kZstd ? Compression::kZstd : Compression::kGzip);
      Compress(index, id, [shared, gather, i](absl::StatusOr<Descriptor> blob) {
        if (blob.ok()) shared->blobs[i] = *blob;
        gather->Done(blob.status());
      });
    }
  });
}

ExportSession::FoundLayer ExportSession::MadeLayer(const v1::StepResult& result) {
  FoundLayer made;
  *made.ref.mutable_diff_id() = result.layer().diff_id();
  *made.ref.mutable_table() = result.layer().table();
  *made.ref.add_forms() = result.layer().form();
  made.here = true;
  // The result was checked when it came, or when it was found: see CheckResult().
  made.blob = {.media_type = result.layer().form().media_type(),
               .digest = *DigestFromProto(result.layer().form().digest())};
  return made;
}

void ExportSession::RewriteTimes(Image image, size_t kept, absl::Time latest,
                                 std::function<void(const Image& rewritten)> then) {
  auto shared = std::make_shared<Image>(std::move(image));
  auto gather = std::make_shared<Gather>(
      static_cast<int>(shared->layers.size() - kept), [this, shared, then](absl::Status status) {
        if (!status.ok()) return Fail(status);
        absl::StatusOr<ImageConfig> config = ParseImageConfig(shared->config_bytes);
        if (!config.ok()) return Fail(config.status());
        config->diff_ids.clear();
        for (int index : shared->layers) {
          config->diff_ids.push_back(absl::StrCat("sha256:", layer(index).ref.diff_id().hash()));
        }
        shared->config_bytes = SerializeImageConfig(*config);
        // A name is given only to what survives a power cut.
        WhenPublished([shared, then] { then(*shared); });
      });
  for (size_t i = kept; i < shared->layers.size(); ++i) {
    const v1::LayerRef& ref = layer(shared->layers[i]).ref;
    v1::StepSpec spec;
    *spec.mutable_identity()->mutable_platform() = farm_.platform;
    v1::RewriteTimesOperation& rewrite = *spec.mutable_identity()->mutable_rewrite_times();
    rewrite.set_diff_id(absl::StrCat("sha256:", ref.diff_id().hash()));
    rewrite.set_latest(absl::ToUnixSeconds(latest));
    *spec.mutable_inputs()->add_root() = ref;
    spec.mutable_execution()->set_name("rewrite timestamps");
    const Digest key = ComputeStepKey(spec.identity(), Digest()).digest;
    StepRun run;
    run.step = AddStep(
        absl::StrCat("[export] rewrite timestamps of layer ", ref.diff_id().hash().substr(0, 12)));
    run.request = {.domain = domain(), .build = id(), .key = key, .spec = std::move(spec)};
    RunStep(std::move(run), [this, shared, gather, i](absl::StatusOr<StepDone> done) {
      if (done.ok()) {
        const int index = AddLayer(MadeLayer(done->result));
        shared->layers[i] = index;
        shared->blobs[i] = *layer(index).blob;
      }
      gather->Done(done.status());
    });
  }
}

void ExportSession::Compress(int index, const std::string& compression_id,
                             std::function<void(absl::StatusOr<Descriptor>)> then) {
  v1::StepSpec spec;
  *spec.mutable_identity()->mutable_platform() = farm_.platform;
  v1::CompressOperation& compress = *spec.mutable_identity()->mutable_compress();
  compress.set_diff_id(absl::StrCat("sha256:", layer(index).ref.diff_id().hash()));
  compress.set_compression(compression_id);
  *spec.mutable_inputs()->add_root() = layer(index).ref;
  spec.mutable_execution()->set_name("compress layer");
  const StepKey key = ComputeStepKey(spec.identity(), Digest());
  StepRun run;
  run.step = AddStep(
      absl::StrCat("[export] compress layer ", layer(index).ref.diff_id().hash().substr(0, 12)));
  run.request = {.domain = domain(), .build = id(), .key = key.digest, .spec = std::move(spec)};
  RunStep(std::move(run), [this, index, then](absl::StatusOr<StepDone> done) {
    if (!done.ok()) return then(done.status());
    absl::StatusOr<Descriptor> blob = FromProto(done->result.blob());
    if (!blob.ok()) return then(blob.status());
    v1::LayerRecord record;
    *record.mutable_diff_id() = layer(index).ref.diff_id();
    *record.add_forms() = done->result.blob();
    *layer(index).ref.add_forms() = done->result.blob();
    Blocking([&farm = farm_, domain = domain(),
              record] { return farm.publisher.AddLayer(domain, record); },
             [then, blob = *blob](absl::Status status) {
               if (!status.ok()) return then(status);
               then(blob);
             });
  });
}

void ExportSession::Push(const Image& image, const std::vector<std::string>& names,
                         const std::string& compression,
                         std::function<void(std::vector<v1::PushedImage>)> then) {
  PrepareForms(image, compression.empty() ? "gzip" : compression,
               [this, names, then = std::move(then)](absl::StatusOr<Image> ready) {
                 if (!ready.ok()) return Fail(ready.status());
                 auto pushed = std::make_shared<std::vector<v1::PushedImage>>();
                 auto gather =
                     std::make_shared<Gather>(static_cast<int>(names.size()),
                                              [pushed, then](absl::Status) { then(*pushed); });
                 for (const std::string& name : names) {
                   PushTo(name, *ready, [pushed, gather](v1::PushedImage done) {
                     pushed->push_back(std::move(done));
                     gather->Done(absl::OkStatus());
                   });
                 }
               });
}

void ExportSession::PushTo(const std::string& name, const Image& image,
                           std::function<void(v1::PushedImage)> then) {
  const absl::StatusOr<Reference> parsed = Reference::Parse(name);
  if (!parsed.ok()) return Fail(Annotate(parsed.status(), name));
  const Reference reference = parsed->WithDefaultTag();
  PushLayers(
      reference.repository(), image, [this, name, reference, image, then](absl::Status status) {
        if (!status.ok())
          return Fail(Annotate(status, absl::StrCat("pushing ", reference.familiar())));
        const int step = AddStep(absl::StrCat("[export] push manifest of ", reference.familiar()));
        ReportStarted(step, "", "running");
        const Manifest manifest = ManifestFor(image);
        const std::string bytes = SerializeManifest(manifest);
        BlockingOn(
            farm_.slow_pool,
            [&farm = farm_, reference, manifest, bytes, config = image.config_bytes,
             auth = AuthOf(options_.credentials), cancel = cancel_,
             remark = RemarksTo(step)]() -> absl::StatusOr<Digest> {
              const RegistryCall call{.auth = &auth, .cancel = cancel.get(), .remark = remark};
              const BlobOpener open =
                  [&config](const Descriptor&,
                            int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
                return std::make_unique<StringSource>(
                    absl::string_view(config).substr(static_cast<size_t>(offset)));
              };
              RETURN_IF_ERROR(farm.registry.PushBlob(reference, manifest.config, open, call));
              return farm.registry.PushManifest(reference, manifest.media_type, bytes, call);
            },
            [this, step, reference, name, bytes, then](absl::StatusOr<Digest> digest) {
              if (!digest.ok()) {
                ReportFinished(step, v1::StepFinished::OUTCOME_FAILED, digest.status());
                return Fail(
                    Annotate(digest.status(), absl::StrCat("pushing ", reference.familiar())),
                    step);
              }
              ReportFinished(step, v1::StepFinished::OUTCOME_RAN);
              v1::PushedImage pushed;
              pushed.set_name(reference.familiar());
              *pushed.mutable_manifest() = DigestToProto(DigestOf(bytes));
              then(std::move(pushed));
            });
      });
}

void ExportSession::PushLayers(const std::string& repository, const Image& image,
                               std::function<void(absl::Status)> then) {
  std::map<Digest, int> blobs;  // Each once, and a layer that has it.
  for (size_t i = 0; i < image.blobs.size(); ++i) {
    blobs.emplace(image.blobs[i].digest, static_cast<int>(i));
  }
  auto gather = std::make_shared<Gather>(static_cast<int>(blobs.size()), std::move(then));
  for (const auto& [digest, i] : blobs) {
    v1::StepSpec spec;
    *spec.mutable_identity()->mutable_platform() = farm_.platform;
    v1::PushOperation& push = *spec.mutable_identity()->mutable_push();
    *push.mutable_blob() = ToProto(image.blobs[static_cast<size_t>(i)]);
    push.set_repository(repository);
    const Layer& source = layer(image.layers[static_cast<size_t>(i)]);
    if (source.source.has_value()) push.set_mount_from(source.source->repository());
    spec.mutable_execution()->set_name("push layer");
    StepRun run;
    run.lookup = false;
    run.step = AddStep(
        absl::StrCat("[export] push layer ", digest.hex().substr(0, 12), " to ", repository));
    const Digest key = ComputeStepKey(spec.identity(), Digest()).digest;
    run.request = {.domain = domain(), .build = id(), .key = key, .spec = std::move(spec)};
    run.request.cacheable = false;
    RunStep(std::move(run),
            [gather](absl::StatusOr<StepDone> done) { gather->Done(done.status()); });
  }
}

void ExportSession::Flatten(const Image& image, std::function<void(v1::Digest)> then) {
  NeedLayers(image.layers, [this, image, then = std::move(then)](absl::Status status) {
    if (!status.ok()) return Fail(status);
    v1::StepSpec spec;
    *spec.mutable_identity()->mutable_platform() = farm_.platform;
    v1::FlattenOperation& flatten = *spec.mutable_identity()->mutable_flatten();
    for (int index : image.layers) {
      flatten.add_diff_ids(absl::StrCat("sha256:", layer(index).ref.diff_id().hash()));
      *spec.mutable_inputs()->add_root() = layer(index).ref;
    }
    spec.mutable_execution()->set_name("flatten the root file system");
    const Digest key = ComputeStepKey(spec.identity(), Digest()).digest;
    StepRun run;
    run.step = AddStep("[export] copy the root file system");
    run.request = {.domain = domain(), .build = id(), .key = key, .spec = std::move(spec)};
    RunStep(std::move(run), [this, then](absl::StatusOr<StepDone> done) {
      if (!done.ok()) return Fail(done.status());
      then(done->result.blob().digest());
    });
  });
}

}  // namespace farm
