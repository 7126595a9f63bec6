#ifndef FARM_RPC_AUTH_H_
#define FARM_RPC_AUTH_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace grpc {
class ServerContextBase;
}  // namespace grpc

namespace farm::v1 {
class CoordinatorConfig;
}  // namespace farm::v1

namespace farm {

enum class Role { kClient, kWorker };

// Who calls, as the configuration knows them.
struct Caller {
  std::string name;  // as enrolled; "local" for who was not asked for credentials
  Role role = Role::kClient;
  std::string domain;  // trust domain
};

// Knows who is enrolled. Immutable, so safe for concurrent calls.
class Authenticator {
 public:
  // INVALID_ARGUMENT: an entry without a name or without credentials, a name with a slash or
  // "local", a worker with a domain, a token digest that is not 64 hex digits, or credentials that
  // two entries of one role share.
  static absl::StatusOr<Authenticator> Make(const v1::CoordinatorConfig& config);

  // The caller in `role`. Credentials are a token ("authorization: Bearer TOKEN") or the common
  // name of a client certificate that the configured CA signed. A call over a unix socket needs
  // none: who may open the socket's file is local. Nor does one over loopback if nobody is
  // enrolled.
  //   UNAUTHENTICATED    no credentials, or unknown ones
  //   PERMISSION_DENIED  known, but enrolled in the other role only
  absl::StatusOr<Caller> Authenticate(const grpc::ServerContextBase& context, Role role) const;

  bool anyone_enrolled() const { return !by_token_.empty() || !by_common_name_.empty(); }

 private:
  struct Entry {
    Role role;
    std::string credential;  // token digest in hex, or common name
    friend auto operator<=>(const Entry&, const Entry&) = default;
  };

  std::map<Entry, Caller> by_token_;
  std::map<Entry, Caller> by_common_name_;
};

}  // namespace farm

#endif  // FARM_RPC_AUTH_H_
