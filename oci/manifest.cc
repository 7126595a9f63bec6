#include "oci/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "oci/json_reader.h"

namespace farm {
namespace {

constexpr int kIndent = 2;

absl::StatusOr<Platform> ReadPlatform(const JsonReader& json) {
  RETURN_IF_ERROR(json.ExpectObject());
  Platform result;
  ASSIGN_OR_RETURN(result.os, json["os"].String());
  ASSIGN_OR_RETURN(result.architecture, json["architecture"].String());
  ASSIGN_OR_RETURN(result.variant, json["variant"].String());
  ASSIGN_OR_RETURN(result.os_version, json["os.version"].String());
  ASSIGN_OR_RETURN(result.os_features, json["os.features"].Strings());
  return result;
}

absl::StatusOr<Descriptor> ReadDescriptor(const JsonReader& json) {
  if (!json.has_value()) return json.Error("a descriptor is missing");
  RETURN_IF_ERROR(json.ExpectObject());
  Descriptor result;
  ASSIGN_OR_RETURN(result.media_type, json["mediaType"].String());
  if (result.media_type.empty()) return json["mediaType"].Error("a media type is missing");
  if (!json["size"].has_value()) return json["size"].Error("a size is missing");
  ASSIGN_OR_RETURN(const int64_t size_bytes, json["size"].Int());
  ASSIGN_OR_RETURN(const std::string digest, json["digest"].String());
  const absl::StatusOr<Digest> parsed = Digest::FromOci(digest, size_bytes);
  if (size_bytes < 0) return json["size"].Error("expected a size of 0 bytes or more");
  if (!parsed.ok()) return json["digest"].Error("expected a digest, sha256:HEX");
  result.digest = *parsed;
  ASSIGN_OR_RETURN(result.urls, json["urls"].Strings());
  ASSIGN_OR_RETURN(result.annotations, json["annotations"].StringMap(kAnnotationsMax));
  ASSIGN_OR_RETURN(result.artifact_type, json["artifactType"].String());
  if (const JsonReader platform = json["platform"]; platform.has_value()) {
    ASSIGN_OR_RETURN(result.platform, ReadPlatform(platform));
  }
  return result;
}

absl::StatusOr<std::vector<Descriptor>> ReadDescriptors(const JsonReader& json) {
  ASSIGN_OR_RETURN(const std::vector<JsonReader> entries, json.Array(kManifestEntriesMax));
  std::vector<Descriptor> result;
  for (const JsonReader& entry : entries) {
    ASSIGN_OR_RETURN(Descriptor descriptor, ReadDescriptor(entry));
    result.push_back(std::move(descriptor));
  }
  return result;
}

absl::StatusOr<Manifest> ReadManifest(const JsonReader& json, std::string media_type) {
  if (json["manifests"].has_value()) {
    return json.Error("both an image's layers and an index's manifests in one document");
  }
  Manifest result;
  result.media_type = std::move(media_type);
  ASSIGN_OR_RETURN(result.artifact_type, json["artifactType"].String());
  ASSIGN_OR_RETURN(result.config, ReadDescriptor(json["config"]));
  ASSIGN_OR_RETURN(result.layers, ReadDescriptors(json["layers"]));
  if (const JsonReader subject = json["subject"]; subject.has_value()) {
    ASSIGN_OR_RETURN(result.subject, ReadDescriptor(subject));
  }
  ASSIGN_OR_RETURN(result.annotations, json["annotations"].StringMap(kAnnotationsMax));
  return result;
}

absl::StatusOr<ImageIndex> ReadImageIndex(const JsonReader& json, std::string media_type) {
  if (json["layers"].has_value() || json["config"].has_value()) {
    return json.Error("both an image's layers and an index's manifests in one document");
  }
  ImageIndex result;
  result.media_type = std::move(media_type);
  ASSIGN_OR_RETURN(result.manifests, ReadDescriptors(json["manifests"]));
  ASSIGN_OR_RETURN(result.annotations, json["annotations"].StringMap(kAnnotationsMax));
  return result;
}

bool IsSchema1(absl::string_view media_type) {
  return absl::StartsWith(media_type, "application/vnd.docker.distribution.manifest.v1+");
}

absl::Status Schema1Refused() {
  return absl::UnimplementedError(
      "manifest of schema 1, which docker has given up: push the image again with docker 1.10 or "
      "newer");
}

// The media type that decides how the document is read.
absl::StatusOr<std::string> EffectiveType(const JsonReader& json, absl::string_view said) {
  ASSIGN_OR_RETURN(const int64_t schema_version, json["schemaVersion"].Int());
  if (IsSchema1(said) || schema_version == 1) return Schema1Refused();
  if (schema_version != 2) return json["schemaVersion"].Error("expected 2");
  ASSIGN_OR_RETURN(const std::string own, json["mediaType"].String());
  // A registry's answer may carry parameters or a type that says nothing.
  const bool said_is_known = IsIndexType(said) || IsManifestType(said);
  if (said_is_known && !own.empty() && own != said) {
    return json["mediaType"].Error(
        absl::StrCat("expected \"", said, "\", as the registry says, found \"", own, "\""));
  }
  if (said_is_known) return std::string(said);
  if (!own.empty()) return own;
  return std::string(json["manifests"].has_value() ? kOciIndexType : kOciManifestType);
}

using Json = nlohmann::ordered_json;

Json ToJson(const Platform& platform) {
  Json json = Json::object();
  json["architecture"] = platform.architecture;
  json["os"] = platform.os;
  if (!platform.os_version.empty()) json["os.version"] = platform.os_version;
  if (!platform.os_features.empty()) json["os.features"] = platform.os_features;
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  return json;
}

Json ToJson(const Descriptor& descriptor) {
  Json json = Json::object();
  json["mediaType"] = descriptor.media_type;
  json["digest"] = descriptor.digest.oci();
  json["size"] = descriptor.digest.size_bytes();
  if (!descriptor.urls.empty()) json["urls"] = descriptor.urls;
  if (!descriptor.annotations.empty()) json["annotations"] = descriptor.annotations;
  if (descriptor.platform.has_value()) json["platform"] = ToJson(*descriptor.platform);
  if (!descriptor.artifact_type.empty()) json["artifactType"] = descriptor.artifact_type;
  return json;
}

Json ToJson(const std::vector<Descriptor>& descriptors) {
  Json json = Json::array();
  for (const Descriptor& descriptor : descriptors) json.push_back(ToJson(descriptor));
  return json;
}

}  // namespace

absl::StatusOr<std::variant<Manifest, ImageIndex>> ParseManifestOrIndex(
    absl::string_view text, absl::string_view media_type) {
  ASSIGN_OR_RETURN(const JsonReader json, JsonReader::Parse(text, kManifestBytesMax, "manifest"));
  if (!json.has_value()) return json.Error("expected an object");
  RETURN_IF_ERROR(json.ExpectObject());
  ASSIGN_OR_RETURN(std::string type, EffectiveType(json, media_type));
  if (IsIndexType(type)) {
    ASSIGN_OR_RETURN(ImageIndex index, ReadImageIndex(json, std::move(type)));
    return index;
  }
  if (IsManifestType(type)) {
    ASSIGN_OR_RETURN(Manifest manifest, ReadManifest(json, std::move(type)));
    return manifest;
  }
  return absl::UnimplementedError(absl::StrCat("manifest of media type \"", type.substr(0, 200),
                                               "\": expected an image's manifest or index"));
}

absl::StatusOr<Manifest> ParseManifest(absl::string_view json, absl::string_view media_type) {
  ASSIGN_OR_RETURN(auto parsed, ParseManifestOrIndex(json, media_type));
  if (auto* manifest = std::get_if<Manifest>(&parsed)) return std::move(*manifest);
  return absl::InvalidArgumentError("manifest: expected one image, found an index of several");
}

absl::StatusOr<ImageIndex> ParseImageIndex(absl::string_view json, absl::string_view media_type) {
  ASSIGN_OR_RETURN(auto parsed, ParseManifestOrIndex(json, media_type));
  if (auto* index = std::get_if<ImageIndex>(&parsed)) return std::move(*index);
  return absl::InvalidArgumentError("manifest: expected an index, found one image");
}

std::string SerializeManifest(const Manifest& manifest) {
  Json json = Json::object();
  json["schemaVersion"] = 2;
  json["mediaType"] = manifest.media_type;
  if (!manifest.artifact_type.empty()) json["artifactType"] = manifest.artifact_type;
  json["config"] = ToJson(manifest.config);
  json["layers"] = ToJson(manifest.layers);
  if (manifest.subject.has_value()) json["subject"] = ToJson(*manifest.subject);
  if (!manifest.annotations.empty()) json["annotations"] = manifest.annotations;
  return DumpJsonLikeGo(json, kIndent);
}

std::string SerializeImageIndex(const ImageIndex& index) {
  Json json = Json::object();
  json["schemaVersion"] = 2;
  json["mediaType"] = index.media_type;
  json["manifests"] = ToJson(index.manifests);
  if (!index.annotations.empty()) json["annotations"] = index.annotations;
  return DumpJsonLikeGo(json, kIndent);
}

absl::StatusOr<Descriptor> SelectPlatform(const ImageIndex& index, const Platform& wanted) {
  const Descriptor* best = nullptr;
  int best_distance = 0;
  std::set<std::string> there;
  for (const Descriptor& entry : index.manifests) {
    // Attestations stand in an index as manifests for unknown/unknown.
    if (!entry.platform.has_value() || entry.platform->os == "unknown") continue;
    there.insert(entry.platform->ToString());
    const std::optional<int> distance = PlatformDistance(wanted, *entry.platform);
    if (!distance.has_value() || (best != nullptr && *distance >= best_distance)) continue;
    best = &entry;
    best_distance = *distance;
  }
  if (best != nullptr) return *best;
  return absl::NotFoundError(absl::StrCat("no image for ", wanted.ToString(), "; there is ",
                                          there.empty() ? "none" : absl::StrJoin(there, ", ")));
}

}  // namespace farm
