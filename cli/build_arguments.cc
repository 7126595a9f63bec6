#include "cli/build_arguments.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "cli/exit_code.h"

namespace farm {

const char* EnvironmentVariable(const std::string& name) { return std::getenv(name.c_str()); }

absl::Status CheckEntitlement(const std::string& text) {
  static const std::vector<std::string> known = {"network.host", "security.insecure"};
  if (std::find(known.begin(), known.end(), text) != known.end()) return absl::OkStatus();
  const std::string meant = ClosestMatch(text, known);
  return absl::InvalidArgumentError(
      absl::StrCat("--allow ", text, ": expected network.host or security.insecure",
                   meant.empty() ? "" : absl::StrCat("; did you mean ", meant, "?")));
}

absl::StatusOr<v1::SecretValue> ReadSecret(absl::string_view text) {
  const auto error = [text](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("--secret ", text, ": ", what,
                                                   " (expected id=ID,src=FILE or id=ID,env=NAME)"));
  };
  std::string id, file, variable, type;
  for (const absl::string_view field : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(field, absl::MaxSplits('=', 1));
    if (pair.first == "id") {
      id = pair.second;
    } else if (pair.first == "src" || pair.first == "source") {
      file = pair.second;
    } else if (pair.first == "env") {
      variable = pair.second;
    } else if (pair.first == "type" && (pair.second == "file" || pair.second == "env")) {
      type = pair.second;
    } else {
      return error(absl::StrCat("unknown field '", field, "'"));
    }
  }
  if (id.empty()) return error("the id is missing");
  if (!file.empty() && !variable.empty()) return error("a secret is a file or a variable");
  if (type == "env" && variable.empty()) std::swap(file, variable);
  if (file.empty() && variable.empty()) {
    (EnvironmentVariable(id) != nullptr && type != "file" ? variable : file) = id;
  }
  v1::SecretValue secret;
  secret.set_id(id);
  if (!variable.empty()) {
    const char* value = EnvironmentVariable(variable);
    if (value == nullptr) {
      return AsLocalError(absl::NotFoundError(
          absl::StrCat("--secret ", text, ": the variable ", variable, " is not set")));
    }
    secret.set_value(value);
  } else {
    ASSIGN_OR_RETURN(std::string value, ReadFile(file, kSecretBytesMax),
                     AsLocalError(_ << "--secret " << text));
    secret.set_value(std::move(value));
  }
  if (static_cast<int64_t>(secret.value().size()) > kSecretBytesMax) {
    return AsLocalError(absl::ResourceExhaustedError(
        absl::StrCat("--secret id=", id, ": more than ", kSecretBytesMax, " bytes")));
  }
  return secret;
}

}  // namespace farm
