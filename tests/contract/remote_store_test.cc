// The contracts of what keeps bytes behind the Remote Execution API, and what only a server and its
// client together can show.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "cas/cas_service.h"
#include "cas/disk_blob_store.h"
#include "cas/host_blob_store.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "cas/remote_blob_store.h"
#include "cas/resource_name.h"
#include "cas/small_blob_store.h"
#include "cas/verifying_blob_store.h"
#include "proto/build/bazel/remote/execution/v2/remote_execution.grpc.pb.h"
#include "proto/google/bytestream/bytestream.grpc.pb.h"
#include "tests/contract/blob_store_contract.h"

namespace farm {
namespace {

namespace reapi = build::bazel::remote::execution::v2;
namespace bytestream = google::bytestream;
using testing::ElementsAre;
using testing::SizeIs;

constexpr int64_t kBlobBytesMax = 6 << 20;

absl::StatusOr<std::string> InstanceIsDomain(const grpc::ServerContextBase&,
                                             absl::string_view instance) {
  if (instance == "forbidden") return absl::PermissionDeniedError("not for you");
  return instance.empty() ? "main" : std::string(instance);
}

// A CAS server on a port of its own.
class Server {
 public:
  Server(BlobStore& blobs, Index& index, const std::string& spool_dir)
      : service_(blobs, index, pool_, clock_, &InstanceIsDomain,
                 {.spool_dir = spool_dir, .blob_bytes_max = kBlobBytesMax}) {
    Start();
  }
  ~Server() { Stop(); }

  void Start() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port_),
                             grpc::InsecureServerCredentials(), &port_);
    for (grpc::Service* service : service_.services()) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
  }
  // Cuts all calls off.
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(port_),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

 private:
  FakeClock clock_;
  ThreadPool pool_{{.threads = 4}};
  CasService service_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

bool DamageFile(const std::string& dir, const Digest& digest) {
  const std::string hex = digest.hex();
  const std::string path = dir + "/blobs/sha256/" + hex.substr(0, 2) + "/" + hex;
  chmod(path.c_str(), 0600);
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  char byte;
  if (!fd.valid() || pread(fd.get(), &byte, 1, 5) != 1) return false;
  byte ^= 1;
  return pwrite(fd.get(), &byte, 1, 5) == 1;
}

// The coordinator's store behind a server.
struct Coordinator {
  TempDir dir;
  FakeClock clock;
  MemoryIndex index;
  std::unique_ptr<DiskBlobStore> large =
      DiskBlobStore::Open(clock,
                          {.dir = dir.path(), .blob_bytes_max = kBlobBytesMax, .trust_files = true})
          .value();
  SmallBlobStore blobs{clock, index, *large};
  Server server{blobs, index, large->temporary_dir()};

  bool Damage(const Digest& digest) {
    if (digest.size_bytes() > kSmallBlobBytesMax) return DamageFile(dir.path(), digest);
    const std::string key = absl::StrCat("b", digest.raw());
    std::string bytes = index.Get(IndexTable::kBlob, key).value();
    bytes[bytes.size() / 2] ^= 1;
    return index.Apply(IndexBatch().Put(IndexTable::kBlob, key, bytes), Index::Durability::kOrdered)
        .ok();
  }
};

class RemoteCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  bool can_delete() const override { return false; }
  bool Damage(const Digest& digest) override { return coordinator_.Damage(digest); }

 private:
  Coordinator coordinator_;
  RemoteBlobStore remote_{coordinator_.server.NewChannel()};
  VerifyingBlobStore store_{remote_};
};

// A server whose store has no files: other code sends and verifies its blobs.
class RemoteMemoryCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  bool can_delete() const override { return false; }
  bool Damage(const Digest& digest) override {
    blobs_.Damage(digest);
    return true;
  }

 private:
  TempDir dir_;
  FakeClock clock_;
  MemoryIndex index_;
  MemoryBlobStore blobs_{clock_, {.blob_bytes_max = kBlobBytesMax}};
  Server server_{blobs_, index_, dir_.path()};
  RemoteBlobStore remote_{server_.NewChannel()};
  VerifyingBlobStore store_{remote_};
};

class HostCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  bool can_delete() const override { return false; }
  bool Damage(const Digest& digest) override { return coordinator_.Damage(digest); }

 private:
  Coordinator coordinator_;
  RemoteBlobStore remote_{coordinator_.server.NewChannel()};
  std::unique_ptr<DiskBlobStore> shared_ =
      DiskBlobStore::Open(coordinator_.clock,
                          {.dir = coordinator_.dir.path(), .blob_bytes_max = kBlobBytesMax})
          .value();
  HostBlobStore store_{remote_, *shared_};
};

template <typename Case>
std::unique_ptr<BlobStoreCase> Make() {
  return std::make_unique<Case>();
}

INSTANTIATE_TEST_SUITE_P(Remote, BlobStoreContract, testing::Values(&Make<RemoteCase>));
INSTANTIATE_TEST_SUITE_P(RemoteMemory, BlobStoreContract, testing::Values(&Make<RemoteMemoryCase>));
INSTANTIATE_TEST_SUITE_P(Host, BlobStoreContract, testing::Values(&Make<HostCase>));

class RemoteTest : public testing::Test {
 protected:
  Coordinator coordinator_;
  std::shared_ptr<grpc::Channel> channel_ = coordinator_.server.NewChannel();
  RemoteBlobStore remote_{channel_};
};

TEST_F(RemoteTest, ABatchOfManyBlobsArrivesWhole) {
  std::vector<std::string> contents;
  std::vector<RemoteBlobStore::Blob> blobs;
  std::vector<Digest> digests;
  for (unsigned i = 0; i < 5000; ++i) contents.push_back(BytesOf(i % 7 == 0 ? 10'000 : 20, i));
  contents.push_back(BytesOf(2 << 20, 1));
  contents.push_back("");
  for (const std::string& bytes : contents) {
    blobs.push_back({DigestOf(bytes), bytes});
    digests.push_back(blobs.back().digest);
  }
  ASSERT_OK(remote_.PutBatch(blobs));
  EXPECT_THAT(coordinator_.blobs.FindMissing(digests), IsOkAndHolds(SizeIs(0)));

  digests.push_back(DigestOf("never stored"));
  size_t found = 0;
  std::vector<Digest> missing;
  ASSERT_OK(remote_.GetBatch(digests, [&](const Digest& digest, absl::StatusOr<std::string> bytes) {
    if (bytes.ok()) {
      EXPECT_EQ(DigestOf(*bytes), digest);
      ++found;
    } else {
      EXPECT_THAT(bytes, StatusIs(absl::StatusCode::kNotFound));
      missing.push_back(digest);
    }
  }));
  EXPECT_EQ(found, contents.size());
  EXPECT_THAT(missing, ElementsAre(digests.back()));
}

TEST_F(RemoteTest, AWrongBlobOfABatchIsAnError) {
  EXPECT_THAT(remote_.PutBatch({{{DigestOf("right"), "wrong"}}}),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_F(RemoteTest, ACallWithoutTheRightToItIsRefused) {
  RemoteBlobStore other(channel_, {.instance = "forbidden"});
  const std::string large = BytesOf(2 << 20, 1);
  EXPECT_THAT(PutBytes(other, "x").status(), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(PutBytes(other, large).status(), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(GetBytes(other, DigestOf(large)), StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(other.FindMissing({DigestOf("x")}), StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(RemoteTest, PrepareSeesEachCallsContext) {
  std::atomic<int> calls = 0;
  RemoteBlobStore other(channel_, {.prepare = [&](grpc::ClientContext&) { ++calls; }});
  ASSERT_OK(PutBytes(other, "x"));
  ASSERT_OK(PutBytes(other, BytesOf(2 << 20, 1)));
  EXPECT_EQ(calls, 2);
}

TEST_F(RemoteTest, AServerThatIsGoneIsUnavailableAfterTheAttempts) {
  coordinator_.server.Stop();
  RemoteBlobStore other(channel_, {.attempts_max = 2, .backoff_min = absl::Milliseconds(1)});
  EXPECT_THAT(PutBytes(other, "x").status(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(PutBytes(other, BytesOf(2 << 20, 1)).status(),
              StatusIs(absl::StatusCode::kUnavailable));
}

// Restarts the server once, when a part of the blob is through.
class RestartingSource final : public ByteSource {
 public:
  RestartingSource(absl::string_view bytes, size_t restart_at, Server& server)
      : source_(bytes), restart_at_(restart_at), server_(server) {}
  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t count, source_.Read(buffer, size));
    done_ += count;
    if (done_ >= restart_at_ && !restarted_) {
      restarted_ = true;
      server_.Stop();
      server_.Start();
    }
    return count;
  }

 private:
  StringSource source_;
  const size_t restart_at_;
  Server& server_;
  size_t done_ = 0;
  bool restarted_ = false;
};

TEST_F(RemoteTest, AnUploadThatIsCutOffGoesOn) {
  const std::string bytes = BytesOf(5 << 20, 1);
  RestartingSource source(bytes, 3 << 20, coordinator_.server);
  ASSERT_OK(remote_.Put(DigestOf(bytes), source));
  EXPECT_OK(GetBytes(coordinator_.blobs, DigestOf(bytes)));
}

TEST_F(RemoteTest, ADownloadThatIsCutOffGoesOn) {
  class RestartingSink final : public ByteSink {
   public:
    explicit RestartingSink(Server& server) : server_(server) {}
    absl::Status Write(absl::string_view bytes) override {
      if (bytes_.empty()) {
        server_.Stop();
        server_.Start();
      }
      bytes_.append(bytes.data(), bytes.size());
      return absl::OkStatus();
    }
    const std::string& bytes() const { return bytes_; }

   private:
    Server& server_;
    std::string bytes_;
  };
  const std::string bytes = BytesOf(5 << 20, 2);
  ASSERT_OK(PutBytes(coordinator_.blobs, bytes));
  RestartingSink sink(coordinator_.server);
  ASSERT_OK(remote_.Get(DigestOf(bytes), 0, sink));
  EXPECT_TRUE(sink.bytes() == bytes);
}

// --- ByteStream, message by message --------------------------------------------------------------

class ByteStreamTest : public RemoteTest {
 protected:
  struct Outcome {
    absl::StatusCode code;
    int64_t committed;
    friend bool operator==(const Outcome&, const Outcome&) = default;
  };
  static bytestream::WriteRequest Message(const std::string& name, int64_t offset,
                                          absl::string_view data, bool finish) {
    bytestream::WriteRequest message;
    message.set_resource_name(name);
    message.set_write_offset(offset);
    message.set_data(std::string(data));
    message.set_finish_write(finish);
    return message;
  }
  Outcome Write(const std::vector<bytestream::WriteRequest>& messages) {
    grpc::ClientContext context;
    bytestream::WriteResponse response;
    const auto writer = stub_->Write(&context, &response);
    for (const bytestream::WriteRequest& message : messages) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    return {static_cast<absl::StatusCode>(status.error_code()), response.committed_size()};
  }
  absl::StatusCode Read(const std::string& name, int64_t offset, int64_t limit,
                        std::string* bytes) {
    grpc::ClientContext context;
    bytestream::ReadRequest request;
    request.set_resource_name(name);
    request.set_read_offset(offset);
    request.set_read_limit(limit);
    const auto reader = stub_->Read(&context, request);
    bytestream::ReadResponse response;
    while (reader->Read(&response)) *bytes += response.data();
    return static_cast<absl::StatusCode>(reader->Finish().error_code());
  }
  // -1: no such upload.
  int64_t Committed(const std::string& name) {
    grpc::ClientContext context;
    bytestream::QueryWriteStatusRequest request;
    request.set_resource_name(name);
    bytestream::QueryWriteStatusResponse response;
    return stub_->QueryWriteStatus(&context, request, &response).ok() ? response.committed_size()
                                                                      : -1;
  }

  std::unique_ptr<bytestream::ByteStream::Stub> stub_ = bytestream::ByteStream::NewStub(channel_);
  const std::string bytes_ = BytesOf(200'000, 3);
  const Digest digest_ = DigestOf(bytes_);
  const std::string name_ = WriteName("", "some-uuid", digest_);
};

TEST_F(ByteStreamTest, AnUploadGoesOnInALaterCall) {
  EXPECT_EQ(Committed(name_), -1);
  EXPECT_EQ(Write({Message(name_, 0, bytes_.substr(0, 150'000), false)}),
            (Outcome{absl::StatusCode::kOk, 150'000}));
  EXPECT_EQ(Committed(name_), 150'000);
  EXPECT_EQ(Write({Message(name_, 150'000, bytes_.substr(150'000), true)}),
            (Outcome{absl::StatusCode::kOk, 200'000}));
  EXPECT_OK(GetBytes(coordinator_.blobs, digest_));
  EXPECT_EQ(Committed(name_), 200'000) << "complete";
}

TEST_F(ByteStreamTest, BytesSentAgainAreSkipped) {
  Write({Message(name_, 0, bytes_.substr(0, 150'000), false)});
  EXPECT_EQ(Write({Message(name_, 100'000, bytes_.substr(100'000), true)}),
            (Outcome{absl::StatusCode::kOk, 200'000}));
  EXPECT_OK(GetBytes(coordinator_.blobs, digest_));
}

TEST_F(ByteStreamTest, AGapIsRefused) {
  EXPECT_EQ(Write({Message(name_, 5, "x", false)}).code, absl::StatusCode::kInvalidArgument);
}

TEST_F(ByteStreamTest, WrongBytesEndTheUpload) {
  std::string wrong = bytes_;
  wrong[1] ^= 1;
  EXPECT_EQ(Write({Message(name_, 0, wrong, true)}).code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Committed(name_), -1);
  EXPECT_THAT(coordinator_.blobs.FindMissing({digest_}), IsOkAndHolds(SizeIs(1)));
}

TEST_F(ByteStreamTest, ATooLargeBlobIsRefusedByItsName) {
  const std::string name =
      WriteName("", "some-uuid", *Digest::FromHex(digest_.hex(), kBlobBytesMax + 1));
  EXPECT_EQ(Write({Message(name, 0, "its first byte", false)}).code,
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Committed(name), -1);
}

TEST_F(ByteStreamTest, AnUploadOfWhatIsThereEndsAtOnce) {
  ASSERT_OK(PutBytes(coordinator_.blobs, bytes_));
  EXPECT_EQ(Write({Message(name_, 0, bytes_.substr(0, 10), false)}),
            (Outcome{absl::StatusCode::kOk, 200'000}));
}

TEST_F(ByteStreamTest, WhatIsNoNameIsRefused) {
  for (const std::string name :
       {"", "blobs", "blobs/abc/3", "uploads//blobs/x/1", "compressed-blobs/zstd/x/1"}) {
    std::string bytes;
    EXPECT_EQ(Read(name, 0, 0, &bytes), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(Write({Message(name, 0, "x", true)}).code, absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST_F(ByteStreamTest, ReadsAPart) {
  ASSERT_OK(PutBytes(coordinator_.blobs, bytes_));
  std::string bytes;
  EXPECT_EQ(Read(ReadName("any/instance", digest_), 1000, 50, &bytes), absl::StatusCode::kOk);
  EXPECT_EQ(bytes, bytes_.substr(1000, 50));
  EXPECT_EQ(Read(ReadName("", digest_), 0, -1, &bytes), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Read(ReadName("", digest_), 200'001, 0, &bytes), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Read(ReadName("", DigestOf("none")), 0, 0, &bytes), absl::StatusCode::kNotFound);
}

// --- ActionCache, trees, capabilities ------------------------------------------------------------

class ReapiTest : public RemoteTest {
 protected:
  static reapi::Digest ToProto(const Digest& digest) {
    reapi::Digest proto;
    proto.set_hash(digest.hex());
    proto.set_size_bytes(digest.size_bytes());
    return proto;
  }
  Digest PutMessage(const google::protobuf::Message& message) {
    return PutBytes(coordinator_.blobs, message.SerializeAsString()).value();
  }
  absl::StatusCode GetResult(const std::string& instance, reapi::ActionResult* result) {
    grpc::ClientContext context;
    reapi::GetActionResultRequest request;
    request.set_instance_name(instance);
    *request.mutable_action_digest() = ToProto(action_);
    return static_cast<absl::StatusCode>(
        actions_->GetActionResult(&context, request, result).error_code());
  }
  void UpdateResult(const reapi::ActionResult& result) {
    grpc::ClientContext context;
    reapi::UpdateActionResultRequest request;
    *request.mutable_action_digest() = ToProto(action_);
    *request.mutable_action_result() = result;
    reapi::ActionResult answer;
    ASSERT_TRUE(actions_->UpdateActionResult(&context, request, &answer).ok());
  }
  std::vector<std::string> FileNames(const Digest& root, int page_size) {
    grpc::ClientContext context;
    reapi::GetTreeRequest request;
    *request.mutable_root_digest() = ToProto(root);
    request.set_page_size(page_size);
    const auto reader = content_->GetTree(&context, request);
    reapi::GetTreeResponse response;
    std::vector<std::string> names;
    while (reader->Read(&response)) {
      for (const reapi::Directory& directory : response.directories()) {
        names.push_back(directory.files(0).name());
      }
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) names.push_back("error " + std::to_string(status.error_code()));
    return names;
  }

  const Digest action_ = DigestOf("an action");
  std::unique_ptr<reapi::ActionCache::Stub> actions_ = reapi::ActionCache::NewStub(channel_);
  std::unique_ptr<reapi::ContentAddressableStorage::Stub> content_ =
      reapi::ContentAddressableStorage::NewStub(channel_);
};

TEST_F(ReapiTest, AResultIsAHitOnlyWhileItsBlobsAreThere) {
  const Digest file = PutBytes(coordinator_.blobs, "output").value();
  reapi::Tree tree;
  *tree.mutable_root()->add_files()->mutable_digest() = ToProto(file);
  reapi::ActionResult result;
  *result.add_output_directories()->mutable_tree_digest() = ToProto(PutMessage(tree));
  reapi::ActionResult answer;
  EXPECT_EQ(GetResult("", &answer), absl::StatusCode::kNotFound);
  UpdateResult(result);
  EXPECT_EQ(GetResult("", &answer), absl::StatusCode::kOk);
  EXPECT_EQ(answer.SerializeAsString(), result.SerializeAsString());
  EXPECT_EQ(GetResult("other", &answer), absl::StatusCode::kNotFound) << "another trust domain";
  ASSERT_OK(coordinator_.blobs.Delete(file));
  EXPECT_EQ(GetResult("", &answer), absl::StatusCode::kNotFound);
}

TEST_F(ReapiTest, UploadedResultsAreInATableOfTheirOwn) {
  UpdateResult(reapi::ActionResult());
  EXPECT_THAT(coordinator_.index.Get(IndexTable::kAction, IndexKey({"main", action_.raw()})),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ReapiTest, GetTreeSendsEachDirectoryOnceAndLeavesOutWhatIsMissing) {
  const auto directory = [&](const std::string& name, const std::vector<Digest>& children) {
    reapi::Directory proto;
    proto.add_files()->set_name(name);
    for (const Digest& child : children) {
      *proto.add_directories()->mutable_digest() = ToProto(child);
    }
    return PutMessage(proto);
  };
  const Digest leaf = directory("leaf", {});
  const Digest a = directory("a", {leaf});
  const Digest b = directory("b", {leaf, DigestOf("missing")});
  const Digest root = directory("root", {a, b, leaf});
  EXPECT_THAT(FileNames(root, 0), ElementsAre("root", "a", "b", "leaf"));
  EXPECT_THAT(FileNames(root, 1), ElementsAre("root", "a", "b", "leaf"));
  EXPECT_THAT(FileNames(DigestOf("missing"), 0), ElementsAre("error 5"));
}

TEST_F(ReapiTest, TooLargeBatchesAreRefused) {
  reapi::BatchReadBlobsRequest request;
  for (int i = 0; i < 2; ++i) {
    *request.add_digests() = ToProto(Digest(DigestOf("x").hash(), kCasBatchBytesMax / 2 + 1));
  }
  grpc::ClientContext context;
  reapi::BatchReadBlobsResponse response;
  EXPECT_EQ(content_->BatchReadBlobs(&context, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(ReapiTest, CapabilitiesNameTheDigestFunctionAndTheBatchLimit) {
  grpc::ClientContext context;
  reapi::ServerCapabilities capabilities;
  ASSERT_TRUE(
      reapi::Capabilities::NewStub(channel_)->GetCapabilities(&context, {}, &capabilities).ok());
  EXPECT_THAT(capabilities.cache_capabilities().digest_functions(),
              ElementsAre(reapi::DigestFunction::SHA256));
  EXPECT_EQ(capabilities.cache_capabilities().max_batch_total_size_bytes(), kCasBatchBytesMax);
  EXPECT_EQ(capabilities.high_api_version().major(), 2);
}

}  // namespace
}  // namespace farm
