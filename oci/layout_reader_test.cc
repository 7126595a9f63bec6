#include "oci/layout_reader.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "oci/testing/test_layout.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr auto kNotFound = absl::StatusCode::kNotFound;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

const Platform kAmd64 = *Platform::Parse("linux/amd64");
const Platform kArm64 = *Platform::Parse("linux/arm64");

std::string NewDirectory() {
  std::string path = absl::StrCat(::testing::TempDir(), "/layoutXXXXXX");
  return mkdtemp(path.data());
}

class LayoutReaderTest : public ::testing::Test {
 protected:
  LayoutReaderTest() : layout_(NewDirectory()), reader_(layout_.directory()) {}
  ~LayoutReaderTest() override { std::filesystem::remove_all(layout_.directory()); }

  // Fewer or other bytes in a blob.
  void Damage(const Digest& blob, const std::string& bytes) {
    std::ofstream(layout_.BlobPath(blob)) << bytes;
  }
  static std::string Oci(const Descriptor& descriptor) { return descriptor.digest.oci(); }

  TestLayout layout_;
  const LayoutReader reader_;
};

TEST_F(LayoutReaderTest, ATagIsFoundByItsAnnotation) {
  const Descriptor one = layout_.AddImage("linux/amd64", {"one"});
  const Descriptor two = layout_.AddImage("linux/amd64", {"two"});
  layout_.Tag("1", one);
  layout_.Tag("2", two);
  EXPECT_THAT(reader_.DigestOfTag("2"), IsOkAndHolds(Oci(two)));
}

TEST_F(LayoutReaderTest, AMissingTagSaysWhichThereAre) {
  layout_.Tag("1.0", layout_.AddImage("linux/amd64", {"one"}));
  layout_.Tag("dev", layout_.AddImage("linux/amd64", {"two"}));
  EXPECT_THAT(reader_.DigestOfTag("latest"),
              StatusIs(kNotFound, HasSubstr("no tag \"latest\"; there are: 1.0, dev")));
}

TEST_F(LayoutReaderTest, WithoutTagsADigestIsSuggested) {
  const Descriptor image = layout_.AddImage("linux/amd64", {"one"});
  layout_.Tag("", image);
  EXPECT_THAT(reader_.DigestOfTag("latest"), StatusIs(kNotFound, HasSubstr("@" + Oci(image))));
}

TEST_F(LayoutReaderTest, WhatIsNoLayoutIsSaid) {
  EXPECT_THAT(reader_.DigestOfTag("1"), StatusIs(kNotFound, HasSubstr("there is no index.json")));
  EXPECT_THAT(LayoutReader("/none/of/this").DigestOfTag("1"),
              StatusIs(kNotFound, HasSubstr("/none/of/this: no such directory")));
  std::ofstream(layout_.directory() + "/index.json") << "{]";
  EXPECT_THAT(reader_.DigestOfTag("1"), StatusIs(kInvalid, HasSubstr("index.json")));
}

TEST_F(LayoutReaderTest, AnImageIsReadByTheDigestOfItsManifest) {
  const Descriptor entry = layout_.AddImage("linux/arm64", {"lower", "upper"});
  // It is the only one, and so asked for whatever the platform is.
  ASSERT_OK_AND_ASSIGN(const LayoutReader::Image image, reader_.ImageFor(Oci(entry), kAmd64));
  EXPECT_EQ(DigestOf(image.manifest_bytes), entry.digest);
  EXPECT_EQ(DigestOf(image.config_bytes), image.manifest.config.digest);
  EXPECT_EQ(image.config.platform, kArm64);
  ASSERT_THAT(image.manifest.layers, SizeIs(2));
  ASSERT_OK_AND_ASSIGN(const auto source, reader_.OpenLayer(image.manifest.layers[1]));
  StringSink bytes;
  ASSERT_OK(CopyBytes(*source, bytes));
  EXPECT_EQ(bytes.bytes(), "upper");
}

TEST_F(LayoutReaderTest, OfSeveralPlatformsTheOneAskedForIsTaken) {
  const Descriptor index = layout_.AddIndex(
      {layout_.AddImage("linux/amd64", {"amd64"}), layout_.AddImage("linux/arm64", {"arm64"})});
  ASSERT_OK_AND_ASSIGN(const LayoutReader::Image image, reader_.ImageFor(Oci(index), kArm64));
  EXPECT_EQ(image.config.platform, kArm64);
  EXPECT_THAT(reader_.ImagesOf(Oci(index)), IsOkAndHolds(SizeIs(2)));
  EXPECT_THAT(reader_.ImageFor(Oci(index), *Platform::Parse("linux/s390x")),
              StatusIs(kNotFound, AllOf(HasSubstr("linux/amd64"), HasSubstr("linux/arm64"))));
}

TEST_F(LayoutReaderTest, PlatformsThatWereNotCopiedAreNone) {
  const Descriptor arm64 = layout_.AddImage("linux/arm64", {"arm64"});
  const Descriptor index = layout_.AddIndex({layout_.AddImage("linux/amd64", {"amd64"}), arm64});
  std::filesystem::remove(layout_.BlobPath(arm64.digest));
  EXPECT_THAT(reader_.ImagesOf(Oci(index)), IsOkAndHolds(SizeIs(1)));
  EXPECT_THAT(reader_.ImageFor(Oci(index), kArm64),
              StatusIs(kNotFound, AllOf(HasSubstr("linux/arm64"), HasSubstr(arm64.digest.hex()))));
}

TEST_F(LayoutReaderTest, AMissingBlobIsNamed) {
  const Descriptor entry = layout_.AddImage("linux/amd64", {"lower", "upper"});
  std::filesystem::remove(layout_.BlobPath(DigestOf("upper")));
  EXPECT_THAT(
      reader_.ImageFor(Oci(entry), kAmd64),
      StatusIs(kNotFound, AllOf(HasSubstr("layer 1: "), HasSubstr(DigestOf("upper").hex()))));
  std::filesystem::remove(layout_.BlobPath(entry.digest));
  EXPECT_THAT(reader_.ImageFor(Oci(entry), kAmd64),
              StatusIs(kNotFound, HasSubstr(entry.digest.hex())));
  EXPECT_THAT(reader_.CheckBlob(Oci(entry)), StatusIs(kNotFound, HasSubstr(entry.digest.hex())));
}

TEST_F(LayoutReaderTest, ABlobOfAnotherDigestOrSizeIsDataLoss) {
  const Descriptor entry = layout_.AddImage("linux/amd64", {"layer"});
  Damage(DigestOf("layer"), "lay");
  EXPECT_THAT(reader_.ImageFor(Oci(entry), kAmd64),
              StatusIs(kDataLoss, HasSubstr("has 3 bytes; the manifest says 5")));
  Damage(entry.digest, "{}");
  EXPECT_THAT(reader_.ImageFor(Oci(entry), kAmd64),
              StatusIs(kDataLoss, HasSubstr("its digest is " + DigestOf("{}").oci())));
}

TEST_F(LayoutReaderTest, WhatIsNoImageIsRefused) {
  const Digest text = layout_.AddBlob("text");
  EXPECT_THAT(reader_.ImageFor(text.oci(), kAmd64), StatusIs(kInvalid));
  EXPECT_THAT(reader_.ImageFor("sha256:12", kAmd64), StatusIs(kInvalid));
  Manifest artifact;
  artifact.config = {.media_type = "application/vnd.example", .digest = layout_.AddBlob("{}")};
  const Digest manifest = layout_.AddBlob(SerializeManifest(artifact));
  EXPECT_THAT(reader_.ImageFor(manifest.oci(), kAmd64),
              StatusIs(kInvalid, HasSubstr("artifact of type application/vnd.example")));
}

}  // namespace
}  // namespace farm
