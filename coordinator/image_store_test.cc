#include "coordinator/image_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// An index in which something happens just before the next change.
class BusyIndex final : public Index {
 public:
  std::function<void()> meanwhile;

  absl::StatusOr<std::string> Get(IndexTable table, absl::string_view key) override {
    return inner_.Get(table, key);
  }
  absl::Status Apply(const IndexBatch& batch, Durability durability) override {
    if (meanwhile) std::exchange(meanwhile, nullptr)();
    return inner_.Apply(batch, durability);
  }
  absl::Status Scan(
      IndexTable table, absl::string_view prefix, absl::string_view start,
      const std::function<bool(absl::string_view key, absl::string_view value)>& visit) override {
    return inner_.Scan(table, prefix, start, visit);
  }

 private:
  MemoryIndex inner_;
};

class ImageStoreTest : public testing::Test {
 protected:
  Digest Put(const std::vector<std::string>& tags,
             const std::vector<std::string>& repo_digests = {},
             const std::string& config_type = kOciConfigType) {
    ImageConfig config;
    config.created = created_;
    const std::string config_bytes = SerializeImageConfig(config);
    Manifest manifest;
    manifest.config = {.media_type = config_type, .digest = DigestOf(config_bytes)};
    return images_.Put("main", SerializeManifest(manifest), config_bytes, "", repo_digests, tags)
        .value();
  }
  std::vector<std::string> Untagged(const v1::RemoveImageResponse& response) {
    return {response.untagged().begin(), response.untagged().end()};
  }
  bool Has(const std::string& name) { return images_.Find("main", name).ok(); }

  FakeClock clock_;
  absl::Time created_ = absl::UnixEpoch();  // Images that differ in it have other ids.
  MemoryBlobStore blobs_{clock_};
  BusyIndex index_;
  ImageStore images_{blobs_, index_, clock_};
};

TEST_F(ImageStoreTest, ATagIsRemovedAndTheImageWithItsLast) {
  const Digest image = Put({"a", "b"});
  ASSERT_OK_AND_ASSIGN(const auto first, images_.Remove("main", {"a"}, false));
  EXPECT_THAT(Untagged(first), ElementsAre("a:latest"));
  EXPECT_EQ(first.deleted_size(), 0);
  EXPECT_TRUE(Has("b"));
  ASSERT_OK_AND_ASSIGN(const auto last, images_.Remove("main", {"b"}, false));
  EXPECT_EQ(last.deleted_size(), 1);
  EXPECT_THAT(images_.Tag("main", "c", image), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ImageStoreTest, AnIdTakesAllTagsOnlyByForce) {
  Put({"a", "other/b"});
  const std::string id = images_.Find("main", "a")->record.config().hash();
  EXPECT_THAT(images_.Remove("main", {id}, false), StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_OK_AND_ASSIGN(const auto removed, images_.Remove("main", {id}, true));
  EXPECT_THAT(Untagged(removed), UnorderedElementsAre("a:latest", "other/b:latest"));
}

// Built here and pulled again, say: the layers have another form, the image is the same.
TEST_F(ImageStoreTest, ManifestsOfOneConfigAreOneImageById) {
  const Digest built = Put({"a"});
  const Digest pulled = Put({"r.io/a"}, {}, kDockerConfigType);
  ASSERT_NE(built, pulled);
  const std::string id = images_.Find("main", "a")->record.config().hash();
  EXPECT_TRUE(Has(id.substr(0, 12)));
}

TEST_F(ImageStoreTest, AnIdIsRemovedWithAllManifestsOfItsConfig) {
  Put({"a"});
  Put({"r.io/a"}, {}, kDockerConfigType);
  const std::string id = images_.Find("main", "a")->record.config().hash();
  EXPECT_THAT(images_.Remove("main", {id}, false), StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_OK_AND_ASSIGN(const auto removed, images_.Remove("main", {id}, true));
  EXPECT_THAT(Untagged(removed), UnorderedElementsAre("a:latest", "r.io/a:latest"));
  EXPECT_THAT(removed.deleted(), ElementsAre("sha256:" + id));
  EXPECT_FALSE(Has(id));
  EXPECT_THAT(images_.List("main", ""), IsOkAndHolds(IsEmpty()));
}

TEST_F(ImageStoreTest, AnImageIsDeletedOnceWithTheLastNameOfAllItsManifests) {
  Put({"a"});
  Put({"r.io/a"}, {}, kDockerConfigType);
  ASSERT_OK_AND_ASSIGN(const auto first, images_.Remove("main", {"a"}, false));
  EXPECT_EQ(first.deleted_size(), 0);
  EXPECT_TRUE(Has("r.io/a"));
  ASSERT_OK_AND_ASSIGN(const auto last, images_.Remove("main", {"r.io/a"}, false));
  EXPECT_EQ(last.deleted_size(), 1);
}

TEST_F(ImageStoreTest, AnImageIsInspectedWithTheNamesOfAllItsManifests) {
  Put({"a"});
  Put({"r.io/a"}, {absl::StrCat("r.io/a@", DigestOf("x").oci())}, kDockerConfigType);
  ASSERT_OK_AND_ASSIGN(const v1::Image image, images_.Inspect("main", "a"));
  EXPECT_THAT(image.tags(), UnorderedElementsAre("a:latest", "r.io/a:latest"));
  EXPECT_THAT(image.repo_digests(), ElementsAre(absl::StrCat("r.io/a@", DigestOf("x").oci())));
}

TEST_F(ImageStoreTest, ImagesWithoutATagAreRemovedAtOnceAndNoOthers) {
  Put({"a"});
  created_ += absl::Seconds(1);
  for (const char* type : {kOciConfigType, kDockerConfigType}) {
    Put({}, {"r.io/a@" + DigestOf("x").oci()}, type);
  }
  const std::string id =
      images_.Find("main", "r.io/a@" + DigestOf("x").oci())->record.config().hash();
  EXPECT_THAT(images_.RemoveUntagged("main", clock_.Now() - absl::Hours(1)),
              IsOkAndHolds(IsEmpty()));
  EXPECT_THAT(images_.RemoveUntagged("main", clock_.Now()),
              IsOkAndHolds(ElementsAre("sha256:" + id)));
  EXPECT_TRUE(Has("a"));
  EXPECT_FALSE(Has("r.io/a@" + DigestOf("x").oci()));
}

TEST_F(ImageStoreTest, AFormWithoutATagIsKeptWithTheImagesTag) {
  Put({"a"});
  Put({}, {"r.io/a@" + DigestOf("x").oci()}, kDockerConfigType);
  EXPECT_THAT(images_.RemoveUntagged("main", clock_.Now()), IsOkAndHolds(IsEmpty()));
  EXPECT_TRUE(Has("r.io/a@" + DigestOf("x").oci()));
}

TEST_F(ImageStoreTest, AnImageThatGetsATagWhileItIsPrunedStays) {
  const Digest image = Put({});
  index_.meanwhile = [&] { ASSERT_OK(images_.Tag("main", "b", image)); };
  EXPECT_THAT(images_.RemoveUntagged("main", clock_.Now()), IsOkAndHolds(IsEmpty()));
  EXPECT_TRUE(Has("b"));
}

// A tag that named a removed image would keep nothing, and lead nowhere.
TEST_F(ImageStoreTest, ATagThatComesWhileTheImageIsRemovedKeepsIt) {
  const Digest image = Put({"a"});
  index_.meanwhile = [&] { ASSERT_OK(images_.Tag("main", "b", image)); };
  ASSERT_OK_AND_ASSIGN(const auto removed, images_.Remove("main", {"a"}, false));
  EXPECT_EQ(removed.deleted_size(), 0);
  EXPECT_FALSE(Has("a"));
  EXPECT_TRUE(Has("b"));
}

TEST_F(ImageStoreTest, AnImageThatIsRemovedWhileItIsTaggedIsNotFound) {
  const Digest image = Put({"a"});
  index_.meanwhile = [&] { ASSERT_OK(images_.Remove("main", {"a"}, false)); };
  EXPECT_THAT(images_.Tag("main", "b", image), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(images_.LiveBlobs(), IsOkAndHolds(IsEmpty()));
  EXPECT_FALSE(Has("b"));
}

TEST_F(ImageStoreTest, AnImageThatIsRemovedWhileItIsStoredIsStored) {
  Put({"a"});
  index_.meanwhile = [&] { ASSERT_OK(images_.Remove("main", {"a"}, false)); };
  Put({"b"});
  EXPECT_TRUE(Has("b"));
}

TEST_F(ImageStoreTest, TheLastTwoTagsRemovedAtOnceTakeTheImageWithThem) {
  const Digest image = Put({"a", "b"});
  index_.meanwhile = [&] { ASSERT_OK(images_.Remove("main", {"b"}, false)); };
  EXPECT_OK(images_.Remove("main", {"a"}, false));
  EXPECT_THAT(images_.Tag("main", "c", image), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ImageStoreTest, ADigestTakesTheNamesInItsRepositoryAlone) {
  const Digest image = Put({"a:1", "other/b:1"});
  ASSERT_OK_AND_ASSIGN(const auto removed,
                       images_.Remove("main", {absl::StrCat("a@", image.oci())}, false));
  EXPECT_THAT(Untagged(removed), ElementsAre("a:1"));
  EXPECT_EQ(removed.deleted_size(), 0);
  EXPECT_TRUE(Has("other/b:1"));
}

TEST_F(ImageStoreTest, ADigestOfARepositoryWithSeveralTagsNeedsForce) {
  const Digest image = Put({"a:1", "a:2", "other/b:1"});
  const std::string name = absl::StrCat("a@", image.oci());
  EXPECT_THAT(images_.Remove("main", {name}, false),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  ASSERT_OK_AND_ASSIGN(const auto removed, images_.Remove("main", {name}, true));
  EXPECT_THAT(Untagged(removed), UnorderedElementsAre("a:1", "a:2"));
  EXPECT_TRUE(Has("other/b:1"));
}

TEST_F(ImageStoreTest, AnImageThatWasPulledByDigestGoesByDigest) {
  const std::string name = absl::StrCat("docker.io/library/a@", DigestOf("x").oci());
  Put({}, {name});
  ASSERT_OK_AND_ASSIGN(const auto removed, images_.Remove("main", {name}, false));
  EXPECT_THAT(Untagged(removed), ElementsAre(absl::StrCat("a@", DigestOf("x").oci())));
  EXPECT_EQ(removed.deleted_size(), 1);
}

}  // namespace
}  // namespace farm
