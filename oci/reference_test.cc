#include "oci/reference.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing/status_matchers.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr char kHex[] = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

std::string Canonical(absl::string_view text) {
  const absl::StatusOr<Reference> reference = Reference::Parse(text);
  return reference.ok() ? reference->canonical() : std::string(reference.status().message());
}

TEST(ReferenceTest, FamiliarNamesAreNormalised) {
  EXPECT_EQ(Canonical("alpine"), "docker.io/library/alpine");
  EXPECT_EQ(Canonical("alpine:3.19"), "docker.io/library/alpine:3.19");
  EXPECT_EQ(Canonical("team/app"), "docker.io/team/app");
  EXPECT_EQ(Canonical("docker.io/alpine"), "docker.io/library/alpine");
  EXPECT_EQ(Canonical("index.docker.io/alpine"), "docker.io/library/alpine");
  EXPECT_EQ(Canonical("index.docker.io/a/b/c:t"), "docker.io/a/b/c:t");
}

TEST(ReferenceTest, FirstPartIsAHostIfItHasADotAColonAnUpperCaseLetterOrIsLocalhost) {
  EXPECT_EQ(Canonical("example.com/app"), "example.com/app");
  EXPECT_EQ(Canonical("host:5000/app:1"), "host:5000/app:1");
  EXPECT_EQ(Canonical("localhost/app"), "localhost/app");
  EXPECT_EQ(Canonical("Host/app"), "Host/app");
  EXPECT_EQ(Canonical("127.0.0.1:5000/a/b"), "127.0.0.1:5000/a/b");
  EXPECT_EQ(Canonical("[::1]:5000/app"), "[::1]:5000/app");
  EXPECT_EQ(Canonical("[2001:db8::1]/app"), "[2001:db8::1]/app");
  EXPECT_EQ(Canonical("host/app"), "docker.io/host/app");
}

TEST(ReferenceTest, ANameWithoutSlashIsNeverAHost) {
  EXPECT_EQ(Canonical("localhost:5000"), "docker.io/library/localhost:5000");
  EXPECT_EQ(Canonical("example.com"), "docker.io/library/example.com");
}

TEST(ReferenceTest, TagAndDigestMayBothStand) {
  ASSERT_OK_AND_ASSIGN(const Reference reference,
                       Reference::Parse(absl::StrCat("a/b:v1@sha256:", kHex)));
  EXPECT_EQ(reference.tag(), "v1");
  EXPECT_EQ(reference.digest(), absl::StrCat("sha256:", kHex));
  EXPECT_EQ(reference.familiar(), absl::StrCat("a/b:v1@sha256:", kHex));
}

TEST(ReferenceTest, FamiliarLeavesOutHubAndLibrary) {
  const auto familiar = [](absl::string_view text) { return Reference::Parse(text)->familiar(); };
  EXPECT_EQ(familiar("docker.io/library/alpine:3"), "alpine:3");
  EXPECT_EQ(familiar("docker.io/team/app"), "team/app");
  EXPECT_EQ(familiar("docker.io/library/a/b"), "library/a/b");
  EXPECT_EQ(familiar("quay.io/library/alpine"), "quay.io/library/alpine");
}

TEST(ReferenceTest, PathComponentsFollowTheGrammar) {
  for (const char* good : {"a_b", "a__b", "a.b", "a---b", "0", "a/b/c/d", "a-1_2.3"}) {
    EXPECT_OK(Reference::Parse(good)) << good;
  }
  for (const char* bad : {"",           "/a",
                          "a/",         "a//b",
                          "a___b",      "a..b",
                          "a._b",       "_a",
                          "a_",         "-a",
                          "a-",         ".a",
                          "a b",        "a\nb",
                          "a:",         "a@",
                          "a:b:c",      "a@sha256",
                          "http://a/b", "a:-t",
                          "a:.t",       "my_host.com/app",
                          "-h.com/a",   "h.com:/a",
                          "h.com:x/a",  "[::1/a",
                          "\xff"}) {
    EXPECT_THAT(Reference::Parse(bad),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("invalid reference format")))
        << bad;
  }
}

TEST(ReferenceTest, UpperCaseIsRefusedInDockersWords) {
  EXPECT_EQ(Canonical("Alpine:3"),
            "invalid reference format: repository name (library/Alpine) must be lowercase");
  EXPECT_EQ(Canonical("quay.io/Team/app"),
            "invalid reference format: repository name (Team/app) must be lowercase");
  EXPECT_EQ(Canonical("app:V1"), "docker.io/library/app:V1");
}

TEST(ReferenceTest, AnIdIsNoName) {
  EXPECT_EQ(Canonical(kHex), absl::StrCat("invalid repository name (", kHex,
                                          "), cannot specify 64-byte hexadecimal strings"));
}

TEST(ReferenceTest, LengthsAreBounded) {
  EXPECT_OK(Reference::Parse(absl::StrCat("h.io/", std::string(255, 'a'))));
  EXPECT_EQ(Canonical(absl::StrCat("h.io/", std::string(256, 'a'))),
            "repository name must not be more than 255 characters");
  EXPECT_OK(Reference::Parse(absl::StrCat("a:", std::string(128, 't'))));
  EXPECT_FALSE(Reference::Parse(absl::StrCat("a:", std::string(129, 't'))).ok());
  EXPECT_THAT(Reference::Parse(std::string(5000, 'a')),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("longer than")));
}

TEST(ReferenceTest, DigestsAreChecked) {
  EXPECT_EQ(Canonical("a@sha256:abcdef0123456789abcdef0123456789"),
            "invalid checksum digest length");
  EXPECT_EQ(Canonical(absl::StrCat("a@sha256:", std::string(64, 'A'))),
            "invalid checksum digest format");
  EXPECT_THAT(Canonical(absl::StrCat("a@sha512:", std::string(128, 'a'))),
              HasSubstr("unsupported digest algorithm"));
  EXPECT_EQ(Canonical("a@sha256:abc"), "invalid reference format");
}

TEST(ReferenceTest, DefaultTagIsAddedToABareNameOnly) {
  const auto with_default = [](absl::string_view text) {
    return Reference::Parse(text)->WithDefaultTag().familiar();
  };
  EXPECT_EQ(with_default("a"), "a:latest");
  EXPECT_EQ(with_default("a:b"), "a:b");
  EXPECT_EQ(with_default(absl::StrCat("a@sha256:", kHex)), absl::StrCat("a@sha256:", kHex));
}

TEST(ReferenceTest, TagsAndDigestsCanBePut) {
  ASSERT_OK_AND_ASSIGN(const Reference reference, Reference::Parse("a:b"));
  EXPECT_EQ(reference.WithTag("c")->familiar(), "a:c");
  EXPECT_THAT(reference.WithTag("c/d"),
              StatusIs(absl::StatusCode::kInvalidArgument, "invalid tag format"));
  EXPECT_EQ(reference.WithDigest(absl::StrCat("sha256:", kHex))->familiar(),
            absl::StrCat("a:b@sha256:", kHex));
  EXPECT_FALSE(reference.WithDigest("sha256:1").ok());
  EXPECT_EQ(reference.RepositoryOnly().familiar(), "a");
}

}  // namespace
}  // namespace farm
