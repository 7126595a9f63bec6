#include "cli/image_listing.h"

#include <fnmatch.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "cli/exit_code.h"
#include "cli/human_units.h"
#include "cli/terminal_text.h"
#include "oci/image_config.h"
#include "oci/reference.h"

namespace farm {
namespace {

using Json = nlohmann::json;

constexpr size_t kShortIdDigits = 12;
constexpr size_t kCommandColumns = 45;
constexpr char kNone[] = "<none>";

std::string ShownId(const std::string& hash, bool truncate) {
  return truncate ? hash.substr(0, kShortIdDigits) : "sha256:" + hash;
}

std::string Ago(std::optional<absl::Time> time, absl::Time now) {
  if (!time.has_value() || *time <= absl::UnixEpoch()) return "N/A";
  return HumanDuration(now - *time) + " ago";
}

std::string DateTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S %z %Z", time, absl::LocalTimeZone());
}

struct ImageName {
  std::string repository = kNone;
  std::string tag = kNone;
  std::string digest = kNone;
};

std::vector<ImageName> NamesOf(const v1::Image& image) {
  std::vector<ImageName> names;
  for (const std::string& text : image.tags()) {
    const auto reference = Reference::Parse(text);
    if (!reference.ok()) continue;
    ImageName name = {.repository = reference->familiar_repository(),
                      .tag = reference->tag().empty() ? kNone : reference->tag(),
                      .digest = kNone};
    for (const std::string& repo_digest : image.repo_digests()) {
      const auto pushed = Reference::Parse(repo_digest);
      if (pushed.ok() && pushed->repository() == reference->repository()) {
        name.digest = pushed->digest();
      }
    }
    names.push_back(std::move(name));
  }
  if (names.empty()) names.emplace_back();
  return names;
}

// As docker: the pattern is matched against name and tag, else the name alone.
bool Matches(const ImageFilters& filters, const ImageName& name) {
  if (filters.dangling.has_value() && *filters.dangling != (name.repository == kNone)) return false;
  if (filters.references.empty()) return true;
  const std::string full = absl::StrCat(name.repository, ":", name.tag);
  for (const std::string& pattern : filters.references) {
    if (name.repository == kNone) continue;
    for (const std::string& text : {full, name.repository}) {
      if (fnmatch(pattern.c_str(), text.c_str(), FNM_PATHNAME) == 0) return true;
    }
  }
  return false;
}

absl::StatusOr<bool> Matches(const ImageListOptions& options, const v1::Image& image) {
  const absl::Time created = CreatedAt(image);
  if (created >= options.created_before || created <= options.created_after) return false;
  if (options.filters.labels.empty()) return true;
  ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(image.config_json()),
                   _ << "config of image " << image.config().hash());
  for (const auto& [name, value] : options.filters.labels) {
    const auto label = config.config.labels.find(name);
    if (label == config.config.labels.end()) return false;
    if (value.has_value() && *value != label->second) return false;
  }
  return true;
}

std::string Command(const HistoryEntry& entry, bool truncate) {
  std::string text = absl::StrReplaceAll(entry.created_by, {{"\t", " "}, {"\n", " "}});
  text = HarmlessLine(text, false);
  return truncate ? TruncateToWidth(text, kCommandColumns) : text;
}

}  // namespace

absl::StatusOr<ImageFilters> ImageFilters::Parse(const std::vector<std::string>& texts) {
  ImageFilters filters;
  for (const std::string& text : texts) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(text, absl::MaxSplits('=', 1));
    const auto& [key, value] = pair;
    if (key == "reference" && !value.empty()) {
      filters.references.push_back(value);
    } else if (key == "dangling" && (value == "true" || value == "false")) {
      filters.dangling = value == "true";
    } else if (key == "label" && !value.empty()) {
      const size_t equals = value.find('=');
      filters.labels.emplace_back(
          value.substr(0, equals),
          equals == std::string::npos ? std::nullopt : std::optional(value.substr(equals + 1)));
    } else if (key == "before" && !value.empty()) {
      filters.before = value;
    } else if (key == "since" && !value.empty()) {
      filters.since = value;
    } else {
      return AsUsageError(absl::InvalidArgumentError(absl::StrCat(
          "--filter ", text, ": expected reference=PATTERN, label=NAME[=VALUE], before=IMAGE, ",
          "since=IMAGE, dangling=true or dangling=false")));
    }
  }
  return filters;
}

absl::Time CreatedAt(const v1::Image& image) {
  return absl::FromUnixSeconds(image.created().seconds()) +
         absl::Nanoseconds(image.created().nanos());
}

absl::StatusOr<std::string> ListImages(const v1::ListImagesResponse& images,
                                       const ImageListOptions& options, absl::Time now) {
  std::vector<Json> rows;
  for (const v1::Image& image : images.images()) {
    ASSIGN_OR_RETURN(const bool matches, Matches(options, image));
    if (!matches) continue;
    const absl::Time created = CreatedAt(image);
    for (const ImageName& name : NamesOf(image)) {
      if (!Matches(options.filters, name)) continue;
      rows.push_back({{"ID", ShownId(image.config().hash(), options.truncate)},
                      {"Repository", name.repository},
                      {"Tag", name.tag},
                      {"Digest", name.digest},
                      {"CreatedSince", Ago(created, now)},
                      {"CreatedAt", DateTime(created)},
                      {"Size", HumanSize(image.size_bytes())},
                      {"VirtualSize", HumanSize(image.size_bytes())},
                      {"Containers", "N/A"},
                      {"SharedSize", "N/A"},
                      {"UniqueSize", "N/A"}});
    }
  }
  const std::vector<ListingColumn> columns = {{"ID", "IMAGE ID"},
                                              {"Repository", "REPOSITORY"},
                                              {"Tag", "TAG"},
                                              {"Digest", "DIGEST"},
                                              {"CreatedSince", "CREATED"},
                                              {"CreatedAt", "CREATED AT"},
                                              {"Size", "SIZE"},
                                              {"VirtualSize", "SIZE"},
                                              {"Containers", "CONTAINERS"},
                                              {"SharedSize", "SHARED SIZE"},
                                              {"UniqueSize", "UNIQUE SIZE"}};
  const char* table =
      options.digests
          ? "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}"
          : "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
  return FormatListing(options.format, table, columns, rows);
}

absl::StatusOr<std::string> ListHistory(const v1::Image& image, const ImageListOptions& options,
                                        absl::Time now) {
  ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(image.config_json()),
                   _ << "config of the image");
  std::vector<Json> rows;
  int layer = 0;
  for (const HistoryEntry& entry : config.history) {
    int64_t size_bytes = 0;
    if (!entry.empty_layer && layer < image.layer_sizes_bytes_size()) {
      size_bytes = image.layer_sizes_bytes(layer++);
    }
    const std::string created_at =
        entry.created.has_value()
            ? absl::FormatTime(absl::RFC3339_sec, *entry.created, absl::LocalTimeZone())
            : "N/A";
    rows.push_back({{"ID", "<missing>"},
                    {"CreatedSince", options.human ? Ago(entry.created, now) : created_at},
                    {"CreatedAt", created_at},
                    {"CreatedBy", Command(entry, options.truncate)},
                    {"Size", options.human ? HumanSize(size_bytes) : absl::StrCat(size_bytes)},
                    {"Comment", HarmlessLine(entry.comment, false)}});
  }
  // Layers that the history does not speak of, as of images made by other tools.
  for (; layer < image.layer_sizes_bytes_size(); ++layer) {
    const int64_t size_bytes = image.layer_sizes_bytes(layer);
    rows.push_back({{"ID", "<missing>"},
                    {"CreatedSince", "N/A"},
                    {"CreatedAt", "N/A"},
                    {"CreatedBy", ""},
                    {"Size", options.human ? HumanSize(size_bytes) : absl::StrCat(size_bytes)},
                    {"Comment", ""}});
  }
  std::reverse(rows.begin(), rows.end());
  if (!rows.empty()) rows.front()["ID"] = ShownId(image.config().hash(), options.truncate);
  const std::vector<ListingColumn> columns = {
      {"ID", "IMAGE"},
      {"CreatedSince", options.human ? "CREATED" : "CREATED AT"},
      {"CreatedAt", "CREATED AT"},
      {"CreatedBy", "CREATED BY"},
      {"Size", "SIZE"},
      {"Comment", "COMMENT"}};
  return FormatListing(options.format,
                       "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
                       columns, rows);
}

absl::StatusOr<nlohmann::ordered_json> InspectJson(const v1::Image& image) {
  ASSIGN_OR_RETURN(const ImageConfig config, ParseImageConfig(image.config_json()),
                   _ << "config of the image");
  // Parsed without error above, so this can't fail; it keeps keys that ImageConfig does not know.
  const nlohmann::ordered_json raw = nlohmann::ordered_json::parse(image.config_json());
  nlohmann::ordered_json result;
  result["Id"] = "sha256:" + image.config().hash();
  result["RepoTags"] = std::vector<std::string>(image.tags().begin(), image.tags().end());
  result["RepoDigests"] =
      std::vector<std::string>(image.repo_digests().begin(), image.repo_digests().end());
  result["Parent"] = "";
  result["Comment"] = config.history.empty() ? "" : config.history.back().comment;
  result["Created"] =
      config.created.has_value()
          ? absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", *config.created, absl::UTCTimeZone())
          : "";
  result["Author"] = config.author;
  nlohmann::ordered_json inner =
      raw.contains("config") ? raw["config"] : nlohmann::ordered_json::object();
  // Docker writes these whether or not the image has them, and templates rely on it.
  for (const char* text : {"User", "WorkingDir"}) {
    if (!inner.contains(text)) inner[text] = "";
  }
  for (const char* nil : {"Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"}) {
    if (!inner.contains(nil)) inner[nil] = nullptr;
  }
  result["Config"] = std::move(inner);
  result["Architecture"] = config.platform.architecture;
  if (!config.platform.variant.empty()) result["Variant"] = config.platform.variant;
  result["Os"] = config.platform.os;
  result["Size"] = image.size_bytes();
  result["RootFS"] = {{"Type", "layers"}, {"Layers", config.diff_ids}};
  result["Metadata"] = {{"Manifest", "sha256:" + image.manifest().hash()}};
  return result;
}

}  // namespace farm
