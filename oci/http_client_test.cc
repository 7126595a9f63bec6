#include "oci/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(HttpClientTest, LoopbackHostsAreTheWholeAddressOnly) {
  for (const char* host : {"localhost", "localhost:5000", "127.0.0.1:80", "127.9.9.9", "[::1]:5"}) {
    EXPECT_TRUE(IsLoopbackHost(host)) << host;
  }
  for (const char* host : {"127.0.0.1.example.com", "127.example.com", "localhost.example.com",
                           "128.0.0.1", "127.0.0.256", "[::2]", ""}) {
    EXPECT_FALSE(IsLoopbackHost(host)) << host;
  }
}

TEST(HttpClientTest, OriginsCompareWithTheirPorts) {
  EXPECT_THAT(UrlOrigin("https://Host/a?b"), IsOkAndHolds("https://host:443"));
  EXPECT_THAT(UrlOrigin("http://host:5000"), IsOkAndHolds("http://host:5000"));
  for (const char* bad : {"", "host", "ftp://host", "https://user:pw@host", "file:///x"}) {
    EXPECT_THAT(UrlOrigin(bad), StatusIs(absl::StatusCode::kInvalidArgument)) << bad;
  }
}

TEST(HttpClientTest, NobodyIsLedFromHttpsToPlainHttp) {
  EXPECT_THAT(ResolveEncrypted("https://a.io/v2/uploads/", "/v2/uploads/1?x=y"),
              IsOkAndHolds("https://a.io/v2/uploads/1?x=y"));
  EXPECT_THAT(ResolveEncrypted("http://a.io/", "http://b.io/"), IsOkAndHolds("http://b.io/"));
  EXPECT_THAT(ResolveEncrypted("https://a.io/", "http://a.io/v2/uploads/1?state=secret"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("http://a.io/v2/uploads/1"), Not(HasSubstr("secret")))));
}

}  // namespace
}  // namespace farm
