#include "cli/build_arguments.h"

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/suggestion.h"
#include "cli/exit_code.h"
#include "dockerfile/mount.h"
#include "plan/run_settings.h"

namespace farm {

const char* EnvironmentVariable(const std::string& name) { return std::getenv(name.c_str()); }

absl::StatusOr<v1::HostAlias> ParseAddHost(const std::string& text) {
  const size_t at = text.find_first_of(":=");
  if (at == 0 || at == std::string::npos || at + 1 == text.size()) {
    return absl::InvalidArgumentError(absl::StrCat("--add-host ", text, ": expected HOST:IP"));
  }
  std::string address = text.substr(at + 1);
  if (address == "host-gateway") {
    return absl::InvalidArgumentError(
        "--add-host: host-gateway is not known here; name the address");
  }
  if (address.front() == '[' && address.back() == ']') {
    address = address.substr(1, address.size() - 2);
  }
  v1::HostAlias host;
  host.set_name(text.substr(0, at));
  host.set_address(address);
  RETURN_IF_ERROR(CheckExtraHost(host)) << "--add-host " << text;
  return host;
}

absl::StatusOr<v1::Ulimit> ParseUlimit(const std::string& text) {
  const std::pair<std::string, std::string> named = absl::StrSplit(text, absl::MaxSplits('=', 1));
  const std::vector<std::string> values = absl::StrSplit(named.second, ':');
  int64_t soft = 0;
  int64_t hard = 0;
  if (values.size() > 2 || !absl::SimpleAtoi(values.front(), &soft) ||
      !absl::SimpleAtoi(values.back(), &hard)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--ulimit ", text, ": expected NAME=SOFT[:HARD], as in nofile=1024:2048"));
  }
  v1::Ulimit ulimit;
  ulimit.set_name(named.first);
  ulimit.set_soft(soft);
  ulimit.set_hard(hard);
  RETURN_IF_ERROR(CheckUlimit(ulimit)) << "--ulimit " << text;
  return ulimit;
}

absl::StatusOr<int64_t> ParseShmSize(const std::string& text) {
  const std::optional<int64_t> bytes = ParseRamBytes(text);
  if (bytes.has_value()) return *bytes;
  return absl::InvalidArgumentError(
      absl::StrCat("--shm-size ", text, ": expected a size, as in 128m or 1g"));
}

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
