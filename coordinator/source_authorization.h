#ifndef FARM_COORDINATOR_SOURCE_AUTHORIZATION_H_
#define FARM_COORDINATOR_SOURCE_AUTHORIZATION_H_

#include <string>

#include "absl/status/statusor.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "plan/plan.h"
#include "proto/farm/v1/step.pb.h"

namespace farm {

// Of the secrets that authorise requests, all bytes.
inline constexpr size_t kAuthorizationBytesMax = 16 << 10;

// The value of the header Authorization for what ADD or a context names, of a build's secrets; ""
// if there is none for it. Their names are BuildKit's, and the first that is there counts:
//   a file  HTTP_AUTH_TOKEN_HOST, a bearer token; HTTP_AUTH_HEADER_HOST, the value itself
//   git     GIT_AUTH_HEADER.HOST, the value itself; GIT_AUTH_TOKEN.HOST, the password of the user
//           x-access-token; then the same without .HOST, for any host
// HOST is without port for a file; with it, as the URL has it, or without for git. White space
// around a value is dropped.
//   INVALID_ARGUMENT  a value that can stand in no header, or is over kAuthorizationBytesMax
absl::StatusOr<std::string> SourceAuthorization(
    const RemoteSource& source, const google::protobuf::RepeatedPtrField<v1::SecretValue>& secrets);

}  // namespace farm

#endif  // FARM_COORDINATOR_SOURCE_AUTHORIZATION_H_
