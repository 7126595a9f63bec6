#ifndef FARM_CLI_BUILD_ARGUMENTS_H_
#define FARM_CLI_BUILD_ARGUMENTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// A variable of this process' environment; null if it is not set.
const char* EnvironmentVariable(const std::string& name);

// Sets `pairs` (a map of strings) from texts "NAME=value". `NAME` alone takes its value from the
// environment and is left out if there is none; without `from_environment` it is empty.
// INVALID_ARGUMENT names `flag`.
template <typename Map>
absl::Status AddPairs(absl::string_view flag, const std::vector<std::string>& texts,
                      bool from_environment, Map& pairs) {
  for (const std::string& text : texts) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    if (name.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(flag, " ", text, ": expected NAME=VALUE"));
    }
    if (equals != std::string::npos) {
      pairs[name] = text.substr(equals + 1);
    } else if (!from_environment) {
      pairs[name] = "";
    } else if (const char* value = EnvironmentVariable(name); value != nullptr) {
      pairs[name] = value;
    }
  }
  return absl::OkStatus();
}

// Reads one --add-host, "HOST:IP" or "HOST=IP", an IPv6 address with or without brackets; one
// --ulimit, "NAME=SOFT[:HARD]" with -1 for unlimited; and a --shm-size. INVALID_ARGUMENT names the
// flag and what is wrong.
absl::StatusOr<v1::HostAlias> ParseAddHost(const std::string& text);
absl::StatusOr<v1::Ulimit> ParseUlimit(const std::string& text);
absl::StatusOr<int64_t> ParseShmSize(const std::string& text);

// INVALID_ARGUMENT, naming those that there are, for a value that --allow does not take.
absl::Status CheckEntitlement(const std::string& text);

// What BuildKit takes for a secret at most.
inline constexpr int64_t kSecretBytesMax = 500 << 10;

// Reads one --secret: "id=ID" with "src=FILE" or "env=NAME". With neither, the variable ID if it is
// set, else the file ID.
//   INVALID_ARGUMENT   an unknown key, no id
//   NOT_FOUND, ...     the file can't be read, the variable is not set; a local error (exit_code.h)
//   RESOURCE_EXHAUSTED over kSecretBytesMax; a local error
absl::StatusOr<v1::SecretValue> ReadSecret(absl::string_view text);

}  // namespace farm

#endif  // FARM_CLI_BUILD_ARGUMENTS_H_
