#include "oci/docker_credentials.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;

// "user:password", "none" or the error.
std::string Found(absl::string_view json, absl::string_view host) {
  const absl::StatusOr<DockerCredentials> docker = DockerCredentials::Parse(json);
  if (!docker.ok()) return std::string(docker.status().message());
  const auto found = docker->Find(host);
  if (!found.ok()) return std::string(found.status().message());
  if (!found->has_value()) return "none";
  if (!(*found)->identity_token.empty()) return "token " + (*found)->identity_token;
  return (*found)->username + ":" + (*found)->password;
}

// Puts programs docker-credential-NAME in front of $PATH.
class CredentialHelperTest : public ::testing::Test {
 protected:
  CredentialHelperTest() : directory_(absl::StrCat(::testing::TempDir(), "/helpersXXXXXX")) {
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
    old_path_ = getenv("PATH");
    setenv("PATH", absl::StrCat(directory_, ":", old_path_).c_str(), 1);
  }
  ~CredentialHelperTest() override { setenv("PATH", old_path_.c_str(), 1); }

  void AddHelper(const std::string& name, const std::string& script) {
    ASSERT_OK(WriteFileAtomically(absl::StrCat(directory_, "/docker-credential-", name),
                                  absl::StrCat("#!/bin/sh\n", script, "\n"), 0755));
  }

  std::string directory_;
  std::string old_path_;
};

TEST(DockerCredentialsTest, AuthIsUserAndPasswordInBase64) {
  constexpr char kJson[] = R"({"auths":{"h.io:5000":{"auth":"dXNlcjpwYTpzcw=="}}})";
  EXPECT_EQ(Found(kJson, "h.io:5000"), "user:pa:ss");
  EXPECT_EQ(Found(kJson, "h.io"), "none");
}

TEST(DockerCredentialsTest, DockerHubAndUrlsAreFoundByHost) {
  EXPECT_EQ(Found(R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}}})", "docker.io"),
            "u:p");
  EXPECT_EQ(Found(R"({"auths":{"https://quay.io/v2/":{"auth":"dTpw"}}})", "quay.io"), "u:p");
}

TEST(DockerCredentialsTest, ItsHostsAreThoseOfLogins) {
  ASSERT_OK_AND_ASSIGN(
      const DockerCredentials docker,
      DockerCredentials::Parse(R"({"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"},)"
                               R"("h.io:5000":{}},"credHelpers":{"other.io":"x"}})"));
  EXPECT_EQ(docker.Hosts(), (std::set<std::string>{"docker.io", "h.io:5000"}));
}

TEST(DockerCredentialsTest, TheTokensThatALoginByBrowserKeepsAreNoCredentialsOfTheHub) {
  constexpr char kJson[] = R"({"auths":{
      "https://index.docker.io/v1/":{"auth":"dTpw"},
      "https://index.docker.io/v1/access-token":{"auth":"dTphY2Nlc3M="},
      "https://index.docker.io/v1/refresh-token":{"auth":"dTpyZWZyZXNo"}}})";
  EXPECT_EQ(Found(kJson, "docker.io"), "u:p");
  EXPECT_EQ(Found(R"({"auths":{"https://index.docker.io/v1/access-token":{"auth":"dTpw"}}})",
                  "docker.io"),
            "none");
}

TEST(DockerCredentialsTest, AnExactHostComesBeforeUrlsOfIt) {
  EXPECT_EQ(Found(R"({"auths":{"h.io":{"auth":"dTpw"},"http://h.io":{"auth":"YTpi"},
                               "https://h.io/v2/":{"auth":"YTpi"}}})",
                  "h.io"),
            "u:p");
  EXPECT_EQ(
      Found(R"({"auths":{"https://h.io/v1/":{"auth":"YTpi"},"https://h.io":{"auth":"dTpw"}}})",
            "h.io"),
      "u:p");
  EXPECT_EQ(Found(R"({"auths":{"docker.io":{"auth":"YTpi"},
                               "https://index.docker.io/v1/":{"auth":"dTpw"}}})",
                  "docker.io"),
            "u:p");
}

TEST(DockerCredentialsTest, AnIdentityTokenIsKept) {
  EXPECT_EQ(Found(R"({"auths":{"h.io":{"auth":"dTo=","identitytoken":"tok"}}})", "h.io"),
            "token tok");
}

TEST(DockerCredentialsTest, AnEmptyOrMissingFileKnowsNone) {
  EXPECT_EQ(Found("", "h.io"), "none");
  EXPECT_EQ(Found("{}", "h.io"), "none");
  EXPECT_EQ(Found(R"({"auths":{"h.io":{}}})", "h.io"), "none");
  EXPECT_OK(DockerCredentials::LoadFile("/no/such/file"));
}

TEST(DockerCredentialsTest, NonsenseIsNamed) {
  EXPECT_THAT(Found("[", "h"), HasSubstr("not a JSON document"));
  EXPECT_THAT(Found(R"({"auths":{"h.io":{"auth":"!"}}})", "h.io"),
              HasSubstr("auths[\"h.io\"].auth: expected USER:PASSWORD in base64"));
  EXPECT_THAT(Found(R"({"auths":{"h.io":{"auth":"dQ=="}}})", "h.io"), HasSubstr("USER:PASSWORD"));
  EXPECT_THAT(Found(R"({"credsStore":"../../bin/sh"})", "h.io"), HasSubstr("program's name"));
}

TEST_F(CredentialHelperTest, TheStoreIsAskedForTheServersName) {
  AddHelper("vault", R"(read s; echo "{\"Username\":\"$1\",\"Secret\":\"$s\"}")");
  EXPECT_EQ(Found(R"({"credsStore":"vault"})", "docker.io"), "get:https://index.docker.io/v1/");
  EXPECT_EQ(Found(R"({"credsStore":"vault","auths":{"https://h.io":{}}})", "h.io"),
            "get:https://h.io");
  EXPECT_EQ(Found(R"({"credsStore":"vault"})", "q.io"), "get:q.io");
}

TEST_F(CredentialHelperTest, AHostsHelperComesBeforeTheStore) {
  AddHelper("one", R"(echo '{"Username":"<token>","Secret":"idtok"}')");
  EXPECT_EQ(Found(R"({"credsStore":"none","credHelpers":{"h.io":"one"}})", "h.io"), "token idtok");
}

TEST_F(CredentialHelperTest, NothingKnownIsNoError) {
  AddHelper("empty", "echo 'credentials not found in native keychain'; exit 1");
  EXPECT_EQ(Found(R"({"credsStore":"empty"})", "h.io"), "none");
}

TEST_F(CredentialHelperTest, AFailingHelperIsUnavailable) {
  AddHelper("bad", "echo 'the vault is locked'; exit 3");
  ASSERT_OK_AND_ASSIGN(const DockerCredentials docker,
                       DockerCredentials::Parse(R"({"credsStore":"bad"})"));
  EXPECT_THAT(docker.Find("h.io"), StatusIs(kUnavailable, HasSubstr("exit code 3")));
  ASSERT_OK_AND_ASSIGN(const DockerCredentials absent,
                       DockerCredentials::Parse(R"({"credsStore":"not-there"})"));
  EXPECT_THAT(absent.Find("h.io"),
              StatusIs(kUnavailable, HasSubstr("docker-credential-not-there")));
}

TEST_F(CredentialHelperTest, AnEndlessAnswerIsCutOff) {
  AddHelper("loud", "exec yes");
  ASSERT_OK_AND_ASSIGN(const DockerCredentials docker,
                       DockerCredentials::Parse(R"({"credsStore":"loud"})"));
  EXPECT_THAT(docker.Find("h.io"), StatusIs(kUnavailable, HasSubstr("over 1048576 bytes")));
}

TEST_F(CredentialHelperTest, AnAnswerThatIsNoJsonIsInvalid) {
  AddHelper("odd", "echo hello");
  ASSERT_OK_AND_ASSIGN(const DockerCredentials docker,
                       DockerCredentials::Parse(R"({"credsStore":"odd"})"));
  EXPECT_THAT(docker.Find("h.io"), StatusIs(kInvalid, HasSubstr("docker-credential-odd")));
}

}  // namespace
}  // namespace farm
