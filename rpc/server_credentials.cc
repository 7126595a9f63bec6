#include "rpc/server_credentials.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "proto/farm/v1/config.pb.h"
#include "rpc/address.h"
#include "rpc/auth.h"
#include "rpc/channel.h"

namespace farm {
namespace {

constexpr int kCertificateRefreshSeconds = 30;
constexpr int64_t kPemBytesMax = 4 << 20;

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeTlsCredentials(
    const v1::TlsServerConfig& tls) {
  if (tls.certificate_file().empty() || tls.key_file().empty()) {
    return absl::InvalidArgumentError("tls: certificate_file and key_file are both needed");
  }
  // The provider below says nothing about a file that it can't read: ask here.
  for (const std::string& path : {tls.certificate_file(), tls.key_file(), tls.client_ca_file()}) {
    if (path.empty()) continue;
    RETURN_IF_ERROR(ReadFile(path, kPemBytesMax).status()) << "tls";
  }
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          tls.key_file(), tls.certificate_file(), tls.client_ca_file(),
          kCertificateRefreshSeconds));
  options.watch_identity_key_cert_pairs();
  if (tls.client_ca_file().empty()) {
    options.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  } else {
    // Not required: a caller may come with a token instead. The Authenticator wants one of both.
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

bool IsSet(const v1::TlsServerConfig& tls) {
  return !tls.certificate_file().empty() || !tls.key_file().empty() ||
         !tls.client_ca_file().empty();
}

// Says if somebody accepts connections at a unix socket. What is no socket, or nobody's any more,
// is for bind() to judge.
bool IsServed(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return false;
  std::memcpy(address.sun_path, path.data(), path.size());
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return fd.valid() &&
         connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

}  // namespace

void ConfigureServer(grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  builder.SetMaxSendMessageSize(kMessageBytesMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  // Clients ping every 20 s, also between calls; that is no abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  // Two coordinators on one port would share the calls between them.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

absl::Status AddListener(grpc::ServerBuilder& builder, const std::string& address_text,
                         const v1::TlsServerConfig& tls, const Authenticator& authenticator,
                         int* bound_port) {
  ASSIGN_OR_RETURN(const Address address, ParseAddress(address_text), _ << "listen");
  // gRPC removes a socket's file before it binds, whoever listens there.
  if (address.reach == Address::Reach::kUnixSocket &&
      IsServed(std::string(absl::StripPrefix(address.target, "unix:")))) {
    return absl::UnavailableError(
        absl::StrCat("listen ", address_text, ": another program listens there"));
  }
  const bool use_tls = IsSet(tls) && address.reach != Address::Reach::kUnixSocket;
  if (address.reach == Address::Reach::kNetwork && !(use_tls && authenticator.anyone_enrolled())) {
    return absl::FailedPreconditionError(
        absl::StrCat("listen ", address_text, ": others can reach it, so it needs ",
                     use_tls ? "enrolled clients and workers (\"clients\", \"workers\")"
                             : "TLS (\"tls\") and enrolled clients and workers",
                     "; without them listen on a unix socket or 127.0.0.1"));
  }
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials();
  if (use_tls) {
    ASSIGN_OR_RETURN(credentials, MakeTlsCredentials(tls));
  }
  builder.AddListeningPort(address.target, credentials, bound_port);
  return absl::OkStatus();
}

}  // namespace farm
