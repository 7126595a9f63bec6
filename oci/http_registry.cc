#include "oci/http_registry.h"

#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/blob_download.h"
#include "oci/blob_upload.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/registry_transport.h"

namespace farm {
namespace {

constexpr int kIndexNestingMax = 3;  // Indexes of indexes, followed by Resolve().

constexpr char kManifestAccept[] =
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.docker.distribution.manifest.v2+json";

// Media type without its parameters.
std::string BareType(absl::string_view content_type) {
  return std::string(absl::StripAsciiWhitespace(content_type.substr(0, content_type.find(';'))));
}

std::optional<Digest> DigestHeader(const HttpResponse& response, int64_t size_bytes) {
  const absl::StatusOr<Digest> digest =
      Digest::FromOci(response.Header("docker-content-digest"), size_bytes);
  if (!digest.ok()) return std::nullopt;
  return *digest;
}

}  // namespace

struct HttpRegistry::Impl {
  Impl(Options options_in, Clock& clock, Sleep sleep)
      : options(std::move(options_in)), transport(options, clock, std::move(sleep)) {}

  absl::StatusOr<RawManifest> FetchManifestFrom(const RegistryEndpoint& endpoint,
                                                const Reference& reference,
                                                const RegistryCall& call) {
    const std::string& name = reference.digest().empty() ? reference.tag() : reference.digest();
    HttpRequest request;
    request.url = endpoint.Url(reference, absl::StrCat("manifests/", name));
    request.headers = {{"Accept", kManifestAccept}};
    request.response_bytes_max = kManifestBytesMax;
    request.timeout = transport.options().document_timeout;
    ASSIGN_OR_RETURN(HttpResponse response,
                     transport.Exchange(endpoint, PullScope(reference), call, request),
                     _ << reference.familiar());
    if (response.status != 200) {
      return StatusOf(response, endpoint, "image", reference.familiar());
    }
    RawManifest manifest;
    manifest.bytes = std::move(response.body);
    manifest.descriptor.media_type = BareType(response.Header("content-type"));
    manifest.descriptor.digest = DigestOf(manifest.bytes);
    const Digest& digest = manifest.descriptor.digest;
    const std::optional<Digest> said = DigestHeader(response, digest.size_bytes());
    const bool is_asked = reference.digest().empty() || digest.oci() == reference.digest();
    if (!is_asked || (said.has_value() && *said != digest)) {
      return absl::DataLossError(absl::StrCat(
          reference.familiar(), ": the manifest that ", endpoint.host, " sends has the digest ",
          digest.oci(), "; expected ", is_asked ? said->oci() : reference.digest()));
    }
    // The type that the document itself states, where the answer has none of use.
    ASSIGN_OR_RETURN(const auto parsed,
                     ParseManifestOrIndex(manifest.bytes, manifest.descriptor.media_type),
                     _ << reference.familiar());
    manifest.descriptor.media_type =
        std::visit([](const auto& document) { return document.media_type; }, parsed);
    return manifest;
  }

  absl::StatusOr<RawManifest> FetchManifest(const Reference& asked, const RegistryCall& call) {
    const Reference reference = asked.WithDefaultTag();
    RawManifest manifest;
    RETURN_IF_ERROR(transport.FromAny(
        reference.host(), call, [&](const RegistryEndpoint& endpoint) -> absl::Status {
          ASSIGN_OR_RETURN(manifest, FetchManifestFrom(endpoint, reference, call));
          return absl::OkStatus();
        }));
    return manifest;
  }

  absl::StatusOr<ResolvedImage> Resolve(const Reference& asked, const Platform& platform,
                                        const RegistryCall& call) {
    const Reference reference = asked.WithDefaultTag();
    ResolvedImage image;
    ASSIGN_OR_RETURN(image.manifest, FetchManifest(reference, call));
    ASSIGN_OR_RETURN(image.pinned, reference.WithDigest(image.manifest.descriptor.digest.oci()));
    for (int nesting = 0; IsIndexType(image.manifest.descriptor.media_type); ++nesting) {
      if (nesting == kIndexNestingMax) {
        return absl::InvalidArgumentError(
            absl::StrCat(reference.familiar(), ": indexes nest deeper than ", kIndexNestingMax));
      }
      ASSIGN_OR_RETURN(image.manifest, FetchOfIndex(reference, platform, image, call));
    }
    RETURN_IF_ERROR(FetchConfig(reference, call, image)) << reference.familiar();
    return image;
  }

  // The manifest for `platform` of the index that `image` holds, which becomes image.index.
  absl::StatusOr<RawManifest> FetchOfIndex(const Reference& reference, const Platform& platform,
                                           ResolvedImage& image, const RegistryCall& call) {
    ASSIGN_OR_RETURN(const ImageIndex index,
                     ParseImageIndex(image.manifest.bytes, image.manifest.descriptor.media_type));
    ASSIGN_OR_RETURN(const Descriptor entry, SelectPlatform(index, platform),
                     _ << reference.familiar());
    if (!image.index.has_value()) image.index = std::move(image.manifest);
    ASSIGN_OR_RETURN(const Reference pinned, reference.WithDigest(entry.digest.oci()));
    ASSIGN_OR_RETURN(RawManifest manifest, FetchManifest(pinned, call));
    if (manifest.descriptor.digest != entry.digest) {
      return absl::DataLossError(absl::StrCat(
          reference.familiar(), ": the manifest ", entry.digest.oci(), " has ",
          manifest.bytes.size(), " bytes; its index says ", entry.digest.size_bytes()));
    }
    manifest.descriptor.platform = entry.platform;
    return manifest;
  }

  absl::Status FetchConfig(const Reference& reference, const RegistryCall& call,
                           ResolvedImage& image) {
    ASSIGN_OR_RETURN(const Manifest manifest,
                     ParseManifest(image.manifest.bytes, image.manifest.descriptor.media_type));
    image.config = manifest.config;
    const std::string& type = image.config.media_type;
    if (type != kOciConfigType && type != kDockerConfigType) {
      return absl::InvalidArgumentError(absl::StrCat(
          "no container image: its config has the media type \"", type.substr(0, 200), "\""));
    }
    if (image.config.digest.size_bytes() > kImageConfigBytesMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("image config of ", image.config.digest.size_bytes(), " bytes; at most ",
                       kImageConfigBytesMax, " are read"));
    }
    StringSink sink(kImageConfigBytesMax);
    RETURN_IF_ERROR(DownloadBlob(transport, reference, image.config, 0, sink, call));
    image.config_bytes = sink.Take();
    return ParseImageConfig(image.config_bytes).status();
  }

  absl::StatusOr<bool> HasBlob(const Reference& repository, const Descriptor& blob,
                               const std::vector<std::string>& scopes, const RegistryCall& call) {
    const RegistryEndpoint endpoint = transport.EndpointOf(repository.host());
    HttpRequest request;
    request.method = "HEAD";
    request.url = endpoint.Url(repository, absl::StrCat("blobs/", blob.digest.oci()));
    request.timeout = transport.options().document_timeout;
    ASSIGN_OR_RETURN(const HttpResponse response,
                     transport.Exchange(endpoint, scopes, call, request));
    if (response.status == 200) return true;
    if (response.status == 404) return false;
    return StatusOf(response, endpoint, "blob", repository.familiar_repository());
  }

  absl::Status PushBlob(const Reference& repository, const Descriptor& blob, const BlobOpener& open,
                        const RegistryCall& call) {
    ASSIGN_OR_RETURN(const bool there, HasBlob(repository, blob, PushScope(repository), call));
    return there ? absl::OkStatus() : UploadBlob(transport, repository, blob, open, call);
  }

  absl::StatusOr<bool> MountBlob(const Reference& repository, const Descriptor& blob,
                                 const Reference& from, const RegistryCall& call) {
    if (repository.host() != from.host()) return false;
    const RegistryEndpoint endpoint = transport.EndpointOf(repository.host());
    std::vector<std::string> scopes = PushScope(repository);
    scopes.push_back(PullScope(from)[0]);
    HttpRequest request;
    request.method = "POST";
    request.timeout = transport.options().document_timeout;
    request.url = endpoint.Url(repository, "blobs/uploads/");
    ASSIGN_OR_RETURN(request.url, AddQuery(request.url, "mount", blob.digest.oci()));
    ASSIGN_OR_RETURN(request.url, AddQuery(request.url, "from", from.path()));
    const absl::StatusOr<HttpResponse> response =
        transport.Exchange(endpoint, scopes, call, request);
    if (absl::IsUnauthenticated(response.status())) return false;  // The push will say so.
    RETURN_IF_ERROR(response.status()) << "mount of " << blob.digest.oci();
    if (response->status == 201) return true;
    if (response->status == 202) CancelUpload(endpoint, scopes, *response, call);
    return false;
  }

  // Best effort: registries drop unfinished uploads themselves after some days.
  void CancelUpload(const RegistryEndpoint& endpoint, const std::vector<std::string>& scopes,
                    const HttpResponse& started, const RegistryCall& call) {
    const absl::StatusOr<std::string> location =
        ResolveUrl(endpoint.base_url, started.Header("location"));
    if (!location.ok()) return;
    transport.Send(endpoint, scopes, call, [&] {
      HttpRequest request;
      request.method = "DELETE";
      request.url = *location;
      request.timeout = transport.options().document_timeout;
      return absl::StatusOr<HttpRequest>(std::move(request));
    });
  }

  absl::StatusOr<Digest> PushManifest(const Reference& reference, absl::string_view media_type,
                                      absl::string_view bytes, const RegistryCall& call) {
    const Digest digest = DigestOf(bytes);
    if (!reference.digest().empty() && reference.digest() != digest.oci()) {
      return absl::InvalidArgumentError(
          absl::StrCat(reference.familiar(), ": the manifest's digest is ", digest.oci()));
    }
    const RegistryEndpoint endpoint = transport.EndpointOf(reference.host());
    const Reference named = reference.WithDefaultTag();
    const std::string& name = named.tag().empty() ? named.digest() : named.tag();
    HttpRequest request;
    request.method = "PUT";
    request.url = endpoint.Url(named, absl::StrCat("manifests/", name));
    request.headers = {{"Content-Type", std::string(media_type)}};
    request.body = std::string(bytes);
    request.timeout = transport.options().document_timeout;
    ASSIGN_OR_RETURN(const HttpResponse response,
                     transport.Exchange(endpoint, PushScope(named), call, request),
                     _ << "push of " << named.familiar());
    if (response.status / 100 != 2) {
      return StatusOf(response, endpoint, "repository", named.familiar());
    }
    const std::optional<Digest> said = DigestHeader(response, digest.size_bytes());
    if (said.has_value() && *said != digest) {
      return absl::DataLossError(absl::StrCat("push of ", named.familiar(), ": ", endpoint.host,
                                              " stored it as ", said->oci(), ", not as ",
                                              digest.oci()));
    }
    return digest;
  }

  const Options options;
  RegistryTransport transport;
};

HttpRegistry::HttpRegistry(Options options, Clock& clock, Sleep sleep)
    : impl_(std::make_unique<Impl>(std::move(options), clock, std::move(sleep))) {}

HttpRegistry::~HttpRegistry() = default;

absl::StatusOr<ResolvedImage> HttpRegistry::Resolve(const Reference& reference,
                                                    const Platform& platform,
                                                    const RegistryCall& call) {
  return impl_->Resolve(reference, platform, call);
}

absl::StatusOr<RawManifest> HttpRegistry::FetchManifest(const Reference& reference,
                                                        const RegistryCall& call) {
  return impl_->FetchManifest(reference, call);
}

absl::Status HttpRegistry::FetchBlob(const Reference& repository, const Descriptor& blob,
                                     int64_t offset, ByteSink& sink, const RegistryCall& call) {
  return DownloadBlob(impl_->transport, repository, blob, offset, sink, call);
}

absl::StatusOr<bool> HttpRegistry::HasBlob(const Reference& repository, const Descriptor& blob,
                                           const RegistryCall& call) {
  return impl_->HasBlob(repository, blob, PullScope(repository), call);
}

absl::Status HttpRegistry::PushBlob(const Reference& repository, const Descriptor& blob,
                                    const BlobOpener& open, const RegistryCall& call) {
  return impl_->PushBlob(repository, blob, open, call);
}

absl::StatusOr<bool> HttpRegistry::MountBlob(const Reference& repository, const Descriptor& blob,
                                             const Reference& from, const RegistryCall& call) {
  return impl_->MountBlob(repository, blob, from, call);
}

absl::StatusOr<Digest> HttpRegistry::PushManifest(const Reference& reference,
                                                  absl::string_view media_type,
                                                  absl::string_view bytes,
                                                  const RegistryCall& call) {
  return impl_->PushManifest(reference, media_type, bytes, call);
}

}  // namespace farm
