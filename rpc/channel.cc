#include "rpc/channel.h"

#include <grpcpp/channel.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/client_interceptor.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/byte_stream.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "proto/farm/v1/config.pb.h"
#include "rpc/address.h"

namespace farm {
namespace {

constexpr int64_t kPemBytesMax = 4 << 20;
constexpr absl::Duration kReconnectionWait = absl::Seconds(1);
constexpr int64_t kTokenBytesMax = 4 << 10;

// Adds the token to each call. Not gRPC's call credentials: those refuse a channel without TLS, but
// a token is of use on loopback too.
class TokenInterceptor final : public grpc::experimental::Interceptor {
 public:
  explicit TokenInterceptor(const std::string& header) : header_(header) {}

  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    if (methods->QueryInterceptionHookPoint(
            grpc::experimental::InterceptionHookPoints::PRE_SEND_INITIAL_METADATA)) {
      methods->GetSendInitialMetadata()->emplace("authorization", header_);
    }
    methods->Proceed();
  }

 private:
  const std::string& header_;
};

class TokenInterceptorFactory final : public grpc::experimental::ClientInterceptorFactoryInterface {
 public:
  explicit TokenInterceptorFactory(absl::string_view token)
      : header_(absl::StrCat("Bearer ", token)) {}

  grpc::experimental::Interceptor* CreateClientInterceptor(
      grpc::experimental::ClientRpcInfo*) override {
    return new TokenInterceptor(header_);  // gRPC owns it.
  }

 private:
  const std::string header_;
};

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeCredentials(
    const Address& address, const v1::TlsClientConfig& tls) {
  const bool any_file =
      !tls.ca_file().empty() || !tls.certificate_file().empty() || !tls.key_file().empty();
  if (tls.certificate_file().empty() != tls.key_file().empty()) {
    return absl::InvalidArgumentError(
        "tls: certificate_file and key_file belong together, but only one is set");
  }
  if (!any_file && address.reach != Address::Reach::kNetwork) {
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions options;
  const std::pair<const std::string&, std::string&> files[] = {
      {tls.ca_file(), options.pem_root_certs},
      {tls.certificate_file(), options.pem_cert_chain},
      {tls.key_file(), options.pem_private_key},
  };
  for (const auto& [path, bytes] : files) {
    if (path.empty()) continue;
    ASSIGN_OR_RETURN(bytes, ReadFile(path, kPemBytesMax), _ << "tls");
  }
  return grpc::SslCredentials(options);
}

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMessageBytesMax);
  args.SetMaxSendMessageSize(kMessageBytesMax);
  args.SetInt(GRPC_ARG_MAX_METADATA_SIZE, kMetadataBytesMax);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // In spite of its name: how long a connection may take to be made, TLS included.
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10'000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetUserAgentPrefix(absl::StrCat("farm/", Version()));
  return args;
}

}  // namespace

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kTokenBytesMax), _ << "token file");
  const absl::string_view token = absl::StripAsciiWhitespace(bytes);
  // Anything else is not allowed in a header, and is hardly a token.
  for (const char c : token) {
    if (!absl::ascii_isgraph(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError(
          absl::StrCat("token file ", path, ": a token is one line of printable ASCII"));
    }
  }
  if (token.empty())
    return absl::InvalidArgumentError(absl::StrCat("token file ", path, ": empty"));
  return std::string(token);
}

void AwaitReconnection(grpc::ChannelInterface& channel) {
  if (channel.GetState(/*try_to_connect=*/true) != GRPC_CHANNEL_TRANSIENT_FAILURE) return;
  channel.WaitForConnected(std::chrono::system_clock::now() +
                           absl::ToChronoMilliseconds(kReconnectionWait));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address_text,
                                                           const v1::TlsClientConfig& tls,
                                                           const std::string& token_file) {
  ASSIGN_OR_RETURN(const Address address, ParseAddress(address_text));
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   MakeCredentials(address, tls));
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> interceptors;
  if (!token_file.empty()) {
    ASSIGN_OR_RETURN(const std::string token, ReadTokenFile(token_file));
    interceptors.push_back(std::make_unique<TokenInterceptorFactory>(token));
  }
  return grpc::experimental::CreateCustomChannelWithInterceptors(
      address.target, credentials, Arguments(), std::move(interceptors));
}

}  // namespace farm
