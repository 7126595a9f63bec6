#include <gmock/gmock.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/byte_stream.h"
#include "base/retried_error.h"
#include "base/sha256.h"
#include "base/source_position.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "proto/farm/v1/admin.grpc.pb.h"
#include "proto/farm/v1/config.pb.h"
#include "rpc/address.h"
#include "rpc/auth.h"
#include "rpc/channel.h"
#include "rpc/server_credentials.h"
#include "rpc/status.h"

// c-ares 1.18, which gRPC asks for addresses, forgets a copy of the name "localhost" each time.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libcares"; }

namespace farm {
namespace {

using ::testing::HasSubstr;

// Status.

TEST(RpcStatusTest, ThatAllAttemptsWereMadeCrossesTheWire) {
  const absl::Status error = absl::UnavailableError("no registry");
  EXPECT_FALSE(WasRetried(FromGrpcStatus(ToGrpcStatus(error))));
  EXPECT_TRUE(WasRetried(FromGrpcStatus(ToGrpcStatus(AsRetried(error)))));
  EXPECT_TRUE(WasRetried(FromErrorDetail(ToErrorDetail(AsRetried(error)))));
}

TEST(RpcStatusTest, PositionAndTrailCrossTheWire) {
  const absl::Status sent = StatusBuilder(
      ErrorAt({"Dockerfile", 3, 7}, "unknown instruction: RUNN", "RUNN make"), "a.cc", 12);
  const absl::Status got = FromGrpcStatus(ToGrpcStatus(sent));
  EXPECT_EQ(got.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(got.message(), sent.message());
  EXPECT_EQ(Trail(got), "a.cc:12");
  std::string line;
  EXPECT_EQ(PositionOf(got, &line), (SourcePosition{"Dockerfile", 3, 7}));
  EXPECT_EQ(line, "RUNN make");
}

TEST(RpcStatusTest, ACallThatGrpcItselfCancelledMayBeMadeAgainOneThatWeCancelledMayNot) {
  EXPECT_THAT(FromGrpcStatus(grpc::Status(grpc::StatusCode::CANCELLED, "CANCELLED")),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(FromGrpcStatus(ToGrpcStatus(absl::CancelledError("by a person"))),
              StatusIs(absl::StatusCode::kCancelled, "by a person"));
}

TEST(RpcStatusTest, OkStaysOk) {
  EXPECT_OK(FromGrpcStatus(ToGrpcStatus(absl::OkStatus())));
  EXPECT_OK(FromErrorDetail(ToErrorDetail(absl::OkStatus())));
}

TEST(RpcStatusTest, DetailKeepsCodeMessageAndPosition) {
  const absl::Status sent = ErrorAt({"Dockerfile", 2, 0}, "no such stage: bild");
  const absl::Status got = FromErrorDetail(ToErrorDetail(sent));
  EXPECT_EQ(got, sent);
}

TEST(RpcStatusTest, UnknownCodeIsNeverOk) {
  v1::ErrorDetail detail;
  detail.set_code(77);
  EXPECT_THAT(FromErrorDetail(detail), StatusIs(absl::StatusCode::kUnknown));
}

TEST(RpcStatusTest, StatusOfAnotherServerKeepsCodeAndMessage) {
  const grpc::Status foreign(grpc::StatusCode::NOT_FOUND, "no", "\xff\xff garbage");
  EXPECT_THAT(FromGrpcStatus(foreign), StatusIs(absl::StatusCode::kNotFound, "no"));
}

TEST(RpcStatusTest, BytesThatAreNoUtf8AreReplaced) {
  const v1::ErrorDetail detail = ToErrorDetail(absl::NotFoundError("file \xff\xc3 ü"));
  EXPECT_EQ(detail.message(), "file ?? ü");
}

TEST(RpcStatusTest, LongMessagesAreCutBetweenCharacters) {
  std::string message;
  for (int i = 0; i < 10'000; ++i) message += "ü";
  const v1::ErrorDetail detail = ToErrorDetail(absl::InternalError("x" + message));
  EXPECT_LT(detail.message().size(), size_t{9} << 10);
  EXPECT_THAT(detail.message(), ::testing::EndsWith("ü…"));
}

// Addresses.

TEST(AddressTest, SaysWhoCanReachIt) {
  const std::pair<const char*, Address::Reach> cases[] = {
      {"unix:/run/farm.sock", Address::Reach::kUnixSocket},
      {"unix:///run/farm.sock", Address::Reach::kUnixSocket},
      {"127.0.0.1:7070", Address::Reach::kLoopback},
      {"127.3.0.1:7070", Address::Reach::kLoopback},
      {"localhost:7070", Address::Reach::kLoopback},
      {"[::1]:7070", Address::Reach::kLoopback},
      {"0.0.0.0:7070", Address::Reach::kNetwork},
      {"[::]:7070", Address::Reach::kNetwork},
      {"farm.example.com:7070", Address::Reach::kNetwork},
      {"127.0.0.1.example.com:7070", Address::Reach::kNetwork},
  };
  for (const auto& [text, reach] : cases) {
    ASSERT_OK_AND_ASSIGN(const Address address, ParseAddress(text));
    EXPECT_EQ(address.reach, reach) << text;
  }
}

TEST(AddressTest, SlashesOfAUnixAddressAreOneForm) {
  ASSERT_OK_AND_ASSIGN(const Address address, ParseAddress("unix:///run/farm.sock"));
  EXPECT_EQ(address.target, "unix:/run/farm.sock");
}

TEST(AddressTest, WrongOnesAreRefusedWithTheReason) {
  const std::pair<std::string, const char*> cases[] = {
      {"", "no port"},
      {"host", "no port"},
      {":7070", "no host"},
      {"host:http", "not a number"},
      {"host:70000", "not a number"},
      {"http://host:70", "unknown scheme"},
      {"::1:7070", "brackets"},
      {"unix:farm.sock", "not absolute"},
      {"unix:/" + std::string(120, 'x'), "longer than 107"},
  };
  for (const auto& [text, reason] : cases) {
    EXPECT_THAT(ParseAddress(text),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(reason)));
  }
}

// Whole servers: one that answers Info with the caller's name.

class EchoAdmin final : public v1::Admin::Service {
 public:
  EchoAdmin(const Authenticator& authenticator, Role role)
      : authenticator_(authenticator), role_(role) {}

  grpc::Status Info(grpc::ServerContext* context, const v1::InfoRequest*,
                    v1::InfoResponse* response) override {
    const absl::StatusOr<Caller> caller = authenticator_.Authenticate(*context, role_);
    if (!caller.ok()) return ToGrpcStatus(caller.status());
    response->set_version(absl::StrCat(caller->name, "@", caller->domain));
    return grpc::Status::OK;
  }

 private:
  const Authenticator& authenticator_;
  const Role role_;
};

class RpcServerTest : public ::testing::Test {
 protected:
  RpcServerTest() {
    // Not TempDir(): Bazel's is too long for the path of a socket.
    std::string dir = "/tmp/farm_rpc_test_XXXXXX";
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
  }
  ~RpcServerTest() override {
    if (server_ != nullptr) server_->Shutdown();
    std::filesystem::remove_all(dir_);
  }

  // Starts the server and says where it is.
  absl::StatusOr<std::string> Start(const std::string& listen, Role role = Role::kClient) {
    ASSIGN_OR_RETURN(Authenticator authenticator, Authenticator::Make(config_));
    authenticator_ = std::make_unique<Authenticator>(std::move(authenticator));
    service_ = std::make_unique<EchoAdmin>(*authenticator_, role);
    grpc::ServerBuilder builder;
    ConfigureServer(builder);
    int port = 0;
    RETURN_IF_ERROR(AddListener(builder, listen, config_.tls(), *authenticator_, &port));
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("no server");
    return listen.rfind("unix:", 0) == 0 ? listen : absl::StrCat("localhost:", port);
  }

  // Name of the caller as the server sees it.
  absl::StatusOr<std::string> Call(const std::string& address, const std::string& token = "",
                                   const v1::TlsClientConfig& tls = {}) {
    std::string token_file;
    if (!token.empty()) {
      token_file = dir_ + "/token";
      RETURN_IF_ERROR(WriteFileAtomically(token_file, token + "\n", 0600));
    }
    ASSIGN_OR_RETURN(const auto channel, MakeChannel(address, tls, token_file));
    const auto stub = v1::Admin::NewStub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
    v1::InfoResponse response;
    RETURN_IF_ERROR(FromGrpcStatus(stub->Info(&context, v1::InfoRequest(), &response)));
    return response.version();
  }

  void Enroll(const std::string& name, const std::string& token, const std::string& common_name,
              const std::string& domain = "") {
    v1::ClientConfig::Enrolled* entry = config_.add_clients();
    entry->set_name(name);
    if (!token.empty()) entry->set_token_sha256(DigestOf(token).hex());
    entry->set_common_name(common_name);
    entry->set_domain(domain);
  }

  // A CA, a server certificate for localhost and a client's for "alice".
  void MakeCertificates() {
    const std::string script = absl::StrCat(
        "cd ", dir_,
        " && exec 2>/dev/null"
        " && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key"
        "    -out ca.pem"
        " && for n in localhost alice; do"
        "      openssl req -newkey rsa:2048 -nodes -subj /CN=$n -keyout $n.key -out $n.csr &&"
        "      echo subjectAltName=DNS:$n > $n.ext &&"
        "      openssl x509 -req -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        "        -extfile $n.ext -out $n.pem || exit 1;"
        "    done");
    ASSERT_EQ(std::system(script.c_str()), 0);
    config_.mutable_tls()->set_certificate_file(dir_ + "/localhost.pem");
    config_.mutable_tls()->set_key_file(dir_ + "/localhost.key");
  }

  std::string dir_;
  v1::CoordinatorConfig config_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<EchoAdmin> service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST_F(RpcServerTest, UnixSocketNeedsNoCredentials) {
  Enroll("alice", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("unix:" + dir_ + "/s"));
  EXPECT_THAT(Call(address), IsOkAndHolds("local@main"));
}

TEST_F(RpcServerTest, ASocketThatIsServedIsNotTakenFromWhoServesIt) {
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("unix:" + dir_ + "/s"));
  grpc::ServerBuilder builder;
  EXPECT_THAT(AddListener(builder, address, config_.tls(), *authenticator_, nullptr),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(address)));
  EXPECT_THAT(Call(address), IsOkAndHolds("local@main"));
}

TEST_F(RpcServerTest, ASocketThatNobodyServesAnyMoreIsReplaced) {
  sockaddr_un left{};
  left.sun_family = AF_UNIX;
  ASSERT_LT(dir_.size() + 2, sizeof(left.sun_path));
  (dir_ + "/s").copy(left.sun_path, sizeof(left.sun_path) - 1);
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&left), sizeof(left)), 0);
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("unix:" + dir_ + "/s"));
  EXPECT_THAT(Call(address), IsOkAndHolds("local@main"));
}

TEST_F(RpcServerTest, TokenNamesTheCallerAndItsDomain) {
  Enroll("alice", "secret", "", "team");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("127.0.0.1:0"));
  EXPECT_THAT(Call(address, "secret"), IsOkAndHolds("alice@team"));
}

TEST_F(RpcServerTest, LoopbackAsksForCredentialsOnceSomebodyIsEnrolled) {
  ASSERT_OK_AND_ASSIGN(const std::string open, Start("127.0.0.1:0"));
  EXPECT_THAT(Call(open), IsOkAndHolds("local@main"));
  server_->Shutdown();
  Enroll("alice", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string closed, Start("127.0.0.1:0"));
  EXPECT_THAT(Call(closed), StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("no cred")));
}

TEST_F(RpcServerTest, WrongTokenIsRefusedEvenOverAUnixSocket) {
  Enroll("alice", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("unix:" + dir_ + "/s"));
  EXPECT_THAT(Call(address, "guess"), StatusIs(absl::StatusCode::kUnauthenticated));
}

TEST_F(RpcServerTest, ClientIsNoWorker) {
  Enroll("alice", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("127.0.0.1:0", Role::kWorker));
  EXPECT_THAT(Call(address, "secret"), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(RpcServerTest, NetworkListenerWithoutTlsOrEnrolmentDoesNotStart) {
  EXPECT_THAT(Start("0.0.0.0:0"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("TLS")));
  Enroll("alice", "secret", "");
  EXPECT_THAT(Start("0.0.0.0:0"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("TLS")));
  config_.clear_clients();
  MakeCertificates();
  EXPECT_THAT(Start("0.0.0.0:0"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("enrolled")));
}

TEST_F(RpcServerTest, CertificateOrTokenNamesTheCallerUnderTls) {
  MakeCertificates();
  config_.mutable_tls()->set_client_ca_file(dir_ + "/ca.pem");
  Enroll("Alice", "", "alice", "team");
  Enroll("bob", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("0.0.0.0:0"));
  v1::TlsClientConfig tls;
  tls.set_ca_file(dir_ + "/ca.pem");
  EXPECT_THAT(Call(address, "secret", tls), IsOkAndHolds("bob@main"));
  EXPECT_THAT(Call(address, "", tls), StatusIs(absl::StatusCode::kUnauthenticated));
  tls.set_certificate_file(dir_ + "/alice.pem");
  tls.set_key_file(dir_ + "/alice.key");
  EXPECT_THAT(Call(address, "", tls), IsOkAndHolds("Alice@team"));
}

TEST_F(RpcServerTest, ServerOfAnotherCaIsNotTrusted) {
  MakeCertificates();
  Enroll("bob", "secret", "");
  ASSERT_OK_AND_ASSIGN(const std::string address, Start("127.0.0.1:0"));
  v1::TlsClientConfig tls;
  tls.set_ca_file(dir_ + "/alice.pem");
  EXPECT_THAT(Call(address, "secret", tls), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(RpcServerTest, MissingFilesAreNamed) {
  config_.mutable_tls()->set_certificate_file("/does/not/exist.pem");
  config_.mutable_tls()->set_key_file("/does/not/exist.key");
  EXPECT_THAT(Start("127.0.0.1:0"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/does/not/exist.pem")));
  v1::TlsClientConfig tls;
  tls.set_certificate_file("/x.pem");
  EXPECT_THAT(MakeChannel("h:1", tls, ""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("key_file")));
  EXPECT_THAT(MakeChannel("h:1", {}, "/does/not/exist"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("token file")));
}

TEST_F(RpcServerTest, EnrolmentWithoutNameOrCredentialsIsRefused) {
  Enroll("", "secret", "");
  EXPECT_THAT(Authenticator::Make(config_), StatusIs(absl::StatusCode::kInvalidArgument));
  config_.clear_clients();
  Enroll("alice", "", "");
  EXPECT_THAT(Authenticator::Make(config_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("token_sha256")));
  config_.clear_clients();
  Enroll("alice", "secret", "");
  Enroll("bob", "secret", "");
  EXPECT_THAT(Authenticator::Make(config_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("same credentials")));
}

// An enrolled "local" could report leases in the name of any worker.
TEST_F(RpcServerTest, ANameThatCouldStandForSomebodyElseIsRefused) {
  for (const std::string name : {"local", "build/host"}) {
    config_.clear_clients();
    Enroll(name, "secret", "");
    EXPECT_THAT(Authenticator::Make(config_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("choose another")));
  }
}

TEST_F(RpcServerTest, AWorkerWithADomainIsRefused) {
  v1::ClientConfig::Enrolled* worker = config_.add_workers();
  worker->set_name("w");
  worker->set_token_sha256(DigestOf("secret").hex());
  EXPECT_OK(Authenticator::Make(config_).status());
  worker->set_domain("team");
  EXPECT_THAT(Authenticator::Make(config_),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("all domains")));
}

}  // namespace
}  // namespace farm
