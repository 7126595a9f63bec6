#include "oci/testing/fake_registry.h"

#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "oci/testing/image_documents.h"

namespace farm {
namespace {

Descriptor Describe(absl::string_view media_type, absl::string_view bytes) {
  Descriptor result;
  result.media_type = std::string(media_type);
  result.digest = DigestOf(bytes);
  return result;
}

Reference MustParse(absl::string_view text) {
  absl::StatusOr<Reference> reference = Reference::Parse(text);
  FARM_CHECK(reference.ok()) << std::string(text);
  return *reference;
}

}  // namespace

Descriptor FakeRegistry::AddBlob(absl::string_view repository, absl::string_view media_type,
                                 absl::string_view bytes) {
  const Descriptor blob = Describe(media_type, bytes);
  MutexLock lock(mu_);
  repositories_[MustParse(repository).repository()].blobs[blob.digest] = std::string(bytes);
  return blob;
}

Descriptor FakeRegistry::AddImage(absl::string_view name, ImageConfig config,
                                  const std::vector<std::string>& layers) {
  const Reference reference = MustParse(name).WithDefaultTag();
  std::vector<Descriptor> blobs;
  for (const std::string& layer : layers) {
    blobs.push_back(AddBlob(reference.repository(), kOciLayerType, layer));
  }
  const ImageDocuments made = MakeImageDocuments(std::move(config), std::move(blobs));
  AddBlob(reference.repository(), kOciConfigType, made.config_bytes);
  const RawManifest raw{.descriptor = made.manifest, .bytes = made.manifest_bytes};
  MutexLock lock(mu_);
  Repository& repository = repositories_[reference.repository()];
  repository.manifests[reference.tag()] = raw;
  repository.manifests[raw.descriptor.digest.oci()] = raw;
  return raw.descriptor;
}

void FakeRegistry::RequireLogin(absl::string_view host, RegistryCredential credential) {
  MutexLock lock(mu_);
  logins_[CanonicalRegistryHost(host)] = std::move(credential);
}

void FakeRegistry::RemarkNext(std::string remark) {
  MutexLock lock(mu_);
  remark_ = std::move(remark);
}

void FakeRegistry::FailNext(absl::Status status, int times) {
  MutexLock lock(mu_);
  failure_ = std::move(status);
  failures_left_ = times;
}

std::vector<std::string> FakeRegistry::calls() const {
  MutexLock lock(mu_);
  return calls_;
}

bool FakeRegistry::HasManifest(absl::string_view reference) const {
  MutexLock lock(mu_);
  return FindManifest(MustParse(reference).WithDefaultTag()).ok();
}

absl::Status FakeRegistry::Enter(absl::string_view what, const Reference& reference,
                                 const RegistryCall& call) {
  calls_.push_back(absl::StrCat(what, " ", reference.canonical()));
  if (call.cancel != nullptr && call.cancel->cancelled()) return absl::CancelledError("cancelled");
  if (call.remark && !remark_.empty()) call.remark(std::exchange(remark_, ""));
  if (failures_left_ > 0) {
    --failures_left_;
    return failure_;
  }
  const auto login = logins_.find(reference.host());
  if (login == logins_.end()) return absl::OkStatus();
  const RegistryCredential* given =
      call.auth == nullptr ? nullptr : call.auth->Find(reference.host());
  if (given == nullptr || given->username != login->second.username ||
      given->password != login->second.password) {
    return absl::UnauthenticatedError(absl::StrCat("registry ", reference.host(),
                                                   " needs other credentials; run `docker login ",
                                                   reference.host(), "`"));
  }
  return absl::OkStatus();
}

absl::StatusOr<RawManifest> FakeRegistry::FindManifest(const Reference& reference) const {
  const auto repository = repositories_.find(reference.repository());
  if (repository != repositories_.end()) {
    const auto& manifests = repository->second.manifests;
    const auto found =
        manifests.find(reference.digest().empty() ? reference.tag() : reference.digest());
    if (found != manifests.end()) return found->second;
  }
  return absl::NotFoundError(absl::StrCat("no such image ", reference.familiar()));
}

const std::string* FakeRegistry::FindBlob(const Reference& repository, const Digest& digest) const {
  const auto found = repositories_.find(repository.repository());
  if (found == repositories_.end()) return nullptr;
  const auto blob = found->second.blobs.find(digest);
  return blob == found->second.blobs.end() ? nullptr : &blob->second;
}

absl::StatusOr<ResolvedImage> FakeRegistry::Resolve(const Reference& asked,
                                                    const Platform& platform,
                                                    const RegistryCall& call) {
  const Reference reference = asked.WithDefaultTag();
  MutexLock lock(mu_);
  RETURN_IF_ERROR(Enter("Resolve", reference, call));
  ResolvedImage image;
  ASSIGN_OR_RETURN(image.manifest, FindManifest(reference));
  ASSIGN_OR_RETURN(image.pinned, reference.WithDigest(image.manifest.descriptor.digest.oci()));
  if (IsIndexType(image.manifest.descriptor.media_type)) {
    image.index = image.manifest;
    ASSIGN_OR_RETURN(const ImageIndex index, ParseImageIndex(image.index->bytes));
    ASSIGN_OR_RETURN(const Descriptor entry, SelectPlatform(index, platform),
                     _ << reference.familiar());
    ASSIGN_OR_RETURN(const Reference pinned, reference.WithDigest(entry.digest.oci()));
    ASSIGN_OR_RETURN(image.manifest, FindManifest(pinned));
  }
  ASSIGN_OR_RETURN(const Manifest manifest, ParseManifest(image.manifest.bytes));
  image.config = manifest.config;
  const std::string* config = FindBlob(reference, manifest.config.digest);
  if (config == nullptr) return absl::NotFoundError("no such blob: the image's config");
  image.config_bytes = *config;
  return image;
}

absl::StatusOr<RawManifest> FakeRegistry::FetchManifest(const Reference& asked,
                                                        const RegistryCall& call) {
  const Reference reference = asked.WithDefaultTag();
  MutexLock lock(mu_);
  RETURN_IF_ERROR(Enter("FetchManifest", reference, call));
  return FindManifest(reference);
}

absl::Status FakeRegistry::FetchBlob(const Reference& repository, const Descriptor& blob,
                                     int64_t offset, ByteSink& sink, const RegistryCall& call) {
  std::string bytes;
  {
    MutexLock lock(mu_);
    RETURN_IF_ERROR(
        Enter(absl::StrCat("FetchBlob ", blob.digest.oci()), repository.RepositoryOnly(), call));
    const std::string* found = FindBlob(repository, blob.digest);
    if (found == nullptr) {
      return absl::NotFoundError(absl::StrCat("no such blob ", blob.digest.oci()));
    }
    bytes = *found;
  }
  if (offset < 0 || offset > static_cast<int64_t>(bytes.size())) {
    return absl::InvalidArgumentError("offset outside of the blob");
  }
  return sink.Write(absl::string_view(bytes).substr(offset));
}

absl::StatusOr<bool> FakeRegistry::HasBlob(const Reference& repository, const Descriptor& blob,
                                           const RegistryCall& call) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(
      Enter(absl::StrCat("HasBlob ", blob.digest.oci()), repository.RepositoryOnly(), call));
  return FindBlob(repository, blob.digest) != nullptr;
}

absl::Status FakeRegistry::PushBlob(const Reference& repository, const Descriptor& blob,
                                    const BlobOpener& open, const RegistryCall& call) {
  {
    MutexLock lock(mu_);
    RETURN_IF_ERROR(
        Enter(absl::StrCat("PushBlob ", blob.digest.oci()), repository.RepositoryOnly(), call));
    if (FindBlob(repository, blob.digest) != nullptr) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<ByteSource> source, open(blob, 0));
  StringSink sink;
  RETURN_IF_ERROR(CopyBytes(*source, sink).status());
  if (DigestOf(sink.bytes()) != blob.digest) {
    return absl::DataLossError("the bytes to be pushed have another digest");
  }
  MutexLock lock(mu_);
  repositories_[repository.repository()].blobs[blob.digest] = sink.Take();
  return absl::OkStatus();
}

absl::StatusOr<bool> FakeRegistry::MountBlob(const Reference& repository, const Descriptor& blob,
                                             const Reference& from, const RegistryCall& call) {
  MutexLock lock(mu_);
  RETURN_IF_ERROR(
      Enter(absl::StrCat("MountBlob ", blob.digest.oci()), repository.RepositoryOnly(), call));
  if (repository.host() != from.host()) return false;
  const std::string* bytes = FindBlob(from, blob.digest);
  if (bytes == nullptr) return false;
  std::string copy = *bytes;
  repositories_[repository.repository()].blobs[blob.digest] = std::move(copy);
  return true;
}

absl::StatusOr<Digest> FakeRegistry::PushManifest(const Reference& asked,
                                                  absl::string_view media_type,
                                                  absl::string_view bytes,
                                                  const RegistryCall& call) {
  const Reference reference = asked.WithDefaultTag();
  MutexLock lock(mu_);
  RETURN_IF_ERROR(Enter("PushManifest", reference, call));
  ASSIGN_OR_RETURN(const auto parsed, ParseManifestOrIndex(bytes, media_type));
  if (const Manifest* manifest = std::get_if<Manifest>(&parsed)) {
    for (const Descriptor& blob : manifest->layers) {
      if (FindBlob(reference, blob.digest) == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("manifest blob unknown: ", blob.digest.oci()));
      }
    }
  }
  RawManifest raw;
  raw.bytes = std::string(bytes);
  raw.descriptor = Describe(media_type, bytes);
  if (!reference.digest().empty() && reference.digest() != raw.descriptor.digest.oci()) {
    return absl::InvalidArgumentError("the manifest has another digest");
  }
  Repository& repository = repositories_[reference.repository()];
  if (!reference.tag().empty()) repository.manifests[reference.tag()] = raw;
  repository.manifests[raw.descriptor.digest.oci()] = raw;
  return raw.descriptor.digest;
}

}  // namespace farm
