#include "oci/image_assembler.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// One entry with a layer for each of `layers`.
void MatchHistoryToLayers(size_t layers, std::vector<HistoryEntry>& history) {
  size_t matched = 0;
  for (HistoryEntry& entry : history) {
    if (matched == layers) entry.empty_layer = true;
    if (!entry.empty_layer) ++matched;
  }
  for (; matched < layers; ++matched) {
    history.push_back({.created = {},
                       .created_by = "created by farm",
                       .author = "",
                       .comment = "farm.v0",
                       .empty_layer = false});
  }
}

// The time that a run of entries without one gets: that of the first entry with a time after it,
// else of the last before it.
std::optional<absl::Time> FirstNewTime(const std::vector<HistoryEntry>& history) {
  std::optional<absl::Time> time;
  bool gap = false;
  for (const HistoryEntry& entry : history) {
    if (!entry.created.has_value()) {
      gap = true;
      continue;
    }
    time = entry.created;
    if (gap) break;
  }
  return time;
}

void ClampTime(absl::Time created_max, std::optional<absl::Time>& time) {
  if (time.has_value()) time = std::min(*time, created_max);
}

absl::StatusOr<std::string> LayerType(absl::string_view media_type, bool docker) {
  ASSIGN_OR_RETURN(const LayerCompression compression, LayerCompressionOf(media_type));
  if (!docker) return std::string(OciLayerType(compression));
  switch (compression) {
    case LayerCompression::kNone:
      return kDockerLayerType;
    case LayerCompression::kGzip:
      return kDockerLayerGzipType;
    case LayerCompression::kZstd:
      break;
  }
  return absl::InvalidArgumentError(
      "docker's media types have none for layers compressed with zstd: use OCI media types or "
      "gzip");
}

Descriptor DescriptorOf(absl::string_view media_type, absl::string_view bytes) {
  Descriptor result;
  result.media_type = std::string(media_type);
  result.digest = DigestOf(bytes);
  return result;
}

}  // namespace

void FillHistoryTimes(const std::vector<std::optional<absl::Time>>& layer_times,
                      std::vector<HistoryEntry>& history) {
  size_t layer = 0;
  for (HistoryEntry& entry : history) {
    if (entry.empty_layer) continue;
    if (!entry.created.has_value() && layer < layer_times.size()) {
      entry.created = layer_times[layer];
    }
    ++layer;
  }
  std::optional<absl::Time> time = FirstNewTime(history);
  bool gap = false;
  for (HistoryEntry& entry : history) {
    if (!entry.created.has_value()) {
      gap = true;
      entry.created = time;
    } else if (gap) {
      time = entry.created;
    }
  }
}

absl::StatusOr<AssembledImage> AssembleImage(ImageConfig config,
                                             const std::vector<AssembledLayer>& layers,
                                             const AssembleOptions& options) {
  AssembledImage result;
  const bool docker = options.docker_media_types;
  result.manifest.media_type = docker ? kDockerManifestType : kOciManifestType;
  if (!docker) result.manifest.annotations = options.annotations;

  config.diff_ids.clear();
  std::vector<std::optional<absl::Time>> layer_times;
  for (const AssembledLayer& layer : layers) {
    if (!Digest::FromOci(layer.diff_id, 0).ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("diff_id \"", layer.diff_id, "\": expected sha256:HEX"));
    }
    config.diff_ids.push_back(layer.diff_id);
    layer_times.push_back(layer.created);
    Descriptor blob = layer.blob;
    ASSIGN_OR_RETURN(blob.media_type, LayerType(blob.media_type, docker));
    if (docker) blob.annotations.clear();
    result.manifest.layers.push_back(std::move(blob));
  }

  MatchHistoryToLayers(layers.size(), config.history);
  FillHistoryTimes(layer_times, config.history);
  if (!config.created.has_value() && !config.history.empty()) {
    config.created = config.history.back().created;
  }
  if (options.created_max.has_value()) {
    ClampTime(*options.created_max, config.created);
    for (HistoryEntry& entry : config.history) ClampTime(*options.created_max, entry.created);
  }

  result.config_bytes = SerializeImageConfig(config);
  result.config_descriptor =
      DescriptorOf(docker ? kDockerConfigType : kOciConfigType, result.config_bytes);
  result.manifest.config = result.config_descriptor;
  result.manifest_bytes = SerializeManifest(result.manifest);
  result.manifest_descriptor = DescriptorOf(result.manifest.media_type, result.manifest_bytes);
  result.manifest_descriptor.platform = config.platform.Normalized();
  result.config = std::move(config);
  return result;
}

}  // namespace farm
