// Configuration files: YAML whose keys are the field names of a protobuf message.
//
//   v1::WorkerConfig config;
//   RETURN_IF_ERROR(LoadConfigFile("/etc/farm/worker.yaml", config));
//
// A duration is written "30s" or "1h30m", an enum value by its name without the enum's prefix, in
// any case ("host" for NETWORK_MODE_HOST) or in full.
#ifndef FARM_BASE_CONFIG_FILE_H_
#define FARM_BASE_CONFIG_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace google::protobuf {
class Message;
}  // namespace google::protobuf

namespace farm {

// Sets the fields of `message` that `yaml` has; others stay. `file` is named in errors.
//   INVALID_ARGUMENT  at file:line:column (base/source_position.h): no YAML, an unknown field (with
//   a
//                     suggestion), a field that is there twice, a value of another type
absl::Status ParseConfig(absl::string_view yaml, const std::string& file,
                         google::protobuf::Message& message);

// The same for a file. NOT_FOUND, PERMISSION_DENIED; RESOURCE_EXHAUSTED if it is over 1 MiB.
absl::Status LoadConfigFile(const std::string& path, google::protobuf::Message& message);

// For what ParseConfig() does not know: errors in what a field says begin with its path, as in
// "storage.grace: it is under 10s". Such an `error` with the place of the value in the file `path`
// before it; unchanged if the file does not set the field.
absl::Status AtItsField(const absl::Status& error, const std::string& path);

// A file that ParseConfig() reads back as `message`: fields that are unset or zero are left out.
std::string ConfigToYaml(const google::protobuf::Message& message);

// Says of `status`, an error of a part that was made with the settings, that they are at fault and
// not the machine: a certificate that is not there, a token that is none.
absl::Status AsConfigError(absl::Status status);
bool IsConfigError(const absl::Status& status);

}  // namespace farm

#endif  // FARM_BASE_CONFIG_FILE_H_
