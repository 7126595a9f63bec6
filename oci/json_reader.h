// JSON documents from outside: bounded, typed, and with the place of a fault in each error.
#ifndef FARM_OCI_JSON_READER_H_
#define FARM_OCI_JSON_READER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace farm {

// A value in a document, or its absence. All errors are INVALID_ARGUMENT unless said otherwise, and
// begin with the value's path ("image config: config.Env[3]: expected a string, found a number").
class JsonReader {
 public:
  static constexpr int kDepthMax = 64;
  static constexpr int64_t kListEntriesMax = 16 << 10;  // Of one array or object.

  // `what` names the document in errors. RESOURCE_EXHAUSTED over `bytes_max` or kDepthMax.
  static absl::StatusOr<JsonReader> Parse(absl::string_view json, int64_t bytes_max,
                                          absl::string_view what);

  bool has_value() const;  // Neither missing nor null.

  // The member `key` of an object; a reader without value if this is none or lacks it. Whether it
  // is an object is checked by Members() or ExpectObject().
  JsonReader operator[](absl::string_view key) const;
  absl::Status ExpectObject() const;  // OK also without value.

  // What stands here; the empty value if nothing does.
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<int64_t> Int() const;
  absl::StatusOr<bool> Bool() const;
  // RESOURCE_EXHAUSTED over `entries_max`.
  absl::StatusOr<std::vector<JsonReader>> Array(int64_t entries_max = kListEntriesMax) const;
  absl::StatusOr<std::vector<std::pair<std::string, JsonReader>>> Members(
      int64_t entries_max = kListEntriesMax) const;
  absl::StatusOr<std::vector<std::string>> Strings() const;
  absl::StatusOr<std::map<std::string, std::string>> StringMap(
      int64_t entries_max = kListEntriesMax) const;

  absl::Status Error(absl::string_view message) const;

 private:
  JsonReader(std::shared_ptr<const nlohmann::json> root, const nlohmann::json* value,
             std::string path);
  absl::Status Expected(absl::string_view type) const;

  std::shared_ptr<const nlohmann::json> root_;
  const nlohmann::json* value_;  // Null: missing.
  std::string path_;
};

// `json` on one line, or indented by `indent` if it is not negative, escaped as Go's encoder does
// it: also <, >, & and the line separators U+2028 and U+2029. Bytes that are no UTF-8 become
// U+FFFD.
std::string DumpJsonLikeGo(const nlohmann::ordered_json& json, int indent = -1);

}  // namespace farm

#endif  // FARM_OCI_JSON_READER_H_
