// HttpRegistry against a server that does as each test says, most of it badly.
#include "oci/http_registry.h"

#include <httplib.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/retried_error.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "oci/image_config.h"
#include "oci/manifest.h"
#include "oci/testing/scripted_server.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kBasicOfUserPass[] = "Basic dXNlcjpwYXNz";

void Send(httplib::Response& response, int status, const std::string& body,
          const std::string& type = "application/json") {
  response.status = status;
  response.set_content(body, type);
}

// The library cuts bodies as the request's ranges say, unless it does not see them.
void ForgetRanges(const httplib::Request& request) {
  const_cast<httplib::Request&>(request).ranges.clear();
}

// As a server that knows ranges: 206 with the part that was asked for.
void SendWithRanges(httplib::Response& response, const std::string& body) {
  response.status = -1;  // The library then cuts the body and chooses the status.
  response.set_content(body, "application/octet-stream");
}

// Announces all of `body`, then breaks the connection after `bytes`.
void SendTruncated(httplib::Response& response, const std::string& body, size_t bytes) {
  response.status = 200;
  response.set_content_provider(body.size(), "application/octet-stream",
                                [=](size_t offset, size_t, httplib::DataSink& sink) {
                                  if (offset >= bytes) return false;
                                  return sink.write(body.data(), bytes);
                                });
}

std::string Letters(size_t count) {
  std::string result(count, 'a');
  for (size_t i = 0; i < count; ++i) result[i] = static_cast<char>('a' + i % 23);
  return result;
}

Descriptor BlobOf(absl::string_view bytes) {
  Descriptor blob;
  blob.media_type = kOciLayerType;
  blob.digest = DigestOf(bytes);
  return blob;
}

std::string ConfigBytes() {
  ImageConfig config;
  config.platform.os = "linux";
  config.platform.architecture = "amd64";
  return SerializeImageConfig(config);
}

std::string ManifestBytes() {
  Manifest manifest;
  manifest.config = BlobOf(ConfigBytes());
  manifest.config.media_type = kOciConfigType;
  manifest.layers = {BlobOf("layer")};
  return SerializeManifest(manifest);
}

class HttpRegistryTest : public ::testing::Test {
 protected:
  HttpRegistryTest() { Configure({}); }

  void Configure(HttpRegistryOptions options) {
    registry_ = std::make_unique<HttpRegistry>(std::move(options), clock_,
                                               [this](absl::Duration duration, const CancelToken*) {
                                                 sleeps_.push_back(duration);
                                                 return true;
                                               });
  }

  Reference Ref(absl::string_view rest) const {
    return *Reference::Parse(absl::StrCat(server_.host(), "/", rest));
  }

  void LogIn(RegistryCredential credential) {
    auth_.Set(server_.host(), std::move(credential));
    call_.auth = &auth_;
  }

  absl::StatusOr<std::string> Fetch(const Descriptor& blob, int64_t offset = 0) {
    StringSink sink;
    const absl::Status status = registry_->FetchBlob(Ref("app"), blob, offset, sink, call_);
    if (!status.ok()) return status;
    return sink.Take();
  }

  absl::Status Push(const std::string& bytes, const Descriptor& blob) {
    return registry_->PushBlob(
        Ref("app"), blob,
        [&](const Descriptor&, int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
          return std::make_unique<StringSource>(absl::string_view(bytes).substr(offset));
        },
        call_);
  }

  FakeClock clock_;
  CancelToken slow_is_over_;  // Outlives the server, whose threads wait for it.
  ScriptedServer server_;
  std::vector<absl::Duration> sleeps_;
  RegistryAuth auth_;
  RegistryCall call_;
  std::unique_ptr<HttpRegistry> registry_;
};

// Reading -----------------------------------------------------------------------------------------

TEST_F(HttpRegistryTest, ResolvesATagToManifestAndConfig) {
  server_.On([](const auto& request, auto& response) {
    if (request.path == "/v2/team/app/manifests/v1") {
      Send(response, 200, ManifestBytes(), absl::StrCat(kOciManifestType, "; charset=utf-8"));
    } else {
      Send(response, 200, ConfigBytes(), "application/octet-stream");
    }
  });
  ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                       registry_->Resolve(Ref("team/app:v1"), Platform::Host(), call_));
  EXPECT_EQ(image.manifest.bytes, ManifestBytes());
  EXPECT_EQ(image.manifest.descriptor.media_type, kOciManifestType);
  EXPECT_EQ(image.config_bytes, ConfigBytes());
  EXPECT_EQ(image.pinned.tag(), "v1");
  EXPECT_EQ(image.pinned.digest(), DigestOf(ManifestBytes()).oci());
  EXPECT_FALSE(image.index.has_value());
}

TEST_F(HttpRegistryTest, ResolvesThroughAnIndexByPlatform) {
  ImageIndex index;
  index.manifests = {BlobOf("other"), BlobOf(ManifestBytes())};
  index.manifests[0].platform = *Platform::Parse("linux/s390x");
  index.manifests[1].platform = *Platform::Parse("linux/arm64");
  for (Descriptor& entry : index.manifests) entry.media_type = kOciManifestType;
  const std::string index_bytes = SerializeImageIndex(index);
  server_.On([&](const auto& request, auto& response) {
    if (absl::EndsWith(request.path, "/latest")) Send(response, 200, index_bytes, kOciIndexType);
    if (absl::EndsWith(request.path, DigestOf(ManifestBytes()).oci())) {
      Send(response, 200, ManifestBytes(), kOciManifestType);
    }
    if (absl::StrContains(request.path, "/blobs/")) Send(response, 200, ConfigBytes());
  });
  ASSERT_OK_AND_ASSIGN(const ResolvedImage image,
                       registry_->Resolve(Ref("app"), *Platform::Parse("linux/arm64/v8"), call_));
  EXPECT_EQ(image.manifest.bytes, ManifestBytes());
  EXPECT_EQ(image.index->bytes, index_bytes);
  EXPECT_EQ(image.pinned.digest(), DigestOf(index_bytes).oci());

  EXPECT_THAT(registry_->Resolve(Ref("app"), *Platform::Parse("linux/amd64"), call_),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("no image for linux/amd64; there is linux/arm64, linux/s390x")));
}

TEST_F(HttpRegistryTest, AMissingImageIsNamed) {
  server_.On([](const auto&, auto& response) {
    Send(response, 404, R"({"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]})");
  });
  EXPECT_THAT(
      registry_->FetchManifest(Ref("team/app:v9"), call_),
      StatusIs(absl::StatusCode::kNotFound,
               absl::StrCat("no such image ", server_.host(), "/team/app:v9: manifest unknown")));
}

TEST_F(HttpRegistryTest, AManifestOfAnotherDigestIsDataLoss) {
  server_.On(
      [](const auto&, auto& response) { Send(response, 200, ManifestBytes(), kOciManifestType); });
  EXPECT_THAT(
      registry_->FetchManifest(*Ref("app").WithDigest(DigestOf("something else").oci()), call_),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr(DigestOf("something else").oci())));
}

TEST_F(HttpRegistryTest, AManifestThatDeniesItsHeaderIsDataLoss) {
  server_.On([](const auto&, auto& response) {
    Send(response, 200, ManifestBytes(), kOciManifestType);
    response.set_header("Docker-Content-Digest", DigestOf("something else").oci());
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(HttpRegistryTest, Schema1IsRefused) {
  server_.On([](const auto&, auto& response) {
    Send(response, 200, R"({"schemaVersion":1})",
         "application/vnd.docker.distribution.manifest.v1+prettyjws");
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("schema 1")));
}

TEST_F(HttpRegistryTest, AnEndlessManifestIsCutOff) {
  server_.On([](const auto&, auto& response) {
    Send(response, 200, std::string(kManifestBytesMax + 1, ' '), kOciManifestType);
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(HttpRegistryTest, ABlobOfAnotherDigestIsDataLoss) {
  server_.On([](const auto&, auto& response) { Send(response, 200, "lies"); });
  EXPECT_THAT(Fetch(BlobOf("true")), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(HttpRegistryTest, ABlobLongerThanPromisedIsCutOff) {
  server_.On([](const auto&, auto& response) { Send(response, 200, std::string(1 << 20, 'x')); });
  EXPECT_THAT(Fetch(BlobOf("short")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("longer than the 5 bytes")));
}

TEST_F(HttpRegistryTest, ATruncatedBlobIsResumedByRange) {
  const std::string bytes = Letters(100'000);
  std::vector<std::string> ranges;
  server_.On([&](const auto& request, auto& response) {
    ranges.push_back(request.get_header_value("Range"));
    if (ranges.size() == 1) return SendTruncated(response, bytes, 40'000);
    SendWithRanges(response, bytes);
  });
  EXPECT_THAT(Fetch(BlobOf(bytes)), IsOkAndHolds(bytes));
  EXPECT_THAT(ranges, ElementsAre("", "bytes=40000-"));
}

TEST_F(HttpRegistryTest, AServerWithoutRangesStillGivesEachByteOnce) {
  const std::string bytes = Letters(100'000);
  int requests = 0;
  server_.On([&](const auto& request, auto& response) {
    if (++requests == 1) return SendTruncated(response, bytes, 40'000);
    ForgetRanges(request);
    Send(response, 200, bytes, "application/octet-stream");
  });
  EXPECT_THAT(Fetch(BlobOf(bytes)), IsOkAndHolds(bytes));
}

TEST_F(HttpRegistryTest, AWrongRangeIsRefused) {
  const std::string bytes = Letters(1000);
  server_.On([&](const auto& request, auto& response) {
    ForgetRanges(request);
    Send(response, 206, bytes.substr(10));
    response.set_header("Content-Range", "bytes 10-999/1000");
  });
  EXPECT_THAT(Fetch(BlobOf(bytes), 500), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(HttpRegistryTest, ABlobCanBeReadFromAnOffset) {
  const std::string bytes = Letters(1000);
  server_.On([&](const auto&, auto& response) { SendWithRanges(response, bytes); });
  EXPECT_THAT(Fetch(BlobOf(bytes), 990), IsOkAndHolds(bytes.substr(990)));
  EXPECT_THAT(Fetch(BlobOf(bytes), 1001), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HttpRegistryTest, AFullDiskIsNotTheNetworksFault) {
  server_.On([](const auto&, auto& response) { Send(response, 200, "hello"); });
  StringSink sink(3);
  EXPECT_THAT(registry_->FetchBlob(Ref("app"), BlobOf("hello"), 0, sink, call_),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

// Retries -----------------------------------------------------------------------------------------

TEST_F(HttpRegistryTest, AServerThatIsDownIsUnavailableAfterBoundedAttempts) {
  std::string host;
  {
    ScriptedServer gone;
    host = gone.host();
  }
  std::vector<std::string> remarks;
  call_.remark = [&remarks](const std::string& remark) { remarks.push_back(remark); };
  EXPECT_THAT(registry_->FetchManifest(*Reference::Parse(host + "/app"), call_),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr(host), HasSubstr("gave up after 5 attempts"))));
  EXPECT_THAT(remarks,
              ElementsAre(AllOf(HasSubstr(host), HasSubstr("; attempt 2 of 5 in ")),
                          HasSubstr("; attempt 3 of 5 in "), HasSubstr("; attempt 4 of 5 in "),
                          HasSubstr("; attempt 5 of 5 in ")));
  ASSERT_THAT(sleeps_, SizeIs(4));
  for (size_t i = 0; i < sleeps_.size(); ++i) {
    const absl::Duration backoff = absl::Milliseconds(500) * (1 << i);
    EXPECT_GE(sleeps_[i], backoff / 2);
    EXPECT_LE(sleeps_[i], backoff);
  }
}

TEST_F(HttpRegistryTest, WhatWasTriedSoOftenIsNotForOthersToTryAgain) {
  int requests = 0;
  server_.On([&](const httplib::Request&, httplib::Response& response) {
    ++requests;
    response.status = 503;
  });
  const Descriptor blob = BlobOf("bytes");
  for (const absl::Status& status :
       {registry_->FetchManifest(Ref("app"), call_).status(), Fetch(blob).status(),
        Push("bytes", blob),
        registry_->PushManifest(Ref("app"), kOciManifestType, "{}", call_).status()}) {
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
    EXPECT_TRUE(WasRetried(status)) << status;
  }
  EXPECT_EQ(requests, 4 * HttpRegistryOptions().attempts_max);
}

TEST_F(HttpRegistryTest, ASlowServerIsUnavailable) {
  HttpRegistryOptions options;
  options.document_timeout = absl::Milliseconds(200);
  options.attempts_max = 1;
  Configure(options);
  server_.On([&](const auto&, auto&) { slow_is_over_.WaitFor(absl::Seconds(20)); });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("timed out")));
  slow_is_over_.Cancel();
}

TEST_F(HttpRegistryTest, TooManyRequestsWaitsAsAskedThenSucceeds) {
  int requests = 0;
  server_.On([&](const auto&, auto& response) {
    if (++requests == 1) {
      response.status = 429;
      response.set_header("Retry-After", "7");
    } else {
      Send(response, 200, ManifestBytes(), kOciManifestType);
    }
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(sleeps_, ElementsAre(absl::Seconds(7)));
}

TEST_F(HttpRegistryTest, RetryAfterMayBeADate) {
  int requests = 0;
  server_.On([&](const auto&, auto& response) {
    if (++requests > 1) return Send(response, 200, ManifestBytes(), kOciManifestType);
    response.status = 503;
    response.set_header("Retry-After",
                        absl::FormatTime("%a, %d %b %Y %H:%M:%S GMT",
                                         clock_.Now() + absl::Seconds(30), absl::UTCTimeZone()));
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(sleeps_, ElementsAre(absl::Seconds(30)));
}

TEST_F(HttpRegistryTest, ALongRetryAfterEndsTheCall) {
  server_.On([](const auto&, auto& response) {
    response.status = 429;
    response.set_header("Retry-After", "3600");
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnavailable,
                       AllOf(HasSubstr("asked to wait for 1h"), HasSubstr("too many requests"))));
  EXPECT_THAT(sleeps_, IsEmpty());
}

TEST_F(HttpRegistryTest, ThreeServerErrorsAreOvercome) {
  int requests = 0;
  server_.On([&](const auto&, auto& response) {
    if (++requests <= 3) return Send(response, 500, "oops");
    Send(response, 200, ManifestBytes(), kOciManifestType);
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(sleeps_, SizeIs(3));
}

TEST_F(HttpRegistryTest, LastingServerErrorsAreUnavailable) {
  server_.On([](const auto&, auto& response) {
    Send(response, 502, R"({"errors":[{"message":"bad\ngateway"}]})");
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("HTTP status 502: bad?gateway")));
  EXPECT_THAT(server_.requests(), SizeIs(5));
}

TEST_F(HttpRegistryTest, ACancelledCallEnds) {
  CancelToken cancel;
  call_.cancel = &cancel;
  server_.On([&](const auto&, auto& response) {
    cancel.Cancel();
    Send(response, 200, "x");
  });
  EXPECT_THAT(Fetch(BlobOf(std::string(10, 'x'))), StatusIs(absl::StatusCode::kCancelled));
}

// Credentials -------------------------------------------------------------------------------------

TEST_F(HttpRegistryTest, ABearerTokenIsFetchedWithThePasswordAndKept) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  std::vector<std::string> token_queries;
  server_.On([&](const auto& request, auto& response) {
    if (request.path == "/token") {
      EXPECT_EQ(request.get_header_value("Authorization"), kBasicOfUserPass);
      token_queries.push_back(absl::StrCat(request.get_param_value("service"), " ",
                                           request.get_param_value("scope"), " ",
                                           request.get_param_value("account")));
      return Send(response, 200, R"({"token":"t0ken","expires_in":300})");
    }
    if (request.get_header_value("Authorization") == "Bearer t0ken") {
      return Send(response, 200, ManifestBytes(), kOciManifestType);
    }
    response.status = 401;
    response.set_header("WWW-Authenticate",
                        absl::StrCat("Bearer realm=\"", server_.url(),
                                     "/token\",service=\"reg\",scope=\"repository:app:pull\""));
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(token_queries, ElementsAre("reg repository:app:pull user"));

  clock_.Advance(absl::Seconds(295));
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(token_queries, SizeIs(2));
}

TEST_F(HttpRegistryTest, AnIdentityTokenIsPosted) {
  LogIn({.username = "", .password = "", .identity_token = "se cret&"});
  std::string form;
  server_.On([&](const auto& request, auto& response) {
    if (request.path == "/token") {
      EXPECT_EQ(request.method, "POST");
      form = request.get_param_value("grant_type") + " " +
             request.get_param_value("refresh_token") + " " + request.get_param_value("scope");
      return Send(response, 200, R"({"access_token":"t0ken"})");
    }
    if (request.get_header_value("Authorization") == "Bearer t0ken") {
      return Send(response, 200, ManifestBytes(), kOciManifestType);
    }
    response.status = 401;
    response.set_header("WWW-Authenticate",
                        absl::StrCat("Bearer realm=\"", server_.url(), "/token\",service=reg"));
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_EQ(form, "refresh_token se cret& repository:app:pull");
}

TEST_F(HttpRegistryTest, BasicAuthenticationIsAnswered) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  server_.On([](const auto& request, auto& response) {
    if (request.get_header_value("Authorization") == kBasicOfUserPass) {
      return Send(response, 200, ManifestBytes(), kOciManifestType);
    }
    response.status = 401;
    response.set_header("WWW-Authenticate", "Basic realm=\"reg\"");
  });
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
}

TEST_F(HttpRegistryTest, ALoginIsAskedForWithoutCredentials) {
  server_.On([](const auto&, auto& response) {
    response.status = 401;
    response.set_header("WWW-Authenticate", "Basic realm=\"reg\"");
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       HasSubstr(absl::StrCat("run `docker login ", server_.host(), "`"))));
}

TEST_F(HttpRegistryTest, RefusedCredentialsAreNotShown) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  server_.On([](const auto&, auto& response) {
    response.status = 401;
    response.set_header("WWW-Authenticate", "Basic realm=\"reg\"");
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnauthenticated,
                       AllOf(HasSubstr("docker login"), Not(HasSubstr("pass")))));
  EXPECT_THAT(server_.requests(), SizeIs(2));
}

TEST_F(HttpRegistryTest, ATokenServersRefusalIsUnauthenticated) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  server_.On([&](const auto&, auto& response) {
    response.status = 401;
    response.set_header("WWW-Authenticate",
                        absl::StrCat("Bearer realm=\"", server_.url(), "/token\""));
  });
  EXPECT_THAT(registry_->FetchManifest(Ref("app"), call_),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("refuses the credentials")));
}

TEST_F(HttpRegistryTest, DeniedAccessIsPermissionDenied) {
  server_.On([](const auto&, auto& response) { Send(response, 403, "{}"); });
  EXPECT_THAT(registry_->FetchManifest(Ref("app:v1"), call_),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("/app:v1 is denied")));
}

TEST_F(HttpRegistryTest, CredentialsDoNotFollowARedirectToAnotherServer) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  ScriptedServer storage;
  storage.On([](const auto&, auto& response) { Send(response, 200, "blob"); });
  server_.On([&](const auto& request, auto& response) {
    if (request.get_header_value("Authorization").empty()) {
      response.status = 401;
      response.set_header("WWW-Authenticate", "Basic realm=\"reg\"");
    } else {
      response.set_redirect(storage.url() + "/bucket/blob?signature=1", 307);
    }
  });
  EXPECT_THAT(Fetch(BlobOf("blob")), IsOkAndHolds("blob"));
  EXPECT_THAT(server_.authorizations(), ElementsAre("", kBasicOfUserPass));
  EXPECT_THAT(storage.authorizations(), ElementsAre(""));
}

TEST_F(HttpRegistryTest, AnotherServersChallengeIsNotAnswered) {
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  ScriptedServer storage;
  storage.On([](const auto&, auto& response) {
    response.status = 401;
    response.set_header("WWW-Authenticate", "Basic realm=\"give me\"");
  });
  server_.On([&](const auto&, auto& response) { response.set_redirect(storage.url(), 302); });
  EXPECT_THAT(Fetch(BlobOf("blob")), StatusIs(absl::StatusCode::kUnauthenticated));
  EXPECT_THAT(storage.authorizations(), ElementsAre(""));
}

TEST_F(HttpRegistryTest, RedirectsAreBounded) {
  server_.On([&](const auto&, auto& response) { response.set_redirect("/again", 302); });
  EXPECT_THAT(Fetch(BlobOf("blob")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 5 redirects")));
  EXPECT_THAT(server_.requests(), SizeIs(6));
}

TEST_F(HttpRegistryTest, ARedirectToAFileIsRefused) {
  server_.On([&](const auto&, auto& response) {
    response.status = 302;
    response.set_header("Location", "file:///etc/passwd");
  });
  EXPECT_THAT(Fetch(BlobOf("blob")), StatusIs(absl::StatusCode::kInvalidArgument));
}

// Mirrors -----------------------------------------------------------------------------------------

TEST_F(HttpRegistryTest, AMirrorIsAskedFirstAndTheRegistryIfItFails) {
  ScriptedServer mirror;
  HttpRegistryOptions options;
  options.mirrors[server_.host()] = {mirror.url() + "/"};
  Configure(options);
  LogIn({.username = "user", .password = "pass", .identity_token = ""});
  const auto serve = [](const auto&, auto& response) {
    Send(response, 200, ManifestBytes(), kOciManifestType);
  };
  mirror.On(serve);
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(server_.requests(), IsEmpty());

  mirror.On([](const auto&, auto& response) { response.status = 500; });
  server_.On(serve);
  EXPECT_OK(registry_->FetchManifest(Ref("app"), call_));
  EXPECT_THAT(mirror.requests(), SizeIs(2));
  EXPECT_THAT(mirror.authorizations(), ElementsAre("", ""));
}

TEST_F(HttpRegistryTest, ABlobThatAMirrorBreaksOffIsFinishedByTheRegistry) {
  const std::string bytes = Letters(50'000);
  ScriptedServer mirror;
  HttpRegistryOptions options;
  options.mirrors[server_.host()] = {mirror.url()};
  Configure(options);
  mirror.On([&](const auto&, auto& response) { SendTruncated(response, bytes, 20'000); });
  server_.On([&](const auto& request, auto& response) {
    EXPECT_EQ(request.get_header_value("Range"), "bytes=20000-");
    SendWithRanges(response, bytes);
  });
  EXPECT_THAT(Fetch(BlobOf(bytes)), IsOkAndHolds(bytes));
}

TEST_F(HttpRegistryTest, WrongBytesOfAMirrorAreMadeGoodByTheRegistry) {
  const std::string bytes = Letters(50'000);
  std::string wrong = bytes;
  wrong[30'000] = '!';
  ScriptedServer mirror;
  HttpRegistryOptions options;
  options.mirrors[server_.host()] = {mirror.url()};
  Configure(options);
  server_.On([&](const auto&, auto& response) { SendWithRanges(response, bytes); });
  for (const std::string& sent : {wrong, wrong.substr(0, 40'000), wrong + "and more"}) {
    mirror.On([&](const auto& request, auto& response) {
      ForgetRanges(request);
      Send(response, 200, sent);
    });
    EXPECT_THAT(Fetch(BlobOf(bytes)), IsOkAndHolds(bytes)) << sent.size();
  }
}

// Writing -----------------------------------------------------------------------------------------

TEST_F(HttpRegistryTest, ABlobThatIsThereIsNotSent) {
  server_.On([](const auto&, auto& response) { response.status = 200; });
  EXPECT_OK(Push("blob", BlobOf("blob")));
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(HttpRegistryTest, ABlobIsSentInOnePut) {
  std::string received;
  server_.On([&](const auto& request, auto& response) {
    if (request.method == "POST") {
      response.status = 202;
      response.set_header("Location", "/v2/app/blobs/uploads/1?state=a%2Bb");
    } else if (request.method == "PUT") {
      EXPECT_EQ(request.get_param_value("digest"), DigestOf("blob").oci());
      EXPECT_EQ(request.get_param_value("state"), "a+b");
      received = request.body;
      response.status = 201;
    }
  });
  EXPECT_OK(Push("blob", BlobOf("blob")));
  EXPECT_EQ(received, "blob");
}

TEST_F(HttpRegistryTest, ABlobIsSentInChunksIfSoConfigured) {
  HttpRegistryOptions options;
  options.push_chunk_bytes = 4;
  Configure(options);
  std::vector<std::string> chunks;
  server_.On([&](const auto& request, auto& response) {
    if (request.method == "HEAD") return;
    response.status = request.method == "PUT" ? 201 : 202;
    response.set_header("Location", "/v2/app/blobs/uploads/1");
    if (request.method == "PATCH") {
      chunks.push_back(request.get_header_value("Content-Range") + " " + request.body);
    }
  });
  EXPECT_OK(Push("0123456789", BlobOf("0123456789")));
  EXPECT_THAT(chunks, ElementsAre("0-3 0123", "4-7 4567", "8-9 89"));
}

TEST_F(HttpRegistryTest, ABrokenUploadGoesOnWhereTheRegistryStands) {
  const std::string bytes = Letters(1000);
  std::string received;
  int puts = 0;
  server_.On([&](const auto& request, auto& response) {
    response.set_header("Location", "/v2/app/blobs/uploads/1");
    if (request.method == "POST") {
      response.status = 202;
    } else if (request.method == "PUT" && ++puts == 1) {
      received = request.body.substr(0, 300);  // Then it forgot the rest.
      response.status = 500;
    } else if (request.method == "PATCH") {
      EXPECT_EQ(request.get_header_value("Content-Range"), "300-999");
      received += request.body;
      response.status = 202;
    } else if (request.method == "PUT") {
      response.status = received == bytes ? 201 : 400;
    } else if (absl::StrContains(request.path, "uploads")) {
      response.status = 204;
      response.set_header("Range", "0-299");
    }
  });
  EXPECT_OK(Push(bytes, BlobOf(bytes)));
  EXPECT_EQ(received, bytes);
}

TEST_F(HttpRegistryTest, AForgottenUploadBeginsAnew) {
  int puts = 0;
  server_.On([&](const auto& request, auto& response) {
    response.set_header("Location", "/v2/app/blobs/uploads/1");
    if (request.method == "POST") response.status = 202;
    if (request.method == "PUT") response.status = ++puts == 1 ? 404 : 201;
  });
  EXPECT_OK(Push("blob", BlobOf("blob")));
  EXPECT_EQ(puts, 2);
}

TEST_F(HttpRegistryTest, ASourceWithOtherBytesIsDataLoss) {
  server_.On([&](const auto& request, auto& response) {
    response.set_header("Location", "/v2/app/blobs/uploads/1");
    if (request.method == "POST") response.status = 202;
    if (request.method == "PUT") response.status = 400;
  });
  EXPECT_THAT(Push("bl0b", BlobOf("blob")), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_THAT(Push("bl", BlobOf("blob")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("2 bytes early")));
}

TEST_F(HttpRegistryTest, MountAnswersAreTold) {
  int answer = 201;
  server_.On([&](const auto& request, auto& response) {
    if (request.method == "POST") {
      EXPECT_EQ(request.get_param_value("mount"), DigestOf("blob").oci());
      EXPECT_EQ(request.get_param_value("from"), "team/base");
    }
    response.set_header("Location", "/v2/app/blobs/uploads/1");
    response.status = answer;
  });
  const auto mount = [&] {
    return registry_->MountBlob(Ref("app"), BlobOf("blob"), Ref("team/base"), call_);
  };
  EXPECT_THAT(mount(), IsOkAndHolds(true));
  answer = 202;
  EXPECT_THAT(mount(), IsOkAndHolds(false));
  EXPECT_EQ(server_.requests().back(), "DELETE /v2/app/blobs/uploads/1");
  answer = 405;
  EXPECT_THAT(mount(), IsOkAndHolds(false));
}

TEST_F(HttpRegistryTest, AManifestGoesUnderItsTagOrDigest) {
  server_.On([](const auto& request, auto& response) {
    EXPECT_EQ(request.get_header_value("Content-Type"), kOciManifestType);
    EXPECT_EQ(request.body, ManifestBytes());
    response.status = 201;
  });
  const Digest digest = DigestOf(ManifestBytes());
  const auto push = [&](const Reference& reference) {
    return registry_->PushManifest(reference, kOciManifestType, ManifestBytes(), call_);
  };
  EXPECT_THAT(push(Ref("app:v1")), IsOkAndHolds(digest));
  EXPECT_THAT(push(*Ref("app").WithDigest(digest.oci())), IsOkAndHolds(digest));
  EXPECT_THAT(server_.requests(),
              ElementsAre("PUT /v2/app/manifests/v1", "PUT /v2/app/manifests/" + digest.oci()));
  EXPECT_THAT(push(*Ref("app").WithDigest(DigestOf("x").oci())),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(HttpRegistryTest, AManifestStoredAsAnotherIsDataLoss) {
  server_.On([](const auto&, auto& response) {
    response.status = 201;
    response.set_header("Docker-Content-Digest", DigestOf("x").oci());
  });
  EXPECT_THAT(registry_->PushManifest(Ref("app:v1"), kOciManifestType, "{}", call_),
              StatusIs(absl::StatusCode::kDataLoss));
}

TEST(RegistryAuthTest, DockerHubHasOneNameForAllOfItsNames) {
  RegistryAuth auth;
  auth.Set("https://index.docker.io/v1/", {.username = "u", .password = "p", .identity_token = ""});
  ASSERT_NE(auth.Find("docker.io"), nullptr);
  EXPECT_EQ(auth.Find("docker.io")->username, "u");
  EXPECT_EQ(auth.Find("quay.io"), nullptr);
  EXPECT_EQ(CanonicalRegistryHost("https://Host:5000/v2/"), "host:5000");
}

}  // namespace
}  // namespace farm
