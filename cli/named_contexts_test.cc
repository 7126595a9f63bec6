#include "cli/named_contexts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "cli/exit_code.h"
#include "cli/testing/command_test_base.h"
#include "oci/testing/test_layout.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

TEST(ContextFlagsTest, EachFormIsToldByItsBeginning) {
  const std::string here = ::testing::TempDir();
  ASSERT_OK_AND_ASSIGN(
      const std::vector<ContextFlag> flags,
      ReadContextFlags({"a=" + here, "docker.io/library/alpine=docker-image://alpine:3",
                        "c=https://example.com/r.git#main", "d=https://example.com/x.tar",
                        "e=docker-image://scratch"}));
  ASSERT_THAT(flags, SizeIs(5));
  EXPECT_EQ(flags[0].directory, here);
  EXPECT_EQ(flags[0].context.kind, NamedContext::Kind::kFiles);
  EXPECT_EQ(flags[0].context.index, 1);
  EXPECT_EQ(flags[1].name, "alpine");
  EXPECT_EQ(flags[1].context.image, "alpine:3");
  EXPECT_EQ(flags[2].context.remote.kind, RemoteSource::Kind::kGit);
  EXPECT_EQ(flags[2].context.remote.git.ref, "main");
  EXPECT_EQ(flags[3].context.remote.kind, RemoteSource::Kind::kHttp);
  EXPECT_EQ(flags[4].context.image, "scratch");
}

TEST(ContextFlagsTest, TheLastOfANameCounts) {
  ASSERT_OK_AND_ASSIGN(const std::vector<ContextFlag> flags,
                       ReadContextFlags({"a=docker-image://x", "a:latest=docker-image://y"}));
  ASSERT_THAT(flags, SizeIs(1));
  EXPECT_EQ(flags[0].context.image, "y");
}

TEST(ContextFlagsTest, WhatIsWrongIsNamedWithItsFlag) {
  const std::pair<const char*, const char*> cases[] = {
      {"a", "--build-context a: expected NAME=VALUE"},
      {"=x", "expected NAME=VALUE"},
      {"a=", "expected NAME=VALUE"},
      {"A=.", "invalid context name \"A\""},
      {"a=/none/of/this", "path \"/none/of/this\" not found"},
      {"a=target:x", "a bake file"},
      {"a=oci-layout://", "oci-layout://DIRECTORY[:TAG][@sha256:DIGEST]"},
      {"a=oci-layout://x@sha256:1", "digest"},
      {"a=oci-layout:///none/of/this:1", "/none/of/this: no such directory"},
      {"a=ftp://example.com/x", "expected a directory"},
      {"a=docker-image://A b", "invalid reference format"},
      {"a=git@example.com:a/b.git", "ssh agent"},
  };
  for (const auto& [text, message] : cases) {
    const absl::Status status = ReadContextFlags({text}).status();
    EXPECT_THAT(status.message(), HasSubstr(message)) << text;
    EXPECT_THAT(status.message(), HasSubstr("--build-context")) << text;
  }
  EXPECT_THAT(ReadContextFlags({"a=https://u:secret@example.com/r.git?brnch=x"}).status().message(),
              AllOf(HasSubstr("did you mean branch?"), Not(HasSubstr("secret"))));
}

TEST(ContextFlagsTest, AnImageOfALayoutIsKnownByItsDigest) {
  TestLayout layout(::testing::TempDir() + "/layout");
  const Descriptor one = layout.AddImage("linux/amd64", {"one"});
  const Descriptor latest = layout.AddImage("linux/amd64", {"latest"});
  layout.Tag("1", one);
  layout.Tag("latest", latest);
  const std::string value = "=oci-layout://" + layout.directory();
  ASSERT_OK_AND_ASSIGN(const std::vector<ContextFlag> flags,
                       ReadContextFlags({"a" + value + ":1", "b.io/b:2" + value,
                                         "c" + value + "@" + one.digest.oci(),
                                         "d" + value + ":any@" + one.digest.oci()}));
  ASSERT_THAT(flags, SizeIs(4));
  EXPECT_EQ(flags[0].context.kind, NamedContext::Kind::kImage);
  EXPECT_EQ(flags[0].context.image, "a@" + one.digest.oci());
  EXPECT_EQ(flags[1].context.image, "b.io/b@" + latest.digest.oci());
  for (size_t i = 2; i < 4; ++i) {
    EXPECT_EQ(flags[i].layout, layout.directory());
    EXPECT_THAT(flags[i].context.image, HasSubstr(one.digest.oci()));
  }
  EXPECT_THAT(ReadContextFlags({"a" + value + ":2"}).status().message(),
              AllOf(HasSubstr("--build-context a=oci-layout:"), HasSubstr("there are: 1, latest")));
  EXPECT_THAT(ReadContextFlags({"a" + value + "@" + Digest().oci()}).status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr(Digest().hex())));
}

class NamedContextBuildTest : public BuildCommandTest {
 protected:
  NamedContextBuildTest() {
    for (const char* name : {"one", "two"}) {
      std::filesystem::create_directory(dir_ / name);
      std::ofstream(dir_ / name / "f") << name;
      std::ofstream(dir_ / name / "ignored") << name;
      std::ofstream(dir_ / name / ".dockerignore") << "ignored\n.dockerignore\n";
    }
  }
  std::string Flag(const std::string& name) {
    return absl::StrCat(name, "=", (dir_ / name).string());
  }
};

TEST_F(NamedContextBuildTest, OnlyThoseThatAreReadAreSentWithoutWhatTheyIgnore) {
  Write("Dockerfile",
        "FROM scratch AS unneeded\nCOPY --from=two f /\nFROM scratch\nCOPY --from=one f /\n");
  farm_.starts = {Success()};
  std::vector<Digest> put;
  farm_.on_put = [&put](const Digest& digest) { put.push_back(digest); };
  EXPECT_EQ(Build({"--build-context", Flag("one"), "--build-context", Flag("two")}), kExitDone)
      << err_.str();
  const v1::StartBuildRequest& request = requests_->at(0);
  ASSERT_THAT(request.named_contexts(), SizeIs(2));
  EXPECT_EQ(request.named_contexts(0).name(), "one");
  EXPECT_NE(request.named_contexts(0).table().hash(), "");
  EXPECT_EQ(request.named_contexts(0).ignore_file().name(), ".dockerignore");
  EXPECT_TRUE(request.named_contexts(1).has_table());
  EXPECT_EQ(request.named_contexts(1).table().hash(), "");
  const Digest table = *DigestFromProto(request.named_contexts(0).table());
  EXPECT_THAT(put, Contains(table));
}

TEST_F(NamedContextBuildTest, AllAreSentIfTheFarmFindsMoreReads) {
  Write("Dockerfile", "FROM image-with-triggers\n");
  farm_.starts = {Failure(absl::StatusCode::kFailedPrecondition), Success()};
  EXPECT_EQ(Build({"--build-context", Flag("one")}), kExitDone) << err_.str();
  ASSERT_THAT(*requests_, SizeIs(2));
  EXPECT_EQ(requests_->at(0).named_contexts(0).table().hash(), "");
  EXPECT_NE(requests_->at(1).named_contexts(0).table().hash(), "");
}

TEST_F(NamedContextBuildTest, CredentialsAreThoseOfTheImageInPlaceOfTheNamedOne) {
  std::filesystem::create_directory(dir_ / ".docker");
  std::ofstream(dir_ / ".docker/config.json")
      << R"({"auths":{"a.io":{"auth":"dTpw"},"b.io":{"auth":"dTpw"}}})";
  Write("Dockerfile", "FROM a.io/x\n");
  farm_.starts = {Success()};
  EXPECT_EQ(Build({"--build-context", "a.io/x=docker-image://b.io/y"}), kExitDone) << err_.str();
  EXPECT_EQ(requests_->at(0).named_contexts(0).image(), "b.io/y");
  ASSERT_THAT(requests_->at(0).credentials(), SizeIs(1));
  EXPECT_EQ(requests_->at(0).credentials(0).host(), "b.io");
}

class LayoutBuildTest : public BuildCommandTest {
 protected:
  LayoutBuildTest() : layout_(dir_ / "layout") {
    layout_.Tag("latest", layout_.AddIndex({layout_.AddImage("linux/amd64", {"amd64"}),
                                            layout_.AddImage("linux/arm64", {"arm64"})}));
  }
  // Digests of what was put into the store.
  std::vector<Digest> BuildAndUpload(std::vector<std::string> flags) {
    std::vector<Digest> put;
    farm_.on_put = [&put](const Digest& digest) { put.push_back(digest); };
    flags.insert(flags.end(), {"--build-context", "a=oci-layout://" + layout_.directory()});
    EXPECT_EQ(Build(flags), kExitDone) << err_.str();
    return put;
  }
  const v1::OciLayout& Sent(size_t request) {
    return requests_->at(request).named_contexts(0).layout();
  }

  TestLayout layout_;
};

TEST_F(LayoutBuildTest, TheImageOfThePlatformIsSent) {
  Write("Dockerfile", "FROM a\n");
  farm_.starts = {Success()};
  const std::vector<Digest> put = BuildAndUpload({"--platform", "linux/arm64"});
  EXPECT_THAT(Sent(0).reference(), StartsWith("a@sha256:"));
  EXPECT_THAT(Sent(0).images(), SizeIs(1));
  EXPECT_FALSE(Sent(0).complete());
  EXPECT_THAT(put, AllOf(Contains(DigestOf("arm64")), Not(Contains(DigestOf("amd64")))));
  EXPECT_THAT(requests_->at(0).credentials(), IsEmpty());
}

TEST_F(LayoutBuildTest, AnImageThatIsNotReadIsNotSent) {
  Write("Dockerfile", "FROM a AS unneeded\nFROM scratch\n");
  farm_.starts = {Success()};
  EXPECT_THAT(BuildAndUpload({}), Not(Contains(DigestOf("amd64"))));
  EXPECT_THAT(Sent(0).images(), IsEmpty());
}

TEST_F(LayoutBuildTest, AllAreSentIfTheFarmAsksForAnother) {
  Write("Dockerfile", "FROM image-with-triggers\n");
  farm_.starts = {Failure(absl::StatusCode::kFailedPrecondition), Success()};
  EXPECT_THAT(BuildAndUpload({}), IsSupersetOf({DigestOf("amd64"), DigestOf("arm64")}));
  EXPECT_THAT(Sent(0).images(), IsEmpty());
  EXPECT_THAT(Sent(1).images(), SizeIs(2));
  EXPECT_TRUE(Sent(1).complete());
}

TEST_F(LayoutBuildTest, WhichPlatformsALayoutHasIsForTheFarmToSay) {
  Write("Dockerfile", "FROM a\n");
  farm_.starts = {Success()};
  BuildAndUpload({"--platform", "linux/s390x"});
  EXPECT_THAT(Sent(0).images(), SizeIs(2));
  EXPECT_TRUE(Sent(0).complete());
}

TEST_F(LayoutBuildTest, ADamagedLayerIsNamed) {
  Write("Dockerfile", "FROM a\n");
  std::ofstream(layout_.BlobPath(DigestOf("amd64"))) << "other";
  EXPECT_EQ(Build({"--platform", "linux/amd64", "--build-context",
                   "a=oci-layout://" + layout_.directory()}),
            kExitFailed);
  EXPECT_THAT(err_.str(), AllOf(HasSubstr(layout_.directory()), HasSubstr(DigestOf("amd64").oci()),
                                HasSubstr("another digest")));
}

TEST_F(LayoutBuildTest, APlanNeedsNoFarmForIt) {
  Write("Dockerfile", "FROM a\nRUN true\n");
  EXPECT_EQ(RunProgram({"plan", "--platform", "linux/arm64", "--build-context",
                        "a=oci-layout://" + layout_.directory(), context_},
                       out_, err_, clock_),
            kExitDone)
      << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("a@sha256:"));
}

TEST_F(NamedContextBuildTest, AMistakeInTheFlagIsOneOfUseAndAMissingDirectoryIsNot) {
  Write("Dockerfile", "FROM scratch\n");
  EXPECT_EQ(Build({"--build-context", "a=target:b"}), kExitUsage);
  EXPECT_EQ(RunProgram({"build", "--build-context", "a=/none", context_}, out_, err_, clock_),
            kExitFailed);
  EXPECT_EQ(RunProgram({"plan", "--build-context", "a", context_}, out_, err_, clock_), kExitUsage);
}

TEST_F(CommandTest, PlanAndLintTakeNamedContexts) {
  Write("Dockerfile", "FROM a AS b\nCOPY --from=src f /f\n");
  const std::vector<std::string> flags = {"--build-context", "src=" + context_.string(),
                                          "--build-context", "a=docker-image://scratch"};
  std::vector<std::string> args = {"plan", "--offline", "--format=json"};
  args.insert(args.end(), flags.begin(), flags.end());
  args.push_back(context_);
  EXPECT_EQ(RunProgram(args, out_, err_, clock_), kExitDone);
  EXPECT_THAT(out_.str(),
              AllOf(HasSubstr(R"("from":{"context":"src"})"), HasSubstr(R"("base":"scratch")")));
  args = {"lint"};
  args.insert(args.end(), flags.begin(), flags.end());
  args.push_back(context_);
  EXPECT_EQ(RunProgram(args, out_, err_, clock_), kExitDone) << out_.str() << err_.str();
}

}  // namespace
}  // namespace farm
