#include "oci/image_config.h"

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_macros.h"
#include "oci/json_reader.h"

namespace farm {
namespace {

constexpr char kTimeFormat[] = "%E4Y-%m-%dT%H:%M:%E*SZ";  // As Go's RFC3339Nano.

absl::StatusOr<std::optional<absl::Time>> ReadTime(const JsonReader& json) {
  if (!json.has_value()) return std::nullopt;
  ASSIGN_OR_RETURN(const std::string text, json.String());
  absl::Time time;
  std::string error;
  const bool parsed = absl::ParseTime(absl::RFC3339_full, text, &time, &error);
  // Years of four digits: what SerializeImageConfig can write and Go can read again.
  if (!parsed || time < absl::FromCivil(absl::CivilYear(0), absl::UTCTimeZone()) ||
      time >= absl::FromCivil(absl::CivilYear(10000), absl::UTCTimeZone())) {
    return json.Error("expected a time like 2006-01-02T15:04:05Z");
  }
  return absl::UnixEpoch() + absl::Floor(time - absl::UnixEpoch(), absl::Nanoseconds(1));
}

absl::StatusOr<absl::Duration> ReadNanoseconds(const JsonReader& json) {
  ASSIGN_OR_RETURN(const int64_t nanoseconds, json.Int());
  return absl::Nanoseconds(nanoseconds);
}

// Go's map[string]struct{}: only the keys say something.
absl::StatusOr<std::set<std::string>> ReadKeys(const JsonReader& json) {
  ASSIGN_OR_RETURN(const auto members, json.Members());
  std::set<std::string> result;
  for (const auto& [key, value] : members) result.insert(key);
  return result;
}

absl::StatusOr<Healthcheck> ReadHealthcheck(const JsonReader& json) {
  RETURN_IF_ERROR(json.ExpectObject());
  Healthcheck result;
  ASSIGN_OR_RETURN(result.test, json["Test"].Strings());
  ASSIGN_OR_RETURN(result.interval, ReadNanoseconds(json["Interval"]));
  ASSIGN_OR_RETURN(result.timeout, ReadNanoseconds(json["Timeout"]));
  ASSIGN_OR_RETURN(result.start_period, ReadNanoseconds(json["StartPeriod"]));
  ASSIGN_OR_RETURN(result.start_interval, ReadNanoseconds(json["StartInterval"]));
  ASSIGN_OR_RETURN(result.retries, json["Retries"].Int());
  return result;
}

absl::StatusOr<ContainerConfig> ReadContainerConfig(const JsonReader& json) {
  RETURN_IF_ERROR(json.ExpectObject());
  ContainerConfig result;
  ASSIGN_OR_RETURN(result.user, json["User"].String());
  ASSIGN_OR_RETURN(result.exposed_ports, ReadKeys(json["ExposedPorts"]));
  ASSIGN_OR_RETURN(result.env, json["Env"].Strings());
  ASSIGN_OR_RETURN(result.entrypoint, json["Entrypoint"].Strings());
  ASSIGN_OR_RETURN(result.cmd, json["Cmd"].Strings());
  ASSIGN_OR_RETURN(result.volumes, ReadKeys(json["Volumes"]));
  ASSIGN_OR_RETURN(result.working_dir, json["WorkingDir"].String());
  ASSIGN_OR_RETURN(result.labels, json["Labels"].StringMap());
  ASSIGN_OR_RETURN(result.stop_signal, json["StopSignal"].String());
  ASSIGN_OR_RETURN(result.args_escaped, json["ArgsEscaped"].Bool());
  if (const JsonReader healthcheck = json["Healthcheck"]; healthcheck.has_value()) {
    ASSIGN_OR_RETURN(result.healthcheck, ReadHealthcheck(healthcheck));
  }
  ASSIGN_OR_RETURN(result.on_build, json["OnBuild"].Strings());
  ASSIGN_OR_RETURN(result.shell, json["Shell"].Strings());
  return result;
}

absl::StatusOr<HistoryEntry> ReadHistoryEntry(const JsonReader& json) {
  RETURN_IF_ERROR(json.ExpectObject());
  HistoryEntry result;
  ASSIGN_OR_RETURN(result.created, ReadTime(json["created"]));
  ASSIGN_OR_RETURN(result.created_by, json["created_by"].String());
  ASSIGN_OR_RETURN(result.author, json["author"].String());
  ASSIGN_OR_RETURN(result.comment, json["comment"].String());
  ASSIGN_OR_RETURN(result.empty_layer, json["empty_layer"].Bool());
  return result;
}

absl::StatusOr<std::vector<std::string>> ReadDiffIds(const JsonReader& rootfs) {
  RETURN_IF_ERROR(rootfs.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, rootfs["type"].String());
  if (!type.empty() && type != "layers") return rootfs["type"].Error("expected \"layers\"");
  ASSIGN_OR_RETURN(const std::vector<JsonReader> entries,
                   rootfs["diff_ids"].Array(kImageLayersMax));
  std::vector<std::string> result;
  for (const JsonReader& entry : entries) {
    ASSIGN_OR_RETURN(std::string diff_id, entry.String());
    if (!Digest::FromOci(diff_id, 0).ok()) return entry.Error("expected a digest, sha256:HEX");
    result.push_back(std::move(diff_id));
  }
  return result;
}

using Json = nlohmann::ordered_json;

std::string TimeText(absl::Time time) {
  return absl::FormatTime(kTimeFormat, time, absl::UTCTimeZone());
}

void PutString(absl::string_view key, const std::string& value, Json& object) {
  if (!value.empty()) object[std::string(key)] = value;
}

void PutList(absl::string_view key, const std::vector<std::string>& value, Json& object) {
  if (!value.empty()) object[std::string(key)] = value;
}

void PutKeys(absl::string_view key, const std::set<std::string>& value, Json& object) {
  for (const std::string& entry : value) object[std::string(key)][entry] = Json::object();
}

void PutNanoseconds(absl::string_view key, absl::Duration value, Json& object) {
  if (value != absl::ZeroDuration()) object[std::string(key)] = absl::ToInt64Nanoseconds(value);
}

Json ToJson(const Healthcheck& healthcheck) {
  Json json = Json::object();
  PutList("Test", healthcheck.test, json);
  PutNanoseconds("Interval", healthcheck.interval, json);
  PutNanoseconds("Timeout", healthcheck.timeout, json);
  PutNanoseconds("StartPeriod", healthcheck.start_period, json);
  PutNanoseconds("StartInterval", healthcheck.start_interval, json);
  if (healthcheck.retries != 0) json["Retries"] = healthcheck.retries;
  return json;
}

Json ToJson(const ContainerConfig& config) {
  Json json = Json::object();
  PutString("User", config.user, json);
  PutKeys("ExposedPorts", config.exposed_ports, json);
  PutList("Env", config.env, json);
  PutList("Entrypoint", config.entrypoint, json);
  PutList("Cmd", config.cmd, json);
  PutKeys("Volumes", config.volumes, json);
  PutString("WorkingDir", config.working_dir, json);
  if (!config.labels.empty()) json["Labels"] = config.labels;
  PutString("StopSignal", config.stop_signal, json);
  if (config.args_escaped) json["ArgsEscaped"] = true;
  if (config.healthcheck.has_value()) json["Healthcheck"] = ToJson(*config.healthcheck);
  PutList("OnBuild", config.on_build, json);
  PutList("Shell", config.shell, json);
  return json;
}

Json ToJson(const HistoryEntry& entry) {
  Json json = Json::object();
  if (entry.created.has_value()) json["created"] = TimeText(*entry.created);
  PutString("created_by", entry.created_by, json);
  PutString("author", entry.author, json);
  PutString("comment", entry.comment, json);
  if (entry.empty_layer) json["empty_layer"] = true;
  return json;
}

}  // namespace

absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view text) {
  ASSIGN_OR_RETURN(const JsonReader json,
                   JsonReader::Parse(text, kImageConfigBytesMax, "image config"));
  if (!json.has_value()) return json.Error("expected an object");
  RETURN_IF_ERROR(json.ExpectObject());
  ImageConfig result;
  ASSIGN_OR_RETURN(result.created, ReadTime(json["created"]));
  ASSIGN_OR_RETURN(result.author, json["author"].String());
  ASSIGN_OR_RETURN(result.platform.os, json["os"].String());
  ASSIGN_OR_RETURN(result.platform.architecture, json["architecture"].String());
  ASSIGN_OR_RETURN(result.platform.variant, json["variant"].String());
  ASSIGN_OR_RETURN(result.platform.os_version, json["os.version"].String());
  ASSIGN_OR_RETURN(result.platform.os_features, json["os.features"].Strings());
  ASSIGN_OR_RETURN(result.config, ReadContainerConfig(json["config"]));
  ASSIGN_OR_RETURN(result.diff_ids, ReadDiffIds(json["rootfs"]));
  ASSIGN_OR_RETURN(const std::vector<JsonReader> history,
                   json["history"].Array(kImageHistoryEntriesMax));
  for (const JsonReader& entry : history) {
    ASSIGN_OR_RETURN(HistoryEntry parsed, ReadHistoryEntry(entry));
    result.history.push_back(std::move(parsed));
  }
  return result;
}

std::string SerializeImageConfig(const ImageConfig& config) {
  Json json = Json::object();
  json["architecture"] = config.platform.architecture;
  PutString("author", config.author, json);
  json["config"] = ToJson(config.config);
  if (config.created.has_value()) json["created"] = TimeText(*config.created);
  Json history = Json::array();
  for (const HistoryEntry& entry : config.history) history.push_back(ToJson(entry));
  json["history"] = std::move(history);
  json["os"] = config.platform.os;
  PutList("os.features", config.platform.os_features, json);
  PutString("os.version", config.platform.os_version, json);
  json["rootfs"]["type"] = "layers";
  json["rootfs"]["diff_ids"] = config.diff_ids;
  PutString("variant", config.platform.variant, json);
  return DumpJsonLikeGo(json);
}

}  // namespace farm
