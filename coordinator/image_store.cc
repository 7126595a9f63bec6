#include "coordinator/image_store.h"

#include <algorithm>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "base/time_proto.h"
#include "cas/small_blob_store.h"
#include "oci/reference.h"

namespace farm {
namespace {

constexpr size_t kIdPrefixMin = 2;  // hex digits
constexpr int kConflictsMax = 16;   // of others that change the same image at once

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

absl::StatusOr<std::vector<std::string>> TagReferences(const std::vector<std::string>& names) {
  std::vector<std::string> references;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const Reference parsed, Reference::Parse(name));
    if (!parsed.digest().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("refusing to create a tag with a digest reference: ", name));
    }
    references.push_back(parsed.WithDefaultTag().canonical());
  }
  return references;
}

// Nullopt if there is none.
absl::StatusOr<std::optional<std::string>> FindRecord(Index& index, IndexTable table,
                                                      const std::string& key) {
  absl::StatusOr<std::string> bytes = index.Get(table, key);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  RETURN_IF_ERROR(bytes.status());
  return *std::move(bytes);
}

// Calls `attempt` until it returns something else than ABORTED.
template <typename Attempt>
auto Retry(Attempt attempt) {
  for (int i = 1; i < kConflictsMax; ++i) {
    auto result = attempt();
    absl::Status status;
    if constexpr (std::is_same_v<decltype(result), absl::Status>) {
      status = result;
    } else {
      status = result.status();
    }
    if (!absl::IsAborted(status)) return result;
  }
  return attempt();
}

}  // namespace

absl::StatusOr<Digest> ImageStore::Put(absl::string_view domain, absl::string_view manifest_bytes,
                                       absl::string_view config_bytes, absl::string_view repository,
                                       const std::vector<std::string>& repo_digests,
                                       const std::vector<std::string>& tags) {
  ASSIGN_OR_RETURN(const std::vector<std::string> references, TagReferences(tags));
  ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(config_bytes));
  ASSIGN_OR_RETURN(const Digest config_digest, PutBytes(blobs_, config_bytes));
  ASSIGN_OR_RETURN(const Digest manifest_digest, PutBytes(blobs_, manifest_bytes));
  for (const Digest& document : {config_digest, manifest_digest}) {
    // Smaller ones are in the index, whose log keeps the order.
    if (document.size_bytes() <= kSmallBlobBytesMax) continue;
    RETURN_IF_ERROR(blobs_.Sync({&document, 1}));
  }
  const std::string key = IndexKey({domain, manifest_digest.raw()});
  RETURN_IF_ERROR(Retry([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::optional<std::string> before,
                     FindRecord(index_, IndexTable::kImage, key));
    v1::ImageRecord record;
    if (!before.has_value() || !record.ParseFromString(*before)) {
      record.Clear();
      *record.mutable_created() = TimeToProto(clock_.Now());
    }
    *record.mutable_manifest() = DigestToProto(manifest_digest);
    *record.mutable_config() = DigestToProto(config_digest);
    record.clear_diff_ids();
    for (const std::string& diff_id : config.diff_ids) {
      record.add_diff_ids(std::string(absl::StripPrefix(diff_id, "sha256:")));
    }
    if (!repository.empty()) record.set_repository(std::string(repository));
    for (const std::string& repo_digest : repo_digests) {
      const auto& known = record.repo_digests();
      if (std::find(known.begin(), known.end(), repo_digest) == known.end()) {
        record.add_repo_digests(repo_digest);
      }
    }
    IndexBatch batch;
    ASSIGN_OR_RETURN(const bool named, AddTags(domain, references, manifest_digest, batch));
    if (named) record.set_name_changes(record.name_changes() + 1);
    const std::string after = record.SerializeAsString();
    if (before == after) return absl::OkStatus();  // A build that changed nothing writes nothing.
    batch.Expect(IndexTable::kImage, key, before).Put(IndexTable::kImage, key, after);
    return index_.Apply(batch, named ? Index::Durability::kSynced : Index::Durability::kOrdered);
  }));
  return manifest_digest;
}

absl::StatusOr<bool> ImageStore::AddTags(absl::string_view domain,
                                         const std::vector<std::string>& references,
                                         const Digest& manifest, IndexBatch& batch) {
  v1::TagRecord record;
  *record.mutable_manifest() = DigestToProto(manifest);
  *record.mutable_tagged() = TimeToProto(clock_.Now());
  for (const std::string& reference : references) {
    const std::string key = IndexKey({domain, reference});
    ASSIGN_OR_RETURN(const std::optional<std::string> before,
                     FindRecord(index_, IndexTable::kTag, key));
    v1::TagRecord known;
    if (before.has_value() && known.ParseFromString(*before) &&
        known.manifest().hash() == manifest.hex()) {
      continue;
    }
    batch.Put(IndexTable::kTag, key, record.SerializeAsString());
  }
  return !batch.writes().empty();
}

absl::Status ImageStore::Tag(absl::string_view domain, absl::string_view name,
                             const Digest& manifest) {
  ASSIGN_OR_RETURN(const std::vector<std::string> references, TagReferences({std::string(name)}));
  const std::string key = IndexKey({domain, manifest.raw()});
  return Retry([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const std::optional<std::string> before,
                     FindRecord(index_, IndexTable::kImage, key));
    v1::ImageRecord record;
    if (!before.has_value() || !record.ParseFromString(*before)) {
      return absl::NotFoundError(absl::StrCat("image ", manifest.oci(), " was removed"));
    }
    IndexBatch batch;
    ASSIGN_OR_RETURN(const bool named, AddTags(domain, references, manifest, batch));
    if (!named) return absl::OkStatus();
    record.set_name_changes(record.name_changes() + 1);
    batch.Expect(IndexTable::kImage, key, before)
        .Put(IndexTable::kImage, key, record.SerializeAsString());
    return index_.Apply(batch, Index::Durability::kSynced);
  });
}

absl::StatusOr<std::vector<ImageStore::Tagged>> ImageStore::Tags(absl::string_view domain) {
  std::vector<Tagged> tags;
  absl::Status error;
  RETURN_IF_ERROR(index_.Scan(
      IndexTable::kTag, IndexKey({domain}), "",
      [&](absl::string_view key, absl::string_view value) {
        v1::TagRecord record;
        absl::StatusOr<std::vector<std::string>> parts = IndexKeyParts(key);
        if (!parts.ok() || parts->size() != 2 ||
            !record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          error = absl::DataLossError("a tag's record does not parse");
          return false;
        }
        absl::StatusOr<Digest> manifest = DigestFromProto(record.manifest());
        if (manifest.ok()) {
          tags.push_back(
              {.reference = (*parts)[1], .manifest = *manifest, .record = std::string(value)});
        }
        return true;
      }));
  RETURN_IF_ERROR(error);
  return tags;
}

absl::StatusOr<std::vector<v1::ImageRecord>> ImageStore::Records(absl::string_view domain) {
  std::vector<v1::ImageRecord> records;
  RETURN_IF_ERROR(
      index_.Scan(IndexTable::kImage, domain.empty() ? "" : IndexKey({domain}), "",
                  [&](absl::string_view, absl::string_view value) {
                    v1::ImageRecord record;
                    if (record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
                      records.push_back(std::move(record));
                    }
                    return true;
                  }));
  return records;
}

absl::StatusOr<ImageStore::Stored> ImageStore::Load(absl::string_view domain,
                                                    const Digest& manifest) {
  Stored stored;
  ASSIGN_OR_RETURN(const std::string bytes,
                   index_.Get(IndexTable::kImage, IndexKey({domain, manifest.raw()})));
  if (!stored.record.ParseFromString(bytes)) {
    return absl::DataLossError("an image's record does not parse");
  }
  ASSIGN_OR_RETURN(stored.manifest_digest, DigestFromProto(stored.record.manifest()));
  ASSIGN_OR_RETURN(const Digest config, DigestFromProto(stored.record.config()));
  ASSIGN_OR_RETURN(stored.manifest_bytes,
                   GetBytes(blobs_, stored.manifest_digest, kManifestBytesMax));
  ASSIGN_OR_RETURN(stored.manifest, ParseManifest(stored.manifest_bytes));
  ASSIGN_OR_RETURN(stored.config_bytes, GetBytes(blobs_, config, kImageConfigBytesMax));
  ASSIGN_OR_RETURN(stored.config, ParseImageConfig(stored.config_bytes));
  return stored;
}

absl::StatusOr<Digest> ImageStore::Resolve(absl::string_view domain, absl::string_view name,
                                           bool by_id, bool* was_id) {
  *was_id = false;
  const absl::StatusOr<Reference> reference = Reference::Parse(name);
  if (reference.ok() && reference->digest().empty()) {
    const absl::StatusOr<std::string> bytes =
        index_.Get(IndexTable::kTag, IndexKey({domain, reference->WithDefaultTag().canonical()}));
    v1::TagRecord record;
    if (bytes.ok() && record.ParseFromString(*bytes)) return DigestFromProto(record.manifest());
  }
  ASSIGN_OR_RETURN(const std::vector<v1::ImageRecord> records, Records(domain));
  if (reference.ok() && !reference->digest().empty()) {
    const std::string wanted =
        absl::StrCat(reference->RepositoryOnly().canonical(), "@", reference->digest());
    for (const v1::ImageRecord& record : records) {
      for (const std::string& repo_digest : record.repo_digests()) {
        if (repo_digest == wanted) return DigestFromProto(record.manifest());
      }
      // `farm images --digests` shows the manifest digest of what was built here, too.
      if (absl::StrCat("sha256:", record.manifest().hash()) == reference->digest()) {
        ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
        for (const Tagged& tag : tags) {
          absl::StatusOr<Reference> named = Reference::Parse(tag.reference);
          if (named.ok() && tag.manifest.hex() == record.manifest().hash() &&
              named->RepositoryOnly() == reference->RepositoryOnly()) {
            return tag.manifest;
          }
        }
      }
    }
  }
  const absl::string_view id = absl::StripPrefix(name, "sha256:");
  if (by_id && id.size() >= kIdPrefixMin && id.size() <= 64 && IsHex(id)) {
    // Manifests of one config are one image to people: its layers in another form.
    const v1::ImageRecord* found = nullptr;
    for (const v1::ImageRecord& record : records) {
      if (!absl::StartsWith(record.config().hash(), id)) continue;
      if (found != nullptr && found->config().hash() != record.config().hash()) {
        return absl::InvalidArgumentError(
            absl::StrCat("several images have an id that begins with ", id));
      }
      found = &record;
    }
    if (found != nullptr) {
      *was_id = true;
      return DigestFromProto(found->manifest());
    }
  }
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  std::vector<std::string> names;
  for (const Tagged& tag : tags) {
    if (absl::StatusOr<Reference> named = Reference::Parse(tag.reference); named.ok()) {
      names.push_back(named->familiar());
    }
  }
  const std::string near = ClosestMatch(name, names);
  return absl::NotFoundError(absl::StrCat(
      "no such image: ", name, near.empty() ? "" : absl::StrCat(" (did you mean ", near, "?)")));
}

absl::StatusOr<std::string> ImageStore::NearName(absl::string_view domain,
                                                 const Reference& wanted) {
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  // Names with the tag that nobody types are compared without one, or all would be near.
  const bool plain = wanted.tag() == "latest" && wanted.digest().empty();
  std::vector<std::string> compared, names;
  for (const Tagged& tag : tags) {
    const absl::StatusOr<Reference> named = Reference::Parse(tag.reference);
    if (!named.ok() || *named == wanted) continue;
    names.push_back(named->familiar());
    compared.push_back(plain ? named->familiar_repository() : names.back());
  }
  const std::string near =
      ClosestMatch(plain ? wanted.familiar_repository() : wanted.familiar(), compared);
  if (near.empty()) return "";
  const auto found = std::find(compared.begin(), compared.end(), near);
  return names[static_cast<size_t>(found - compared.begin())];
}

absl::StatusOr<ImageStore::Stored> ImageStore::Find(absl::string_view domain,
                                                    absl::string_view name) {
  bool was_id;
  ASSIGN_OR_RETURN(const Digest manifest, Resolve(domain, name, /*by_id=*/true, &was_id));
  return Load(domain, manifest);
}

absl::StatusOr<ImageStore::Stored> ImageStore::FindByReference(absl::string_view domain,
                                                               absl::string_view name) {
  bool was_id;
  ASSIGN_OR_RETURN(const Digest manifest, Resolve(domain, name, /*by_id=*/false, &was_id));
  return Load(domain, manifest);
}

absl::Status ImageStore::AddNames(const v1::ImageRecord& record, const Digest& manifest,
                                  const std::vector<Tagged>& tags, v1::Image& image) {
  for (const Tagged& tag : tags) {
    if (tag.manifest != manifest) continue;
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag.reference));
    image.add_tags(reference.familiar());
  }
  for (const std::string& repo_digest : record.repo_digests()) {
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(repo_digest));
    image.add_repo_digests(reference.familiar());
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Image> ImageStore::Describe(absl::string_view domain, const Stored& stored,
                                               const std::vector<Tagged>& tags) {
  v1::Image image;
  *image.mutable_config() = stored.record.config();
  *image.mutable_manifest() = stored.record.manifest();
  RETURN_IF_ERROR(AddNames(stored.record, stored.manifest_digest, tags, image));
  if (stored.config.created.has_value())
    *image.mutable_created() = TimeToProto(*stored.config.created);
  for (size_t i = 0; i < stored.config.diff_ids.size(); ++i) {
    // The uncompressed size stands in the layer's record; before a first unpack only the compressed
    // one is known.
    int64_t size =
        i < stored.manifest.layers.size() ? stored.manifest.layers[i].digest.size_bytes() : 0;
    ASSIGN_OR_RETURN(const Digest diff_id, Digest::FromOci(stored.config.diff_ids[i], 0));
    v1::LayerRecord layer;
    const absl::StatusOr<std::string> bytes =
        index_.Get(IndexTable::kLayer, IndexKey({domain, diff_id.raw()}));
    if (bytes.ok() && layer.ParseFromString(*bytes) && layer.diff_id().size_bytes() > 0) {
      size = layer.diff_id().size_bytes();
    }
    image.add_layer_sizes_bytes(size);
    image.set_size_bytes(image.size_bytes() + size);
  }
  image.mutable_platform()->set_os(stored.config.platform.os);
  image.mutable_platform()->set_architecture(stored.config.platform.architecture);
  image.mutable_platform()->set_variant(stored.config.platform.variant);
  return image;
}

absl::StatusOr<std::vector<v1::Image>> ImageStore::List(absl::string_view domain,
                                                        absl::string_view repository) {
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  ASSIGN_OR_RETURN(const std::vector<v1::ImageRecord> records, Records(domain));
  std::vector<v1::Image> images;
  for (const v1::ImageRecord& record : records) {
    ASSIGN_OR_RETURN(const Digest manifest, DigestFromProto(record.manifest()));
    absl::StatusOr<Stored> stored = Load(domain, manifest);
    if (!stored.ok()) continue;  // Its documents are damaged or gone; it can't be used.
    ASSIGN_OR_RETURN(v1::Image image, Describe(domain, *stored, tags));
    if (!repository.empty()) {
      ASSIGN_OR_RETURN(const Reference wanted, Reference::Parse(repository));
      const auto other = [&](const std::string& tag) {
        const absl::StatusOr<Reference> reference = Reference::Parse(tag);
        return !reference.ok() || reference->repository() != wanted.repository() ||
               (!wanted.tag().empty() && wanted.tag() != reference->tag());
      };
      auto* kept = image.mutable_tags();
      kept->erase(std::remove_if(kept->begin(), kept->end(), other), kept->end());
      if (kept->empty()) continue;
    }
    image.clear_layer_sizes_bytes();
    images.push_back(std::move(image));
  }
  std::stable_sort(images.begin(), images.end(), [](const v1::Image& a, const v1::Image& b) {
    return std::pair(a.created().seconds(), a.created().nanos()) >
           std::pair(b.created().seconds(), b.created().nanos());
  });
  return images;
}

absl::StatusOr<v1::Image> ImageStore::Inspect(absl::string_view domain, absl::string_view name) {
  ASSIGN_OR_RETURN(const Stored stored, Find(domain, name));
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  ASSIGN_OR_RETURN(v1::Image image, Describe(domain, stored, tags));
  // The other forms' names are its own, too.
  ASSIGN_OR_RETURN(const std::vector<Form> forms, FormsOf(domain, stored.manifest_digest));
  for (const Form& form : forms) {
    if (form.manifest == stored.manifest_digest) continue;
    RETURN_IF_ERROR(AddNames(form.record, form.manifest, tags, image));
  }
  image.set_config_json(stored.config_bytes);
  image.set_manifest_json(stored.manifest_bytes);
  return image;
}

absl::StatusOr<v1::RemoveImageResponse> ImageStore::Remove(absl::string_view domain,
                                                           const std::vector<std::string>& names,
                                                           bool force) {
  v1::RemoveImageResponse response;
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const v1::RemoveImageResponse one,
                     Retry([&] { return TryRemove(domain, name, force); }));
    response.MergeFrom(one);
  }
  return response;
}

absl::StatusOr<std::vector<ImageStore::Form>> ImageStore::FormsOf(absl::string_view domain,
                                                                  const Digest& manifest) {
  std::vector<Digest> manifests = {manifest};
  ASSIGN_OR_RETURN(const std::vector<v1::ImageRecord> records, Records(domain));
  const auto own = std::find_if(records.begin(), records.end(), [&](const v1::ImageRecord& record) {
    return record.manifest().hash() == manifest.hex();
  });
  for (const v1::ImageRecord& record : records) {
    if (own == records.end() || record.config().hash() != own->config().hash()) continue;
    absl::StatusOr<Digest> other = DigestFromProto(record.manifest());
    if (other.ok() && *other != manifest) manifests.push_back(*other);
  }
  std::vector<Form> forms;
  for (const Digest& each : manifests) {
    Form& form = forms.emplace_back();
    form.manifest = each;
    form.key = IndexKey({domain, each.raw()});
    ASSIGN_OR_RETURN(form.before, FindRecord(index_, IndexTable::kImage, form.key));
    if (form.before.has_value() && !form.record.ParseFromString(*form.before)) form.record.Clear();
  }
  return forms;
}

absl::StatusOr<v1::RemoveImageResponse> ImageStore::TryRemove(absl::string_view domain,
                                                              const std::string& name, bool force) {
  bool was_id;
  ASSIGN_OR_RETURN(const Digest manifest, Resolve(domain, name, /*by_id=*/true, &was_id));
  // The records before the tags: whoever gives or takes one after they were read changes them.
  ASSIGN_OR_RETURN(std::vector<Form> forms, FormsOf(domain, manifest));
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  std::optional<Reference> named;
  if (!was_id) {
    ASSIGN_OR_RETURN(named, Reference::Parse(name));
  }
  const bool by_digest = named.has_value() && !named->digest().empty();
  for (Form& form : forms) form.is_meant = was_id || form.manifest == manifest;
  std::vector<Tagged> to_remove;
  for (const Tagged& tag : tags) {
    const auto form = std::find_if(forms.begin(), forms.end(), [&tag](const Form& known) {
      return known.manifest == tag.manifest;
    });
    if (form == forms.end()) continue;
    ASSIGN_OR_RETURN(const Reference reference, Reference::Parse(tag.reference));
    const bool is_meant = was_id      ? true
                          : by_digest ? reference.RepositoryOnly() == named->RepositoryOnly()
                                      : tag.reference == named->WithDefaultTag().canonical();
    if (form->is_meant && is_meant) {
      to_remove.push_back(tag);
    } else {
      form->is_tagged = true;
    }
  }
  if (to_remove.size() > 1 && !force) {
    return absl::FailedPreconditionError(
        absl::StrCat("image ", name, " has several names: remove them one by one, or use --force"));
  }
  if (to_remove.empty() && !was_id && !by_digest) return absl::AbortedError("the tag has moved");
  v1::RemoveImageResponse response;
  IndexBatch batch;
  for (const Tagged& tag : to_remove) {
    const std::string tag_key = IndexKey({domain, tag.reference});
    batch.Expect(IndexTable::kTag, tag_key, tag.record).Delete(IndexTable::kTag, tag_key);
    ASSIGN_OR_RETURN(const Reference parsed, Reference::Parse(tag.reference));
    response.add_untagged(parsed.familiar());
  }
  if (by_digest) {
    auto& digests = *forms.front().record.mutable_repo_digests();
    const auto gone =
        std::remove(digests.begin(), digests.end(),
                    absl::StrCat(named->RepositoryOnly().canonical(), "@", named->digest()));
    if (gone != digests.end()) response.add_untagged(named->familiar());
    digests.erase(gone, digests.end());
  }
  ForgetNameless(by_digest, forms, batch, response);
  RETURN_IF_ERROR(index_.Apply(batch, Index::Durability::kSynced));
  return response;
}

void ImageStore::ForgetNameless(bool by_digest, std::vector<Form>& forms, IndexBatch& batch,
                                v1::RemoveImageResponse& response) {
  const auto is_nameless = [by_digest](const Form& form) {
    // A pulled image's digest goes with its last tag.
    const bool digest_counts = by_digest || !form.is_meant;
    return !form.is_tagged && !(digest_counts && !form.record.repo_digests().empty());
  };
  const bool image_goes = std::all_of(forms.begin(), forms.end(), is_nameless);
  for (Form& form : forms) {
    if (!form.is_meant && !image_goes) continue;
    batch.Expect(IndexTable::kImage, form.key, form.before);
    if (!form.before.has_value()) continue;
    if (is_nameless(form)) {
      batch.Delete(IndexTable::kImage, form.key);
      // Once, however many forms it had; and not while it has a name in another form.
      if (image_goes && response.deleted().empty()) {
        response.add_deleted(absl::StrCat("sha256:", form.record.config().hash()));
      }
    } else {
      form.record.set_name_changes(form.record.name_changes() + 1);
      batch.Put(IndexTable::kImage, form.key, form.record.SerializeAsString());
    }
  }
}

absl::StatusOr<std::vector<std::string>> ImageStore::RemoveUntagged(absl::string_view domain,
                                                                    absl::Time stored_max) {
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  std::set<std::string> tagged;  // hashes of manifests
  for (const Tagged& tag : tags) tagged.insert(tag.manifest.hex());
  ASSIGN_OR_RETURN(const std::vector<v1::ImageRecord> records, Records(domain));
  // An image has a tag if one of its forms, which share a config, has.
  std::set<std::string> kept;  // hashes of configs
  for (const v1::ImageRecord& record : records) {
    if (tagged.contains(record.manifest().hash())) kept.insert(record.config().hash());
  }
  std::set<std::string> removed_configs;
  std::vector<std::string> removed_ids;
  for (const v1::ImageRecord& record : records) {
    if (kept.contains(record.config().hash())) continue;
    if (TimeFromProto(record.created()) > stored_max) continue;
    ASSIGN_OR_RETURN(const Digest manifest, DigestFromProto(record.manifest()));
    ASSIGN_OR_RETURN(const bool removed,
                     Retry([&] { return TryRemoveUntagged(domain, manifest); }));
    if (removed && removed_configs.insert(record.config().hash()).second) {
      removed_ids.push_back(absl::StrCat("sha256:", record.config().hash()));
    }
  }
  return removed_ids;
}

absl::StatusOr<bool> ImageStore::TryRemoveUntagged(absl::string_view domain,
                                                   const Digest& manifest) {
  // The record before the tags, as in TryRemove().
  const std::string key = IndexKey({domain, manifest.raw()});
  ASSIGN_OR_RETURN(const std::optional<std::string> before,
                   FindRecord(index_, IndexTable::kImage, key));
  if (!before.has_value()) return false;
  ASSIGN_OR_RETURN(const std::vector<Tagged> tags, Tags(domain));
  for (const Tagged& tag : tags) {
    if (tag.manifest == manifest) return false;
  }
  IndexBatch batch;
  batch.Expect(IndexTable::kImage, key, before).Delete(IndexTable::kImage, key);
  RETURN_IF_ERROR(index_.Apply(batch, Index::Durability::kSynced));
  return true;
}

absl::StatusOr<std::vector<Digest>> ImageStore::LiveBlobs() {
  // Domain and manifest of each image that has a name.
  std::vector<std::pair<std::string, Digest>> images;
  RETURN_IF_ERROR(
      index_.Scan(IndexTable::kTag, "", "", [&](absl::string_view key, absl::string_view value) {
        const absl::StatusOr<std::vector<std::string>> parts = IndexKeyParts(key);
        v1::TagRecord record;
        if (parts.ok() && !parts->empty() &&
            record.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
          if (absl::StatusOr<Digest> manifest = DigestFromProto(record.manifest()); manifest.ok()) {
            images.emplace_back((*parts)[0], *manifest);
          }
        }
        return true;
      }));
  std::sort(images.begin(), images.end());
  images.erase(std::unique(images.begin(), images.end()), images.end());
  std::vector<Digest> live;
  const auto add = [&live](const v1::Digest& digest) {
    if (absl::StatusOr<Digest> value = DigestFromProto(digest); value.ok()) live.push_back(*value);
  };
  for (const auto& [domain, manifest] : images) {
    const absl::StatusOr<std::string> bytes =
        index_.Get(IndexTable::kImage, IndexKey({domain, manifest.raw()}));
    v1::ImageRecord record;
    if (!bytes.ok() || !record.ParseFromString(*bytes)) continue;
    add(record.manifest());
    add(record.config());
    for (const std::string& hex : record.diff_ids()) {
      ASSIGN_OR_RETURN(const Digest diff_id, Digest::FromHex(hex, 0));
      const absl::StatusOr<std::string> layer_bytes =
          index_.Get(IndexTable::kLayer, IndexKey({domain, diff_id.raw()}));
      v1::LayerRecord layer;
      if (!layer_bytes.ok() || !layer.ParseFromString(*layer_bytes)) continue;
      add(layer.table());
      for (const v1::Descriptor& form : layer.forms()) add(form.digest());
    }
  }
  return live;
}

}  // namespace farm
