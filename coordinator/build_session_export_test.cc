// Times of images, compression and pushes.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/digest_proto.h"
#include "base/testing/status_matchers.h"
#include "coordinator/build_session.h"
#include "coordinator/export_session.h"
#include "coordinator/testing/session_test_base.h"
#include "oci/image_config.h"

namespace farm {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST_F(BuildSessionTest, SourceDateEpochIsTheLatestTimeOfTheImage) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  (*request.mutable_build_args())["SOURCE_DATE_EPOCH"] = "0";
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(ConfigOf(done), HasSubstr("\"created\":\"1970-01-01T00:00:00Z\""));
}

TEST_F(BuildSessionTest, TimesOfTheBuildsOwnLayersAreRewritten) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\nRUN two\n");
  request.add_tags("base");
  const v1::BuildFinished base = Build(request);
  request = Request("FROM base\nRUN three\n");
  request.add_tags("app");
  request.set_rewrite_timestamps(true);
  (*request.mutable_build_args())["SOURCE_DATE_EPOCH"] = "7";
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("three", "REWRITE 7"));
  ASSERT_OK_AND_ASSIGN(const ImageConfig below, ParseImageConfig(ConfigOf(base)));
  ASSERT_OK_AND_ASSIGN(const ImageConfig config, ParseImageConfig(ConfigOf(done)));
  ASSERT_EQ(config.diff_ids.size(), 3u);
  EXPECT_EQ(config.diff_ids[0], below.diff_ids[0]);
  EXPECT_EQ(config.diff_ids[1], below.diff_ids[1]);
  // The manifest names the layers that the config does.
  const std::string manifest = *GetBytes(blobs_, *DigestFromProto(done.image().manifest()));
  for (const std::string& diff_id : config.diff_ids) EXPECT_THAT(manifest, HasSubstr(diff_id));
  // Again nothing runs.
  EXPECT_EQ(Build(request).image().manifest().hash(), done.image().manifest().hash());
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, RewritingTimesNeedsATimeBeforeAnythingRuns) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.set_rewrite_timestamps(true);
  EXPECT_THAT(Build(request).error().message(), HasSubstr("needs a time"));
  EXPECT_THAT(worker_.ran, IsEmpty());
}

TEST_F(BuildSessionTest, PushCompressesAndPushesEachLayer) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  EXPECT_THAT(worker_.ran, ElementsAre("one", "COMPRESS", "PUSH localhost:5000/app"));
  ASSERT_EQ(done.image().pushed_size(), 1);
  EXPECT_EQ(done.image().pushed(0).name(), "localhost:5000/app:v1");
}

// As many builds as the pool has threads may wait for one, and the store must answer all the same.
TEST_F(BuildSessionTest, EachExportOfLayersHasAManifestOfItsOwn) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("app");
  for (const std::string compression : {"", "gzip"}) {
    v1::Export& wanted = *request.add_exports();
    wanted.set_kind(v1::Export::KIND_LAYERS);
    wanted.set_compression(compression);
  }
  request.add_exports()->set_kind(v1::Export::KIND_IMAGE);
  const v1::BuildFinished done = Build(request);
  EXPECT_FALSE(done.has_error()) << done.error().message();
  ASSERT_EQ(done.image().export_manifests_size(), 3);
  const auto media_type = [&](int i) {
    const Digest digest = *DigestFromProto(done.image().export_manifests(i));
    return ParseManifest(*GetBytes(blobs_, digest))->layers.at(0).media_type;
  };
  EXPECT_EQ(media_type(0), kOciLayerType);
  EXPECT_EQ(media_type(1), kOciLayerGzipType);
  EXPECT_EQ(done.image().export_manifests(2).hash(), "");
  EXPECT_EQ(images_.Find("main", "app")->manifest.layers.at(0).media_type, kOciLayerType)
      << "the tag stays where it is";
}

// After a power cut a name must lead to bytes.
TEST_F(BuildSessionTest, ASessionEndsOnceAllThatItNamesIsPublished) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  v1::Export& wanted = *request.add_exports();
  wanted.set_kind(v1::Export::KIND_LAYERS);
  wanted.set_compression("gzip");
  int published = 0;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "e1", .domain = "main"}, request);
  session->events().Watch(0, [&](const EventStream::SharedEvent& event) {
    if (!event->has_finished()) return;
    EXPECT_OK(index_.Scan(IndexTable::kAction, "", "",
                          [&](absl::string_view, absl::string_view) { return ++published > 0; }));
  });
  session->Start();
  // One turn of the pool at a time, the last work first: what is published comes late.
  for (int turn = 0; turn < 1000 && !session->events().finished(); ++turn) {
    loop_.RunAll();
    slow_pool_.RunAll();
    if (!pool_.RunLast()) worker_.Turn(runner_);
  }
  EXPECT_EQ(published, 2) << "the step and its compressed layer";
}

TEST_F(BuildSessionTest, ARegistryIsWaitedForApartFromTheRest) {
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "r1", .domain = "main"}, Request("FROM alpine\nRUN one\n"));
  session->Start();
  loop_.RunAll();
  pool_.RunAll();
  EXPECT_THAT(registry_.calls(), IsEmpty());
  slow_pool_.RunAll();
  EXPECT_THAT(registry_.calls(), Not(IsEmpty()));
}

TEST_F(BuildSessionTest, ACancelledBuildPushesNoManifest) {
  v1::StartBuildRequest request = Request("FROM scratch\nRUN one\n");
  request.add_tags("localhost:5000/app:v1");
  request.add_exports()->set_kind(v1::Export::KIND_PUSH);
  worker_.registry = &registry_;
  auto session = std::make_shared<BuildSession>(
      farm_, Session::Options{.id = "p1", .domain = "main"}, request);
  session->Start();
  slow_pool_.RunAll();  // It has no base to resolve, and so only the push is left for it.
  for (bool moved = true; moved;) {
    while (!loop_.empty() || !pool_.empty()) {
      loop_.RunAll();
      pool_.RunAll();
    }
    moved = worker_.Turn(runner_) || !loop_.empty() || !pool_.empty();
  }
  ASSERT_THAT(worker_.ran, Contains("PUSH localhost:5000/app"));
  ASSERT_FALSE(slow_pool_.empty());
  session->Cancel();
  Settle();
  EXPECT_FALSE(registry_.HasManifest("localhost:5000/app:v1"));
}

}  // namespace
}  // namespace farm
