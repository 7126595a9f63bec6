// Contexts from URLs, and named ones.
#include <gtest/gtest.h>

#include <string>

#include "base/digest_proto.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "coordinator/build_session.h"
#include "coordinator/testing/session_test_base.h"
#include "oci/image_config.h"
#include "oci/testing/image_documents.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class UrlContextTest : public BuildSessionTest {
 protected:
  // A repository whose branch main is commit `digit`, with this Dockerfile and file.
  void SetTree(char digit, const std::string& dockerfile, const std::string& file) {
    const std::string commit(40, digit);
    worker_.refs["https://example.com/r.git main"] = commit;
    worker_.trees[commit] = {File("Dockerfile", dockerfile), File("file", file),
                             File("key", "secret")};
    worker_.texts["Dockerfile"] = dockerfile;
  }
  static v1::StartBuildRequest UrlRequest(const std::string& url) {
    v1::StartBuildRequest request;
    request.set_dockerfile_name("Dockerfile");
    request.set_context_url(url);
    return request;
  }
  v1::BuildFinished BuildMain() { return Build(UrlRequest("https://example.com/r.git#main")); }

  const std::string first_ = std::string(40, '1');
  const std::string second_ = std::string(40, '2');
};

TEST_F(UrlContextTest, IsFetchedReadAndCopiedFrom) {
  SetTree('1', "FROM scratch\nCOPY file /f\n", "one");
  const v1::BuildFinished done = BuildMain();
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /", "COPY /f"));
  EXPECT_EQ(done.image().steps_ran(), 1);
  std::string text;
  for (const v1::BuildEvent& event : events_) text += event.dockerfile_read().text();
  EXPECT_EQ(text, "FROM scratch\nCOPY file /f\n");
  BuildMain();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main"));
}

TEST_F(UrlContextTest, ACommitOfEqualFilesRunsNothing) {
  SetTree('1', "FROM scratch\nCOPY file /f\n", "one");
  BuildMain();
  SetTree('2', "FROM scratch\nCOPY file /f\n", "one");
  BuildMain();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + second_));
}

TEST_F(UrlContextTest, WhatItsIgnoreFileNamesIsNotThere) {
  SetTree('1', "FROM scratch\nCOPY key /k\n", "one");
  EXPECT_FALSE(BuildMain().has_error());
  worker_.trees[first_].push_back(File(".dockerignore", "/k*\n"));
  worker_.texts[".dockerignore"] = "/k*\n";
  v1::StartBuildRequest request = UrlRequest("https://example.com/r.git#main");
  request.set_no_cache(true);
  EXPECT_THAT(Build(request).error().message(),
              AllOf(HasSubstr("Dockerfile:2"), HasSubstr("not found"),
                    HasSubstr(".dockerignore:1 excludes it by \"k*\"")));
  worker_.texts["Dockerfile"] = "FROM scratch\nCOPY file /f\n";
  EXPECT_FALSE(Build(request).has_error());
}

TEST_F(UrlContextTest, WhatIsMissingInItIsToldBeforeAnyStepRuns) {
  SetTree('1', "FROM scratch\nRUN one\nCOPY nothing /f\n", "one");
  EXPECT_EQ(BuildMain().error().line(), 3);
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /"));
}

TEST_F(UrlContextTest, ADockerfileFromElsewhereGoesBeforeItsOwn) {
  SetTree('1', "FROM scratch\nRUN own\n", "one");
  v1::StartBuildRequest request = UrlRequest("https://example.com/r.git#main");
  request.set_dockerfile("FROM scratch\nCOPY file /elsewhere\n");
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /elsewhere"));
}

TEST_F(UrlContextTest, AMissingDockerfileIsNamed) {
  SetTree('1', "FROM scratch\n", "one");
  v1::StartBuildRequest request = UrlRequest("https://u:secret@example.com/r.git#main");
  worker_.refs["https://u:secret@example.com/r.git main"] = first_;
  request.set_dockerfile_path("docker/Dockerfile");
  const v1::BuildFinished done = Build(request);
  EXPECT_THAT(done.error().message(),
              AllOf(HasSubstr("open docker/Dockerfile: no such file"),
                    HasSubstr("use -f Dockerfile"), Not(HasSubstr("secret"))));
}

TEST_F(UrlContextTest, AnArchiveIsUnpacked) {
  const std::string url = "https://example.com/c.tgz";
  worker_.files[url] = "archive";
  worker_.texts["Dockerfile"] = "FROM scratch\nCOPY a /a\n";
  worker_.archive = {File("Dockerfile", worker_.texts["Dockerfile"]), File("a", "a")};
  const v1::BuildFinished done = Build(UrlRequest(url));
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /", "COPY /", "COPY /a"));
  Build(UrlRequest(url));
  EXPECT_THAT(worker_.ran, ElementsAre("ASK " + url));
}

TEST_F(UrlContextTest, AFileThatIsNoArchiveIsADockerfile) {
  const std::string url = "https://example.com/app.Dockerfile";
  worker_.files[url] = worker_.texts["context"] = "FROM scratch\nRUN one\n";
  EXPECT_FALSE(Build(UrlRequest(url)).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /", "one"));
  v1::StartBuildRequest request = UrlRequest(url);
  request.set_dockerfile_path("x");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("it is no tar archive"));
}

TEST_F(UrlContextTest, ALostLayerIsFetchedAgainFromTheSameCommit) {
  SetTree('1', "FROM scratch\nCOPY file /f\nRUN one\n", "one");
  worker_.errors["COPY /f"] = absl::NotFoundError("a blob is lost");
  const v1::BuildFinished done = BuildMain();
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("RESOLVE main", "CHECKOUT " + first_, "COPY /", "COPY /f",
                                       "COPY /f", "one"));
}

TEST_F(UrlContextTest, OneThatChangedBeneathItsPlanEndsTheBuild) {
  const std::string url = "https://example.com/c.tgz";
  worker_.files[url] = "archive";
  worker_.texts["Dockerfile"] = "FROM scratch\nRUN one\nCOPY a /a\n";
  worker_.archive = {File("Dockerfile", worker_.texts["Dockerfile"]), File("a", "a")};
  worker_.errors["COPY /a"] = absl::NotFoundError("a blob is lost");
  worker_.spoil = [this, url](v1::StepResult&) {
    if (worker_.ran.back() != "one") return;
    worker_.files[url] = "another";
    worker_.archive.push_back(File("b", "b"));
  };
  EXPECT_THAT(Build(UrlRequest(url)).error().message(), HasSubstr("has changed since"));
}

TEST_F(UrlContextTest, WhatCanNotBeFetchedNamesTheContext) {
  worker_.errors["FETCH https://example.com/x"] = absl::InvalidArgumentError("404 Not Found");
  EXPECT_THAT(Build(UrlRequest("https://example.com/x")).error().message(),
              HasSubstr("build context https://example.com/x: 404 Not Found"));
  EXPECT_THAT(Build(UrlRequest("git@example.com:r.git")).error().message(),
              HasSubstr("needs an ssh agent"));
}

class NamedContextTest : public BuildSessionTest {
 protected:
  // Of the client, with this text as "f"; "" if it was not sent.
  void AddFiles(const std::string& name, const std::string& text, v1::StartBuildRequest& request) {
    v1::NamedContext& context = *request.add_named_contexts();
    context.set_name(name);
    context.mutable_table();
    if (text.empty()) return;
    const Table table = *Table::FromEntries({File("f", text)});
    *context.mutable_table() = DigestToProto(*PutBytes(blobs_, table.Encode()));
  }
};

TEST_F(NamedContextTest, FilesAreCopiedByTheirContent) {
  const auto build = [this](const std::string& text) {
    v1::StartBuildRequest request = Request("FROM scratch\nCOPY --from=a f /f\n");
    AddFiles("unused", "", request);
    AddFiles("a:latest", text, request);
    const v1::BuildFinished done = Build(request);
    EXPECT_FALSE(done.has_error()) << done.error().message();
    return worker_.ran;
  };
  EXPECT_THAT(build("one"), ElementsAre("COPY /f"));
  EXPECT_THAT(build("two"), ElementsAre("COPY /f"));
  EXPECT_THAT(build("one"), IsEmpty());
}

TEST_F(NamedContextTest, FilesThatAreNeededButWereNotSentAreAskedFor) {
  v1::StartBuildRequest request = Request("FROM scratch\nCOPY --from=a f /f\n");
  AddFiles("a", "", request);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(done.error().message(), HasSubstr("context a"));
}

TEST_F(NamedContextTest, WhatIsMissingIsToldBeforeAnythingRuns) {
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN one\nFROM a\nCOPY --from=c f g /d/\n");
  AddFiles("c", "text", request);
  request.mutable_named_contexts(0)->mutable_ignore_file()->set_name(".dockerignore");
  request.mutable_named_contexts(0)->mutable_ignore_file()->set_text("g");
  EXPECT_THAT(Build(request).error().message(),
              HasSubstr("\"/g\": not found in the context c: .dockerignore:1 excludes it"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(NamedContextTest, WhatAUrlLacksIsToldOnceItHasCome) {
  const std::string url = "https://example.com/file";
  v1::StartBuildRequest request =
      Request("FROM scratch AS a\nRUN one\nRUN two\nRUN three\nFROM a\nCOPY --from=c nothing /x\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("c");
  context.set_url(url);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().line(), 6);
  EXPECT_THAT(worker_.ran, Not(Contains("three")));
}

TEST_F(NamedContextTest, AUrlIsFetchedOnlyIfItIsRead) {
  const std::string url = "https://example.com/file";
  worker_.files[url] = "one";
  v1::StartBuildRequest request = Request("FROM scratch AS b\nRUN one\nFROM b\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("a");
  context.set_url(url);
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("one"));
  context.set_name("b");
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, ElementsAre("FETCH " + url, "COPY /"));
}

// The image of an OCI layout that a client has.
class LayoutContextTest : public NamedContextTest {
 protected:
  LayoutContextTest() {
    ImageConfig config;
    config.platform = {.os = "linux", .architecture = "amd64"};
    config.config.env = {"OF=layout"};
    documents_ = MakeImageDocuments(config, {{.media_type = kOciLayerType, .digest = layer_}});
  }

  v1::StartBuildRequest LayoutRequest(const std::string& dockerfile) {
    v1::StartBuildRequest request = Request(dockerfile);
    v1::NamedContext& context = *request.add_named_contexts();
    context.set_name("a");
    context.mutable_layout()->set_reference("a@" + documents_.manifest.digest.oci());
    return request;
  }
  void Send(v1::StartBuildRequest& request, bool complete = false) {
    v1::OciLayout& layout = *request.mutable_named_contexts(0)->mutable_layout();
    layout.clear_images();
    layout.clear_layers();
    v1::OciLayout::Image& image = *layout.add_images();
    image.set_manifest_json(documents_.manifest_bytes);
    image.set_config_json(documents_.config_bytes);
    layout.set_complete(complete);
    *layout.add_layers() = DigestToProto(layer_);
  }

  const Digest layer_ = DigestOf("layer");
  ImageDocuments documents_;
};

TEST_F(LayoutContextTest, ItIsABaseAndASourceAndHasNoName) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  worker_.writes["UNPACK " + layer_.hex()] = {File("f", "text")};
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\nCOPY --from=a f /f\n");
  Send(request);
  const v1::BuildFinished done = Build(request);
  ASSERT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("UNPACK", "one", "COPY /f"));
  EXPECT_THAT(ConfigOf(done), AllOf(HasSubstr("OF=layout"), HasSubstr(layer_.oci())));
  EXPECT_THAT(images_.List(domain_, "a"), IsOkAndHolds(IsEmpty()));
  EXPECT_FALSE(Build(request).has_error());
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(LayoutContextTest, WhatWasNotSentIsAskedFor) {
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\n");
  const v1::BuildFinished no_image = Build(request);
  EXPECT_EQ(no_image.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(no_image.error().message(), HasSubstr("the image for linux/amd64"));
  Send(request);
  const v1::BuildFinished no_layer = Build(request);
  EXPECT_EQ(no_layer.error().code(), static_cast<int>(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(no_layer.error().message(), HasSubstr(layer_.oci()));
}

TEST_F(LayoutContextTest, APlatformThatItHasNotIsNamedWithThoseThatItHas) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  v1::StartBuildRequest request = LayoutRequest("FROM --platform=linux/arm64 a\n");
  request.mutable_named_contexts(0)->mutable_layout()->set_reference("a@" +
                                                                     DigestOf("index").oci());
  Send(request, /*complete=*/true);
  const v1::BuildFinished done = Build(request);
  EXPECT_EQ(done.error().code(), static_cast<int>(absl::StatusCode::kNotFound));
  EXPECT_THAT(done.error().message(), AllOf(HasSubstr("linux/arm64"), HasSubstr("linux/amd64")));
}

TEST_F(LayoutContextTest, AManifestIsTakenWhateverItsPlatform) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  v1::StartBuildRequest request = LayoutRequest("FROM --platform=linux/arm64 a\n");
  Send(request);
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
}

TEST_F(LayoutContextTest, DocumentsThatDoNotFitAreRefused) {
  v1::StartBuildRequest request = LayoutRequest("FROM a\n");
  Send(request);
  v1::OciLayout::Image& image =
      *request.mutable_named_contexts(0)->mutable_layout()->mutable_images(0);
  image.set_config_json(image.config_json() + " ");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("the manifest names another config"));
}

TEST_F(LayoutContextTest, PlatformsAreBounded) {
  v1::StartBuildRequest request = LayoutRequest("FROM a\n");
  v1::OciLayout& layout = *request.mutable_named_contexts(0)->mutable_layout();
  for (int i = 0; i < 65; ++i) layout.add_images();
  EXPECT_THAT(Build(request).error().message(),
              HasSubstr("context a: an OCI layout of more than 64 platforms"));
}

TEST_F(LayoutContextTest, ItsLayersAreLiveWhileTheBuildIsOpen) {
  ASSERT_OK(PutBytes(blobs_, "layer"));
  v1::StartBuildRequest request = LayoutRequest("FROM a\nRUN one\n");
  Send(request);
  BuildSession session(farm_, Session::Options{.id = "b", .domain = domain_}, request);
  Session::LiveBlobs live;
  session.AddLiveBlobs(live);
  EXPECT_THAT(live.blobs, Contains(layer_));
}

TEST_F(NamedContextTest, BadOnesAreRefused) {
  v1::StartBuildRequest request = Request("FROM scratch\n");
  v1::NamedContext& context = *request.add_named_contexts();
  context.set_name("A b");
  context.set_image("x");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("invalid context name"));
  context.set_name("a");
  context.set_url("git@example.com:a/b.git");
  EXPECT_THAT(Build(request).error().message(), HasSubstr("ssh agent"));
  context.clear_source();
  EXPECT_THAT(Build(request).error().message(), HasSubstr("context a has no source"));
}

}  // namespace
}  // namespace farm
