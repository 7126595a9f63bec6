// HttpRegistry and image archives against docker-registry and skopeo.
#include <fcntl.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/testing/status_matchers.h"
#include "oci/archive_reader.h"
#include "oci/http_registry.h"
#include "oci/layout_writer.h"
#include "oci/manifest.h"
#include "oci/testing/image_documents.h"
#include "tests/testing/process.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

// "user:pass", by bcrypt.
constexpr char kHtpasswd[] = "user:$2y$05$abcdefghijklmnopqrstuuZFBUbfXoM8LFiPx8LYlO/sXZB/Cwk3K\n";

// An empty tar, so that programs which unpack layers are content.
std::string EmptyTar() { return std::string(1024, '\0'); }

class RealRegistryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!HasProgram("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    StartRegistry("");
  }

  void StartRegistry(const std::string& auth, const std::string& tls = "") {
    port_ = FreePort();
    const std::string config = scratch_.Write(
        "config.yml", absl::StrCat("version: 0.1\nlog: {level: error}\nstorage:\n"
                                   "  filesystem: {rootdirectory: ",
                                   scratch_ / "data",
                                   "}\n"
                                   "  delete: {enabled: true}\n",
                                   auth, "http: {addr: '127.0.0.1:", port_, "'", tls, "}\n"));
    server_ = BackgroundProcess({"docker-registry", "serve", config}, scratch_ / "log");
    ASSERT_TRUE(WaitUntil([&] {
      // Any answer will do, a refusal too.
      const absl::Status status = registry_->FetchManifest(Ref("none"), RegistryCall()).status();
      return !absl::IsUnavailable(status);
    }));
  }

  Reference Ref(absl::string_view rest) const {
    return *Reference::Parse(absl::StrCat("127.0.0.1:", port_, "/", rest));
  }

  static Descriptor BlobOf(absl::string_view bytes) {
    Descriptor blob;
    blob.media_type = kOciLayerType;
    blob.digest = DigestOf(bytes);
    return blob;
  }

  absl::Status Push(const Reference& repository, const std::string& bytes) {
    return registry_->PushBlob(
        repository, BlobOf(bytes),
        [&](const Descriptor&, int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
          return std::make_unique<StringSource>(absl::string_view(bytes).substr(offset));
        },
        call_);
  }

  absl::StatusOr<std::string> Fetch(const Reference& repository, const Descriptor& blob,
                                    int64_t offset) {
    StringSink sink;
    const absl::Status status = registry_->FetchBlob(repository, blob, offset, sink, call_);
    if (!status.ok()) return status;
    return sink.Take();
  }

  ImageDocuments MakeImage() {
    ImageConfig config;
    config.platform = Platform::Host();
    const std::string layer = EmptyTar();
    return MakeImageDocuments(std::move(config), {BlobOf(layer)});
  }

  void PushImage(const Reference& reference, const ImageDocuments& image) {
    ASSERT_OK(Push(reference, EmptyTar()));
    ASSERT_OK(Push(reference, image.config_bytes));
    ASSERT_THAT(registry_->PushManifest(reference, kOciManifestType, image.manifest_bytes, call_),
                IsOkAndHolds(image.manifest.digest));
  }

  ScratchDir scratch_;
  int port_ = 0;
  BackgroundProcess server_;
  SystemClock clock_;
  HttpRegistryOptions options_;
  std::unique_ptr<HttpRegistry> registry_ = std::make_unique<HttpRegistry>(options_, clock_);
  RegistryAuth auth_;
  RegistryCall call_;
};

TEST_F(RealRegistryTest, AnImageIsPushedAndResolved) {
  const ImageDocuments image = MakeImage();
  PushImage(Ref("team/app:v1"), image);
  ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved,
                       registry_->Resolve(Ref("team/app:v1"), Platform::Host(), call_));
  EXPECT_EQ(resolved.manifest.bytes, image.manifest_bytes);
  EXPECT_EQ(resolved.config_bytes, image.config_bytes);
  EXPECT_EQ(resolved.pinned.digest(), image.manifest.digest.oci());
  EXPECT_OK(registry_->Resolve(resolved.pinned, Platform::Host(), call_));
  EXPECT_THAT(registry_->Resolve(Ref("team/app:v2"), Platform::Host(), call_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no such image")));
}

TEST_F(RealRegistryTest, BlobsAreReadFromAnOffset) {
  const std::string bytes = std::string(300'000, 'a') + std::string(300'000, 'b');
  ASSERT_OK(Push(Ref("app"), bytes));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf(bytes), 0), IsOkAndHolds(bytes));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf(bytes), 299'999), IsOkAndHolds(bytes.substr(299'999)));
  EXPECT_THAT(registry_->HasBlob(Ref("app"), BlobOf(bytes), call_), IsOkAndHolds(true));
  EXPECT_THAT(registry_->HasBlob(Ref("app"), BlobOf("other"), call_), IsOkAndHolds(false));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf("other"), 0), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RealRegistryTest, BlobsAreSentInChunks) {
  options_.push_chunk_bytes = 100'000;
  registry_ = std::make_unique<HttpRegistry>(options_, clock_);
  const std::string bytes(250'000, 'c');
  ASSERT_OK(Push(Ref("app"), bytes));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf(bytes), 0), IsOkAndHolds(bytes));
}

TEST_F(RealRegistryTest, AnEmptyBlobIsSent) {
  ASSERT_OK(Push(Ref("app"), ""));
  EXPECT_THAT(registry_->HasBlob(Ref("app"), BlobOf(""), call_), IsOkAndHolds(true));
}

TEST_F(RealRegistryTest, BlobsAreMountedFromAnotherRepository) {
  ASSERT_OK(Push(Ref("base"), "bytes"));
  EXPECT_THAT(registry_->MountBlob(Ref("app"), BlobOf("bytes"), Ref("base"), call_),
              IsOkAndHolds(true));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf("bytes"), 0), IsOkAndHolds("bytes"));
  EXPECT_THAT(registry_->MountBlob(Ref("app"), BlobOf("absent"), Ref("base"), call_),
              IsOkAndHolds(false));
}

TEST_F(RealRegistryTest, AFailedPushCanBeRepeated) {
  const std::string bytes(3'000'000, 'd');
  int opened = 0;
  // The source fails in the middle once, as a worker's disk or network may.
  class Failing final : public ByteSource {
   public:
    explicit Failing(absl::string_view bytes) : source_(bytes) {}
    absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
      if (read_ > 1'500'000) return absl::UnavailableError("gone");
      ASSIGN_OR_RETURN(const size_t count, source_.Read(buffer, size));
      read_ += count;
      return count;
    }

   private:
    StringSource source_;
    int64_t read_ = 0;
  };
  const auto push = [&] {
    return registry_->PushBlob(
        Ref("app"), BlobOf(bytes),
        [&](const Descriptor&, int64_t offset) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
          const absl::string_view rest = absl::string_view(bytes).substr(offset);
          if (++opened == 1) return std::make_unique<Failing>(rest);
          return std::make_unique<StringSource>(rest);
        },
        call_);
  };
  EXPECT_THAT(push(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_OK(push());
  EXPECT_THAT(Fetch(Ref("app"), BlobOf(bytes), 0), IsOkAndHolds(bytes));
}

TEST_F(RealRegistryTest, AnIndexIsPushedAndReadByPlatform) {
  const ImageDocuments image = MakeImage();
  PushImage(Ref("app:one"), image);
  ImageIndex index;
  index.manifests = {image.manifest};
  ASSERT_OK(
      registry_->PushManifest(Ref("app:all"), kOciIndexType, SerializeImageIndex(index), call_));
  ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved,
                       registry_->Resolve(Ref("app:all"), Platform::Host(), call_));
  EXPECT_EQ(resolved.manifest.bytes, image.manifest_bytes);
  EXPECT_THAT(registry_->Resolve(Ref("app:all"), *Platform::Parse("linux/s390x"), call_),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no image for linux/s390x")));
}

TEST_F(RealRegistryTest, AManifestWithoutItsBlobsIsRefused) {
  EXPECT_THAT(
      registry_->PushManifest(Ref("app"), kOciManifestType, MakeImage().manifest_bytes, call_),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("blob")));
}

class PasswordRegistryTest : public RealRegistryTest {
 protected:
  void SetUp() override {
    if (!HasProgram("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    const std::string passwords = scratch_.Write("htpasswd", kHtpasswd);
    StartRegistry(absl::StrCat("auth: {htpasswd: {realm: farm, path: ", passwords, "}}\n"));
  }
};

TEST_F(PasswordRegistryTest, ThePasswordOpensIt) {
  EXPECT_THAT(Push(Ref("app"), "bytes"),
              StatusIs(absl::StatusCode::kUnauthenticated, HasSubstr("docker login")));
  call_.auth = &auth_;
  auth_.Set(Ref("app").host(), {.username = "user", .password = "pass", .identity_token = ""});
  EXPECT_OK(Push(Ref("app"), "bytes"));
  EXPECT_THAT(Fetch(Ref("app"), BlobOf("bytes"), 0), IsOkAndHolds("bytes"));
  auth_.Set(Ref("app").host(), {.username = "user", .password = "no", .identity_token = ""});
  EXPECT_THAT(Push(Ref("app"), "bytes"), StatusIs(absl::StatusCode::kUnauthenticated));
}

class TlsRegistryTest : public RealRegistryTest {
 protected:
  void SetUp() override {
    if (!HasProgram("docker-registry")) GTEST_SKIP() << "docker-registry is not installed";
    if (!HasProgram("openssl")) GTEST_SKIP() << "openssl is not installed";
    const CommandResult made =
        RunCommand({"openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=farm", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    scratch_ / "key.pem", "-out", scratch_ / "cert.pem"});
    ASSERT_EQ(made.exit_code, 0) << made.all();
    StartRegistry("");
    const ImageDocuments image = MakeImage();
    PushImage(Ref("app:v1"), image);
    server_.Stop();
    StartRegistry("", absl::StrCat(", tls: {certificate: ", scratch_ / "cert.pem",
                                   ", key: ", scratch_ / "key.pem", "}"));
  }

  // Loopback hosts are spoken to without TLS, unless they are mirrors of another host.
  absl::Status ResolveByMirror(const std::string& ca_file) {
    HttpRegistryOptions options;
    options.attempts_max = 1;
    options.ca_file = ca_file;
    options.mirrors["registry.invalid"] = {absl::StrCat("https://127.0.0.1:", port_)};
    HttpRegistry registry(options, clock_);
    return registry.Resolve(*Reference::Parse("registry.invalid/app:v1"), Platform::Host(), call_)
        .status();
  }
};

TEST_F(TlsRegistryTest, OnlyATrustedCertificateIsAccepted) {
  EXPECT_OK(ResolveByMirror(scratch_ / "cert.pem"));
  EXPECT_THAT(ResolveByMirror(""), StatusIs(absl::StatusCode::kUnavailable));
}

class SkopeoTest : public RealRegistryTest {
 protected:
  void SetUp() override {
    if (!HasProgram("skopeo")) GTEST_SKIP() << "skopeo is not installed";
    RealRegistryTest::SetUp();
  }

  CommandResult Copy(const std::string& from, const std::string& to) {
    CommandOptions options;
    options.env["HOME"] = scratch_.path();
    return RunCommand({"skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false",
                       "--src-tls-verify=false", from, to},
                      options);
  }

  // Writes the archive with `write` and gives its path.
  template <typename Write>
  std::string WriteArchive(const ImageDocuments& image, Write write) {
    ArchiveImage archived;
    archived.names = {*Reference::Parse("team/app:v1")};
    archived.manifest = image.manifest;
    archived.manifest_bytes = image.manifest_bytes;
    archived.config_bytes = image.config_bytes;
    StringSink sink;
    EXPECT_OK(write(
        {archived},
        [&](const Descriptor&, int64_t) -> absl::StatusOr<std::unique_ptr<ByteSource>> {
          layer_ = EmptyTar();
          return std::make_unique<StringSource>(layer_);
        },
        sink, LayoutOptions()));
    return scratch_.Write("image.tar", sink.bytes());
  }

  std::string layer_;
};

TEST_F(SkopeoTest, ReadsOurOciTar) {
  const ImageDocuments image = MakeImage();
  const std::string path = WriteArchive(image, WriteOciTar);
  const CommandResult copied =
      Copy("oci-archive:" + path, "docker://" + Ref("copied:v1").canonical());
  ASSERT_EQ(copied.exit_code, 0) << copied.all();
  ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved,
                       registry_->Resolve(Ref("copied:v1"), Platform::Host(), call_));
  EXPECT_EQ(resolved.config_bytes, image.config_bytes);
}

TEST_F(SkopeoTest, ReadsOurDockerTar) {
  const ImageDocuments image = MakeImage();
  const std::string path = WriteArchive(image, WriteDockerTar);
  const CommandResult copied =
      Copy("docker-archive:" + path + ":team/app:v1", "docker://" + Ref("copied:v1").canonical());
  ASSERT_EQ(copied.exit_code, 0) << copied.all();
  ASSERT_OK_AND_ASSIGN(const ResolvedImage resolved,
                       registry_->Resolve(Ref("copied:v1"), Platform::Host(), call_));
  EXPECT_EQ(resolved.config_bytes, image.config_bytes);
}

TEST_F(SkopeoTest, WritesArchivesThatWeRead) {
  const ImageDocuments image = MakeImage();
  PushImage(Ref("app:v1"), image);
  for (const std::string form : {"docker-archive", "oci-archive"}) {
    const std::string path = scratch_ / form;
    const CommandResult copied = Copy("docker://" + Ref("app:v1").canonical(),
                                      absl::StrCat(form, ":", path, ":example.com/app:v1"));
    ASSERT_EQ(copied.exit_code, 0) << copied.all();
    UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_OK_AND_ASSIGN(const auto reader, ArchiveReader::Open(std::move(file)));
    ASSERT_EQ(reader->images().size(), 1u);
    EXPECT_EQ(reader->images()[0].config_bytes, image.config_bytes);
    ASSERT_EQ(reader->images()[0].names.size(), 1u) << form;
    EXPECT_EQ(reader->images()[0].names[0].familiar(), "example.com/app:v1");
  }
}

}  // namespace
}  // namespace farm
