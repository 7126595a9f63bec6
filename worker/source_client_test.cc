#include "worker/source_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "absl/time/clock.h"
#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "oci/testing/scripted_server.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

SourceClient::Options Local() {
  SourceClient::Options options;
  options.loopback_allowed = true;
  options.retry_pause = absl::Milliseconds(1);
  return options;
}

void Redirect(httplib::Response& response, const std::string& to) {
  response.status = 302;
  response.set_header("Location", to);
}

class SourceClientTest : public testing::Test {
 protected:
  SourceClientTest() {
    call_.on_start = [this] {
      body_.clear();
      return absl::OkStatus();
    };
    call_.on_body = [this](const HttpResponse&, absl::string_view bytes) {
      body_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    };
  }

  absl::StatusOr<SourceClient::Answer> Get(const std::string& url,
                                           const SourceClient::Options& options = Local()) {
    call_.url = url;
    return SourceClient(options).Get(call_);
  }

  ScriptedServer server_;
  SourceClient::Call call_;
  std::string body_;
};

TEST_F(SourceClientTest, AnAnswerIsThatOfWhereRedirectsLead) {
  server_.On([](const httplib::Request& request, httplib::Response& response) {
    if (request.path == "/a") return Redirect(response, "/b?x=1");
    response.status = 200;
    response.set_content("content", "text/plain");
  });
  const absl::StatusOr<SourceClient::Answer> answer = Get(server_.url() + "/a");
  ASSERT_OK(answer);
  EXPECT_EQ(answer->url, server_.url() + "/b?x=1");
  EXPECT_EQ(answer->response.peer_address, "127.0.0.1");
  EXPECT_EQ(body_, "content");
}

TEST_F(SourceClientTest, RedirectsAreBounded) {
  server_.On(
      [](const httplib::Request&, httplib::Response& response) { Redirect(response, "/again"); });
  EXPECT_THAT(Get(server_.url() + "/a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 10 redirects")));
  EXPECT_THAT(server_.requests(), SizeIs(SourceClient::kRedirectsMax + 1));
}

TEST_F(SourceClientTest, AUserIsToldToTheFirstServerAloneAndToNobodyElse) {
  ScriptedServer other;
  server_.On([&](const httplib::Request&, httplib::Response& response) {
    Redirect(response, other.url() + "/b");
  });
  const std::string url = "http://user:pass@" + server_.host() + "/a";
  const absl::StatusOr<SourceClient::Answer> answer = Get(url);
  EXPECT_THAT(server_.authorizations(), ElementsAre("Basic dXNlcjpwYXNz"));
  EXPECT_THAT(other.authorizations(), ElementsAre(""));
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kInvalidArgument,
                               AllOf(HasSubstr("404 Not Found"), Not(HasSubstr("pass")))));
}

TEST_F(SourceClientTest, LoopbackIsRefusedUnlessFarmAndStepAreLocal) {
  SourceClient::Options options = Local();
  options.loopback_allowed = false;
  call_.step_allows_loopback = true;
  for (const std::string& url :
       std::vector<std::string>{server_.url() + "/", "http://localhost:1/", "http://2130706433:1/",
                                "http://0x7f.1:1/"}) {
    EXPECT_THAT(Get(url, options),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("loopback")))
        << url;
  }
  EXPECT_THAT(server_.requests(), IsEmpty());
  options.is_local = true;
  Get(server_.url(), options).IgnoreError();
  EXPECT_THAT(server_.requests(), SizeIs(1));
  call_.step_allows_loopback = false;
  EXPECT_THAT(Get(server_.url(), options), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(SourceClientTest, WhatIsConnectedToIsCheckedWhateverTheNameSays) {
  // The name is never resolved: the connection goes to the proxy, which is of loopback.
  ASSERT_EQ(setenv("http_proxy", server_.url().c_str(), 1), 0);
  SourceClient::Options options = Local();
  options.loopback_allowed = false;
  const absl::StatusOr<SourceClient::Answer> answer = Get("http://name.example/", options);
  unsetenv("http_proxy");
  EXPECT_THAT(answer, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("loopback")));
  EXPECT_THAT(server_.requests(), IsEmpty());
}

TEST_F(SourceClientTest, ARedirectIsCheckedToo) {
  for (const char* to : {"http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/",
                         "http://[::ffff:169.254.169.254]/", "ftp://example.com/",
                         "file:///etc/passwd", "http://user@127.0.0.1/"}) {
    server_.On(
        [&](const httplib::Request&, httplib::Response& response) { Redirect(response, to); });
    EXPECT_THAT(Get(server_.url() + "/a"), StatusIs(absl::StatusCode::kInvalidArgument)) << to;
  }
}

TEST_F(SourceClientTest, AServerThatIsBusyIsAskedAgain) {
  int asked = 0;
  server_.On([&asked](const httplib::Request&, httplib::Response& response) {
    response.status = ++asked < SourceClient::kAttemptsMax ? 503 : 200;
    response.set_content(response.status == 200 ? "content" : "busy", "text/plain");
  });
  EXPECT_OK(Get(server_.url() + "/a"));
  EXPECT_EQ(body_, "content");
}

TEST_F(SourceClientTest, AServerThatNeverAnswersIsGivenUpAtTheDeadline) {
  const UniqueFd silent(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(silent.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(silent.get(), 8), 0);
  socklen_t size = sizeof(address);
  ASSERT_EQ(getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  call_.deadline = absl::Now() + absl::Milliseconds(300);
  EXPECT_THAT(Get(absl::StrCat("http://127.0.0.1:", ntohs(address.sin_port), "/")),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("sources.timeout")));
}

TEST_F(SourceClientTest, AnAuthorizationIsForTheFirstServerAloneAndGoesBeforeItsUrls) {
  std::vector<std::string> seen;
  ScriptedServer other;
  other.On([&](const httplib::Request& request, httplib::Response& response) {
    seen.push_back(request.get_header_value("Authorization"));
    response.status = 200;
  });
  server_.On([&](const httplib::Request& request, httplib::Response& response) {
    seen.push_back(request.get_header_value("Authorization"));
    Redirect(response, request.path == "/a" ? "/b" : other.url());
  });
  call_.authorization = "Bearer t0";
  EXPECT_OK(Get("http://user:pass@" + server_.host() + "/a"));
  EXPECT_THAT(seen, ElementsAre("Bearer t0", "Bearer t0", ""));
}

TEST_F(SourceClientTest, HeadersThatAreTooLongAreTheServersFault) {
  server_.On([](const httplib::Request&, httplib::Response& response) {
    response.status = 200;
    for (int i = 0; i < 80; ++i) response.headers.emplace("X-Long", std::string(4096, 'x'));
  });
  EXPECT_THAT(Get(server_.url() + "/long"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("headers over")));
}

TEST_F(SourceClientTest, AFullDiskIsNotTheServersFault) {
  server_.On([](const httplib::Request&, httplib::Response& response) {
    response.status = 200;
    response.set_content("content", "text/plain");
  });
  call_.on_body = [](const HttpResponse&, absl::string_view) {
    return absl::ResourceExhaustedError("no space");
  };
  EXPECT_THAT(Get(server_.url() + "/file"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("no space")));
}

TEST_F(SourceClientTest, WhatIsNoUrlIsRefused) {
  for (const char* url : {"", "http://", "ftp://example.com/", "/etc/passwd"}) {
    EXPECT_THAT(Get(url), StatusIs(absl::StatusCode::kInvalidArgument)) << url;
  }
}

}  // namespace
}  // namespace farm
