#include "oci/json_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// How deep arrays and objects nest; strings are skipped. Counts beyond the first fault in the
// document too, which does no harm.
int NestingDepth(absl::string_view json) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

absl::string_view TypeName(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  if (value.is_string()) return "a string";
  if (value.is_number()) return "a number";
  if (value.is_boolean()) return "true or false";
  return "null";
}

}  // namespace

JsonReader::JsonReader(std::shared_ptr<const nlohmann::json> root, const nlohmann::json* value,
                       std::string path)
    : root_(std::move(root)), value_(value), path_(std::move(path)) {}

absl::StatusOr<JsonReader> JsonReader::Parse(absl::string_view json, int64_t bytes_max,
                                             absl::string_view what) {
  if (static_cast<int64_t>(json.size()) > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": ", json.size(), " bytes; at most ", bytes_max, " are read"));
  }
  if (NestingDepth(json) > kDepthMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat(what, ": values nest deeper than ", kDepthMax));
  }
  auto root = std::make_shared<nlohmann::json>(
      nlohmann::json::parse(json.begin(), json.end(), nullptr, /*allow_exceptions=*/false));
  if (root->is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not a JSON document"));
  }
  const nlohmann::json* value = root.get();
  return JsonReader(std::move(root), value, absl::StrCat(what, ": "));
}

bool JsonReader::has_value() const { return value_ != nullptr && !value_->is_null(); }

JsonReader JsonReader::operator[](absl::string_view key) const {
  std::string path = absl::StrCat(path_, path_.empty() || path_.back() == ' ' ? "" : ".", key);
  const nlohmann::json* member = nullptr;
  if (value_ != nullptr && value_->is_object()) {
    const auto found = value_->find(std::string(key));
    if (found != value_->end()) member = &*found;
  }
  return JsonReader(root_, member, std::move(path));
}

absl::Status JsonReader::ExpectObject() const {
  return !has_value() || value_->is_object() ? absl::OkStatus() : Expected("an object");
}

absl::StatusOr<std::string> JsonReader::String() const {
  if (!has_value()) return "";
  if (!value_->is_string()) return Expected("a string");
  return value_->get<std::string>();
}

absl::StatusOr<int64_t> JsonReader::Int() const {
  if (!has_value()) return 0;
  if (value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX) {
    return Error("the number is too large");
  }
  if (!value_->is_number_integer()) return Expected("a whole number");
  return value_->get<int64_t>();
}

absl::StatusOr<bool> JsonReader::Bool() const {
  if (!has_value()) return false;
  if (!value_->is_boolean()) return Expected("true or false");
  return value_->get<bool>();
}

absl::StatusOr<std::vector<JsonReader>> JsonReader::Array(int64_t entries_max) const {
  std::vector<JsonReader> result;
  if (!has_value()) return result;
  if (!value_->is_array()) return Expected("an array");
  if (static_cast<int64_t>(value_->size()) > entries_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path_, ": ", value_->size(), " entries; at most ", entries_max, " are read"));
  }
  for (const nlohmann::json& entry : *value_) {
    result.push_back(JsonReader(root_, &entry, absl::StrCat(path_, "[", result.size(), "]")));
  }
  return result;
}

absl::StatusOr<std::vector<std::pair<std::string, JsonReader>>> JsonReader::Members(
    int64_t entries_max) const {
  std::vector<std::pair<std::string, JsonReader>> result;
  if (!has_value()) return result;
  if (!value_->is_object()) return Expected("an object");
  if (static_cast<int64_t>(value_->size()) > entries_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path_, ": ", value_->size(), " members; at most ", entries_max, " are read"));
  }
  for (const auto& [key, member] : value_->items()) {
    result.emplace_back(key, JsonReader(root_, &member, absl::StrCat(path_, "[\"", key, "\"]")));
  }
  return result;
}

absl::StatusOr<std::vector<std::string>> JsonReader::Strings() const {
  ASSIGN_OR_RETURN(const std::vector<JsonReader> entries, Array());
  std::vector<std::string> result;
  for (const JsonReader& entry : entries) {
    if (!entry.has_value()) return entry.Expected("a string");
    ASSIGN_OR_RETURN(std::string text, entry.String());
    result.push_back(std::move(text));
  }
  return result;
}

absl::StatusOr<std::map<std::string, std::string>> JsonReader::StringMap(
    int64_t entries_max) const {
  ASSIGN_OR_RETURN(const auto members, Members(entries_max));
  std::map<std::string, std::string> result;
  for (const auto& [key, member] : members) {
    ASSIGN_OR_RETURN(result[key], member.String());
  }
  return result;
}

absl::Status JsonReader::Error(absl::string_view message) const {
  const bool at_root = !path_.empty() && path_.back() == ' ';
  return absl::InvalidArgumentError(absl::StrCat(path_, at_root ? "" : ": ", message));
}

absl::Status JsonReader::Expected(absl::string_view type) const {
  return Error(absl::StrCat("expected ", type, ", found ",
                            value_ == nullptr ? "nothing" : TypeName(*value_)));
}

std::string DumpJsonLikeGo(const nlohmann::ordered_json& json, int indent) {
  // Outside of strings none of these occurs in JSON, so the whole text can be replaced in.
  return absl::StrReplaceAll(
      json.dump(indent, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace),
      {{"<", "\\u003c"},
       {">", "\\u003e"},
       {"&", "\\u0026"},
       {"\xE2\x80\xA8", "\\u2028"},
       {"\xE2\x80\xA9", "\\u2029"}});
}

}  // namespace farm
