// What the layout writer writes, the archive reader reads; and what others write.
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/sha256.h"
#include "base/testing/status_matchers.h"
#include "oci/archive_reader.h"
#include "oci/layout_writer.h"
#include "oci/testing/image_documents.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

Reference Ref(absl::string_view text) { return *Reference::Parse(text); }

// Blobs by digest.
class ArchiveTest : public ::testing::Test {
 protected:
  // An image with layers of these bytes.
  ArchiveImage MakeImage(const std::vector<std::string>& names,
                         const std::vector<std::string>& layers,
                         absl::string_view layer_type = kOciLayerType,
                         absl::string_view author = "") {
    ImageConfig config;
    config.author = std::string(author);
    config.platform = Platform::Host();
    std::vector<Descriptor> blobs;
    for (const std::string& bytes : layers) {
      Descriptor blob;
      blob.media_type = std::string(layer_type);
      blob.digest = DigestOf(bytes);
      blobs_[blob.digest] = bytes;
      blobs.push_back(std::move(blob));
    }
    const ImageDocuments made = MakeImageDocuments(std::move(config), std::move(blobs));
    ArchiveImage image;
    for (const std::string& name : names) image.names.push_back(Ref(name));
    image.manifest = made.manifest;
    image.manifest_bytes = made.manifest_bytes;
    image.config_bytes = made.config_bytes;
    return image;
  }

  BlobOpener Opener() {
    return [this](const Descriptor& blob,
                  int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
      ++opened_[blob.digest];
      const auto found = blobs_.find(blob.digest);
      if (found == blobs_.end()) return absl::NotFoundError("no such blob");
      return std::make_unique<StringSource>(absl::string_view(found->second).substr(offset));
    };
  }

  std::string OciTar(const std::vector<ArchiveImage>& images) {
    StringSink sink;
    EXPECT_OK(WriteOciTar(images, Opener(), sink));
    return sink.Take();
  }

  std::string DockerTar(const std::vector<ArchiveImage>& images) {
    StringSink sink;
    EXPECT_OK(WriteDockerTar(images, Opener(), sink));
    return sink.Take();
  }

  std::map<Digest, std::string> blobs_;
  std::map<Digest, int> opened_;
};

UniqueFd MemoryFile(const std::string& bytes) {
  UniqueFd fd(memfd_create("archive", MFD_CLOEXEC));
  EXPECT_OK(FdSink(fd.get()).Write(bytes));
  return fd;
}

absl::StatusOr<std::unique_ptr<ArchiveReader>> Read(const std::string& tar,
                                                    ArchiveReaderOptions options = {}) {
  return ArchiveReader::Open(MemoryFile(tar), std::move(options));
}

std::string LayerBytes(const ArchiveReader& reader, size_t image, size_t layer,
                       int64_t offset = 0) {
  StringSink sink;
  EXPECT_OK(CopyBytes(**reader.OpenLayer(image, layer, offset), sink));
  return sink.Take();
}

// A file of a tar as other programs write it; `link` makes it a symbolic link.
struct TarFile {
  std::string name;
  std::string bytes;
  std::string link = "";
};

std::string Tar(const std::vector<TarFile>& files, bool gzip = false) {
  std::string result(1 << 20, '\0');
  size_t used = 0;
  archive* a = archive_write_new();
  archive_write_set_format_pax_restricted(a);
  if (gzip) archive_write_add_filter_gzip(a);
  archive_write_open_memory(a, result.data(), result.size(), &used);
  for (const TarFile& file : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, file.name.c_str());
    archive_entry_set_perm(entry, 0644);
    if (file.link.empty()) {
      archive_entry_set_filetype(entry, AE_IFREG);
      archive_entry_set_size(entry, file.bytes.size());
    } else {
      archive_entry_set_filetype(entry, AE_IFLNK);
      archive_entry_set_symlink(entry, file.link.c_str());
    }
    archive_write_header(a, entry);
    archive_write_data(a, file.bytes.data(), file.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  result.resize(used);
  return result;
}

std::string ConfigWith(const std::vector<std::string>& layers) {
  ImageConfig config;
  config.platform = Platform::Host();
  for (const std::string& layer : layers) config.diff_ids.push_back(DigestOf(layer).oci());
  return SerializeImageConfig(config);
}

// As engines before 25 write it: a folder for each layer, repeated layers as links.
std::vector<TarFile> OldDockerSave() {
  return {{"1/layer.tar", "one"},
          {"2/layer.tar", "", "../1/layer.tar"},
          {"c.json", ConfigWith({"one", "one"})},
          {"manifest.json", R"([{"Config":"c.json","RepoTags":["app:v1","h.io/app:v2"],)"
                            R"("Layers":["1/layer.tar","2/layer.tar"]}])"}};
}

TEST_F(ArchiveTest, AnOciTarIsReadBack) {
  const ArchiveImage image = MakeImage({"app:v1", "quay.io/team/app"}, {"lower", "upper"});
  ASSERT_OK_AND_ASSIGN(const auto reader, Read(OciTar({image})));
  ASSERT_THAT(reader->images(), SizeIs(1));
  const LoadedImage& loaded = reader->images()[0];
  EXPECT_THAT(loaded.names, ElementsAre(Ref("app:v1"), Ref("quay.io/team/app:latest")));
  EXPECT_EQ(loaded.manifest_bytes, image.manifest_bytes);
  EXPECT_EQ(loaded.config_bytes, image.config_bytes);
  EXPECT_EQ(loaded.layers, ParseManifest(image.manifest_bytes)->layers);
  EXPECT_EQ(LayerBytes(*reader, 0, 0), "lower");
  EXPECT_EQ(LayerBytes(*reader, 0, 1), "upper");
  EXPECT_EQ(LayerBytes(*reader, 0, 1, 3), "er");
}

TEST_F(ArchiveTest, ADockerTarIsReadBackByItsManifestJsonAlone) {
  const ArchiveImage image = MakeImage({"app:v1"}, {"lower", "upper"});
  // Without its index.json it is what an old engine sees.
  std::string tar = DockerTar({image});
  const size_t name = tar.find("index.json");
  ASSERT_NE(name, std::string::npos);
  tar.replace(name, 10, "other.json");
  // The header's checksum counts letters: i+n+d+e+x and o+t+h+e+r.
  for (size_t sum = 0, i = name; i < name + 512; ++i) {
    sum += (i >= name + 148 && i < name + 156) ? ' ' : static_cast<unsigned char>(tar[i]);
    if (i + 1 == name + 512) {
      char text[8];
      snprintf(text, sizeof(text), "%06zo", sum);
      tar.replace(name + 148, 7, text, 7);
    }
  }
  ASSERT_OK_AND_ASSIGN(const auto reader, Read(tar));
  ASSERT_THAT(reader->images(), SizeIs(1));
  EXPECT_THAT(reader->images()[0].names, ElementsAre(Ref("app:v1")));
  EXPECT_EQ(reader->images()[0].config_bytes, image.config_bytes);
  EXPECT_EQ(LayerBytes(*reader, 0, 1), "upper");
}

TEST_F(ArchiveTest, EqualImagesGiveEqualBytesAndEachBlobOnce) {
  const std::vector<ArchiveImage> images = {
      MakeImage({"a"}, {"shared", "one"}), MakeImage({"b"}, {"shared", "two"}, kOciLayerType, "b")};
  const std::string first = DockerTar(images);
  EXPECT_EQ(opened_[DigestOf("shared")], 1);
  EXPECT_EQ(DockerTar(images), first);
  EXPECT_THAT(Read(first)->get()->images(), SizeIs(2));
}

TEST_F(ArchiveTest, WhatDoesNotFitTogetherIsNotWritten) {
  StringSink sink;
  ArchiveImage image = MakeImage({"app"}, {"layer"});
  image.config_bytes += " ";
  EXPECT_THAT(WriteOciTar({image}, Opener(), sink), StatusIs(kInvalid, HasSubstr("config")));
  image = MakeImage({"app"}, {"layer"});
  image.manifest_bytes += " ";
  EXPECT_THAT(WriteOciTar({image}, Opener(), sink), StatusIs(kInvalid, HasSubstr("manifest")));
  EXPECT_THAT(
      WriteOciTar({MakeImage({"a"}, {"1"}), MakeImage({"a:latest", "a"}, {"2"})}, Opener(), sink),
      StatusIs(kInvalid, HasSubstr("two images of one archive")));
}

TEST_F(ArchiveTest, WrongLayerBytesAreDataLoss) {
  const ArchiveImage image = MakeImage({"app"}, {"layer"});
  StringSink sink;
  blobs_[DigestOf("layer")] = "Layer";
  EXPECT_THAT(WriteOciTar({image}, Opener(), sink), StatusIs(absl::StatusCode::kDataLoss));
  blobs_[DigestOf("layer")] = "lay";
  EXPECT_THAT(WriteOciTar({image}, Opener(), sink), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ArchiveTest, DockerTarsHaveNoZstdLayers) {
  StringSink sink;
  EXPECT_THAT(WriteDockerTar({MakeImage({"a"}, {"z"}, kOciLayerZstdType)}, Opener(), sink),
              StatusIs(kInvalid, HasSubstr("zstd")));
}

TEST_F(ArchiveTest, ACancelledWriteEnds) {
  CancelToken cancel;
  cancel.Cancel();
  StringSink sink;
  EXPECT_THAT(WriteOciTar({MakeImage({"a"}, {"x"})}, Opener(), sink, {.cancel = &cancel}),
              StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ArchiveTest, ADirectoryKeepsTheBlobsItHas) {
  std::string directory = absl::StrCat(::testing::TempDir(), "/layoutXXXXXX");
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const ArchiveImage image = MakeImage({"app"}, {"layer"});
  ASSERT_OK(WriteOciDirectory({image}, Opener(), directory));
  ASSERT_OK(WriteOciDirectory({image}, Opener(), directory));
  EXPECT_EQ(opened_[DigestOf("layer")], 1);
  EXPECT_THAT(ReadFile(absl::StrCat(directory, "/blobs/sha256/", DigestOf("layer").hex())),
              IsOkAndHolds("layer"));
  ASSERT_OK_AND_ASSIGN(const std::string index, ReadFile(directory + "/index.json"));
  EXPECT_EQ(ParseImageIndex(index)->manifests[0].digest, image.manifest.digest);
  EXPECT_OK(ReadFile(directory + "/oci-layout"));
}

TEST_F(ArchiveTest, ABlobThatFailsLeavesNothingInTheDirectory) {
  std::string directory = absl::StrCat(::testing::TempDir(), "/layoutXXXXXX");
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  const ArchiveImage image = MakeImage({"app"}, {"layer"});
  blobs_[DigestOf("layer")] = "bad";
  EXPECT_FALSE(WriteOciDirectory({image}, Opener(), directory).ok());
  EXPECT_FALSE(ReadFile(directory + "/index.json").ok());
  EXPECT_FALSE(ReadFile(absl::StrCat(directory, "/blobs/sha256/", DigestOf("layer").hex())).ok());
}

TEST(ArchiveReaderTest, OldDockerArchivesAreRead) {
  for (const bool gzip : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const auto reader, Read(Tar(OldDockerSave(), gzip)));
    ASSERT_THAT(reader->images(), SizeIs(1));
    const LoadedImage& image = reader->images()[0];
    EXPECT_THAT(image.names, ElementsAre(Ref("app:v1"), Ref("h.io/app:v2")));
    EXPECT_EQ(image.layers[0].media_type, kOciLayerType);
    EXPECT_EQ(LayerBytes(*reader, 0, 0), "one");
    EXPECT_EQ(LayerBytes(*reader, 0, 1), "one");
    EXPECT_THAT(reader->OpenLayer(0, 2), StatusIs(kInvalid));
    EXPECT_THAT(reader->OpenLayer(0, 0, 4), StatusIs(kInvalid));
  }
}

TEST(ArchiveReaderTest, LayersAreWhatTheirFirstBytesSay) {
  std::vector<TarFile> files = OldDockerSave();
  files[0].bytes = "\x1f\x8b...";
  EXPECT_EQ(Read(Tar(files))->get()->images()[0].layers[0].media_type, kOciLayerGzipType);
  files[0].bytes = "\x28\xb5\x2f\xfd...";
  EXPECT_EQ(Read(Tar(files))->get()->images()[0].layers[0].media_type, kOciLayerZstdType);
}

TEST(ArchiveReaderTest, LongNamesAndOddPathsAreFound) {
  const std::string folder(150, 'f');
  std::vector<TarFile> files = OldDockerSave();
  files[0].name = "./" + folder + "/layer.tar";
  files[1].link = "../" + folder + "/./layer.tar";
  files[3].bytes = absl::StrReplaceAll(files[3].bytes, {{"1/layer.tar", folder + "/layer.tar"}});
  ASSERT_OK_AND_ASSIGN(const auto reader, Read(Tar(files)));
  EXPECT_EQ(LayerBytes(*reader, 0, 1), "one");
}

TEST(ArchiveReaderTest, LinksInCirclesEnd) {
  std::vector<TarFile> files = OldDockerSave();
  files[0] = {"1/layer.tar", "", "../2/layer.tar"};
  EXPECT_THAT(Read(Tar(files)), StatusIs(kInvalid, HasSubstr("too many links")));
}

TEST(ArchiveReaderTest, LinksDoNotLeaveTheArchive) {
  std::vector<TarFile> files = OldDockerSave();
  files[0] = {"1/layer.tar", "", "/etc/passwd"};
  EXPECT_THAT(Read(Tar(files)), StatusIs(kInvalid, HasSubstr("is missing")));
  files[0] = {"1/layer.tar", "", "../../../../etc/passwd"};
  EXPECT_THAT(Read(Tar(files)), StatusIs(kInvalid, HasSubstr("is missing")));
}

TEST(ArchiveReaderTest, BadArchivesAreRefused) {
  EXPECT_THAT(Read("no tar at all, but some text"), StatusIs(kInvalid));
  EXPECT_THAT(Read(""), StatusIs(kInvalid));
  EXPECT_THAT(Read(Tar({{"a", "b"}})), StatusIs(kInvalid, HasSubstr("neither oci-layout")));
  EXPECT_THAT(Read(Tar({{"manifest.json", "[]"}})), StatusIs(kInvalid, HasSubstr("no container")));
  EXPECT_THAT(Read(Tar({{"manifest.json", "{}"}})),
              StatusIs(kInvalid, HasSubstr("expected an array")));

  std::vector<TarFile> files = OldDockerSave();
  files[2].bytes = ConfigWith({"one"});
  EXPECT_THAT(Read(Tar(files)), StatusIs(kInvalid, HasSubstr("2 layers, but its config 1")));
  files = OldDockerSave();
  files.erase(files.begin());
  EXPECT_THAT(Read(Tar(files)), StatusIs(kInvalid, HasSubstr("is missing")));
}

TEST_F(ArchiveTest, AChangedDocumentIsDataLoss) {
  std::string tar = OciTar({MakeImage({"app"}, {"layer"})});
  const size_t at = tar.find("\"rootfs\"");
  ASSERT_NE(at, std::string::npos);
  tar[at + 1] = 'R';
  EXPECT_THAT(Read(tar), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(ArchiveTest, ATruncatedArchiveIsRefused) {
  const std::string tar = OciTar({MakeImage({"app"}, {std::string(5000, 'x')})});
  for (size_t size = 512; size < tar.size() - 1024; size += 512) {
    EXPECT_FALSE(Read(tar.substr(0, size)).ok()) << size;
  }
}

TEST_F(ArchiveTest, LimitsAreKept) {
  const std::string tar = OciTar({MakeImage({"a"}, {"1"}), MakeImage({"b"}, {"2"})});
  const auto exhausted = StatusIs(absl::StatusCode::kResourceExhausted);
  ArchiveReaderOptions options;
  options.entries_max = 3;
  EXPECT_THAT(Read(tar, options), exhausted);
  options = {};
  options.document_bytes_max = 10;
  EXPECT_THAT(Read(tar, options), exhausted);
  options = {};
  options.images_max = 1;
  EXPECT_THAT(Read(tar, options), exhausted);
  options = {};
  options.unpacked_bytes_max = 100;
  EXPECT_THAT(Read(Tar(OldDockerSave(), /*gzip=*/true), options), exhausted);
}

TEST_F(ArchiveTest, ABareTagIsNoName) {
  ArchiveImage image = MakeImage({}, {"layer"});
  image.manifest.annotations["org.opencontainers.image.ref.name"] = "latest";
  EXPECT_THAT(Read(OciTar({image}))->get()->images()[0].names, IsEmpty());
  image.manifest.annotations["org.opencontainers.image.ref.name"] = "app:v1";
  EXPECT_THAT(Read(OciTar({image}))->get()->images()[0].names, ElementsAre(Ref("app:v1")));
}

}  // namespace
}  // namespace farm
