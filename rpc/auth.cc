#include "rpc/auth.h"

#include <grpcpp/security/auth_context.h>
#include <grpcpp/server_context.h>

#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "proto/farm/v1/config.pb.h"

namespace farm {
namespace {

constexpr char kDefaultDomain[] = "main";
constexpr char kLocalName[] = "local";

Role OtherRole(Role role) { return role == Role::kClient ? Role::kWorker : Role::kClient; }
const char* RoleName(Role role) { return role == Role::kClient ? "client" : "worker"; }

// The token of the call, "" if it has none.
std::string BearerToken(const grpc::ServerContextBase& context) {
  const auto it = context.client_metadata().find("authorization");
  if (it == context.client_metadata().end()) return "";
  absl::string_view header(it->second.data(), it->second.size());
  if (!absl::StartsWithIgnoreCase(header, "bearer ")) return "";
  header.remove_prefix(7);
  return std::string(absl::StripAsciiWhitespace(header));
}

// Common name of a verified client certificate, "" if there is none.
std::string CommonName(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth == nullptr || !auth->IsPeerAuthenticated()) return "";
  const std::vector<grpc::string_ref> names = auth->FindPropertyValues("x509_common_name");
  return names.empty() ? "" : std::string(names.front().data(), names.front().size());
}

}  // namespace

absl::StatusOr<Authenticator> Authenticator::Make(const v1::CoordinatorConfig& config) {
  Authenticator out;
  for (const Role role : {Role::kClient, Role::kWorker}) {
    for (const auto& entry : role == Role::kClient ? config.clients() : config.workers()) {
      const std::string what = absl::StrCat(RoleName(role), " \"", entry.name(), "\"");
      if (entry.name().empty()) {
        return absl::InvalidArgumentError(absl::StrCat(what, ": an enrolled one needs a name"));
      }
      if (entry.name() == kLocalName || absl::StrContains(entry.name(), '/')) {
        return absl::InvalidArgumentError(absl::StrCat(
            what, ": a name has no slash, and \"", kLocalName,
            "\" stands for callers that were not asked for credentials: choose another"));
      }
      if (role == Role::kWorker && !entry.domain().empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(what, ": a domain is for clients; workers run the steps of all domains"));
      }
      if (entry.token_sha256().empty() && entry.common_name().empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(what, ": set token_sha256, common_name or both"));
      }
      const Caller caller{entry.name(), role,
                          entry.domain().empty() ? kDefaultDomain : entry.domain()};
      bool fresh = true;
      if (!entry.token_sha256().empty()) {
        const std::string hex = absl::AsciiStrToLower(entry.token_sha256());
        RETURN_IF_ERROR(Digest::FromHex(hex, 0).status()) << what << ": token_sha256";
        fresh = out.by_token_.emplace(Entry{role, hex}, caller).second;
      }
      if (!entry.common_name().empty()) {
        fresh =
            out.by_common_name_.emplace(Entry{role, entry.common_name()}, caller).second && fresh;
      }
      if (!fresh) {
        return absl::InvalidArgumentError(
            absl::StrCat(what, ": another ", RoleName(role), " has the same credentials"));
      }
    }
  }
  return out;
}

absl::StatusOr<Caller> Authenticator::Authenticate(const grpc::ServerContextBase& context,
                                                   Role role) const {
  const std::string token = BearerToken(context);
  const std::string common_name = CommonName(context);
  // Looked up by digest: how long it takes says nothing about the token.
  const std::string token_hex = token.empty() ? "" : DigestOf(token).hex();
  bool other_role = false;
  for (const auto& [entries, credential] :
       {std::pair(&by_token_, &token_hex), std::pair(&by_common_name_, &common_name)}) {
    if (credential->empty()) continue;
    if (const auto it = entries->find(Entry{role, *credential}); it != entries->end()) {
      return it->second;
    }
    other_role = other_role || entries->contains(Entry{OtherRole(role), *credential});
  }
  if (other_role) {
    return absl::PermissionDeniedError(
        absl::StrCat("enrolled as ", RoleName(OtherRole(role)), ", not as ", RoleName(role)));
  }
  const bool over_unix_socket = absl::StartsWith(context.peer(), "unix:");
  if (token.empty() && common_name.empty() && (over_unix_socket || !anyone_enrolled())) {
    return Caller{kLocalName, role, kDefaultDomain};
  }
  return absl::UnauthenticatedError(
      token.empty() && common_name.empty()
          ? "no credentials: this farm wants a token or a client certificate"
          : "unknown token or client certificate");
}

}  // namespace farm
