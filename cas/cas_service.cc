#include "cas/cas_service.h"

#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "cas/reapi_action_cache.h"
#include "cas/resource_name.h"
#include "cas/upload_table.h"
#include "proto/build/bazel/remote/execution/v2/remote_execution.grpc.pb.h"
#include "proto/google/bytestream/bytestream.grpc.pb.h"
#include "rpc/status.h"

namespace farm {
namespace {

namespace reapi = build::bazel::remote::execution::v2;
namespace bytestream = google::bytestream;

constexpr size_t kInstanceBytesMax = 255;
// Of the directories of one GetTree, and of one of them.
constexpr size_t kTreeDirectoriesMax = 1'000'000;
constexpr int64_t kDirectoryBytesMax = 16 << 20;
// GetTree sends a message when it has about so much.
constexpr size_t kTreePageBytes = 1 << 20;

absl::StatusOr<Digest> ToDigest(const reapi::Digest& proto) {
  return Digest::FromHex(proto.hash(), proto.size_bytes());
}

void SetStatus(const absl::Status& status, google::rpc::Status* proto) {
  proto->set_code(static_cast<int>(status.code()));
  proto->set_message(std::string(status.message()));
}

absl::Status PoolIsFull() {
  return absl::ResourceExhaustedError("the server has too much to do; try again later");
}

absl::Status CheckSha256(reapi::DigestFunction::Value function) {
  if (function == reapi::DigestFunction::UNKNOWN || function == reapi::DigestFunction::SHA256) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("digest function ", static_cast<int>(function), " is not SHA256"));
}

absl::Status CheckBatch(int64_t blobs, int64_t bytes) {
  if (blobs <= kCasBatchBlobsMax && bytes <= kCasBatchBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a batch of ", blobs, " blobs and ", bytes,
                                                 " bytes; the limits are ", kCasBatchBlobsMax,
                                                 " and ", kCasBatchBytesMax));
}

// Takes some bytes and then says that it has enough.
class ChunkSink final : public ByteSink {
 public:
  ChunkSink(size_t bytes_max, std::string& chunk) : bytes_max_(bytes_max), chunk_(chunk) {
    chunk_.clear();
  }
  absl::Status Write(absl::string_view bytes) override {
    const size_t count = std::min(bytes.size(), bytes_max_ - chunk_.size());
    chunk_.append(bytes.data(), count);
    return chunk_.size() < bytes_max_ ? absl::OkStatus() : absl::CancelledError("enough");
  }
  bool is_full() const { return chunk_.size() == bytes_max_; }

 private:
  const size_t bytes_max_;
  std::string& chunk_;
};

class NullSink final : public ByteSink {
 public:
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
};

// Reads a blob chunk by chunk: from its file if it has one, else by a Get() for each chunk.
// Verified if it is read from the beginning to the end, as Get() does.
class ChunkReader {
 public:
  ChunkReader(BlobStore& blobs, const Digest& digest, int64_t offset, int64_t end)
      : blobs_(blobs), digest_(digest), offset_(offset), end_(end), is_whole_(IsWhole()) {}

  // False at the end.
  absl::StatusOr<bool> Next(std::string& chunk) {
    if (is_first_) {
      RETURN_IF_ERROR(Begin());
    }
    if (offset_ == end_) return false;
    const size_t size = static_cast<size_t>(std::min(end_ - offset_, kCasChunkBytes));
    RETURN_IF_ERROR(file_.valid() ? ReadFile(size, chunk) : GetChunk(size, chunk));
    offset_ += static_cast<int64_t>(size);
    if (is_whole_) {
      sha256_.Update(chunk);
      if (offset_ == end_) {
        RETURN_IF_ERROR(Verify());
      }
    }
    return true;
  }

 private:
  bool IsWhole() const { return offset_ == 0 && end_ == digest_.size_bytes(); }

  absl::Status Begin() {
    is_first_ = false;
    absl::StatusOr<UniqueFd> file = blobs_.OpenFile(digest_);
    if (file.ok()) {
      file_ = *std::move(file);
      return absl::OkStatus();
    }
    if (!absl::IsNotFound(file.status())) return file.status();
    ASSIGN_OR_RETURN(const std::vector<Digest> missing, blobs_.FindMissing({digest_}));
    return missing.empty() ? absl::OkStatus() : BlobNotFound(digest_);
  }

  absl::Status ReadFile(size_t size, std::string& chunk) {
    chunk.resize(size);
    for (size_t done = 0; done < size;) {
      const ssize_t count = pread(file_.get(), chunk.data() + done, size - done,
                                  offset_ + static_cast<int64_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) return Quarantine();
      done += static_cast<size_t>(count);
    }
    return absl::OkStatus();
  }

  absl::Status GetChunk(size_t size, std::string& chunk) {
    ChunkSink sink(size, chunk);
    const absl::Status status = blobs_.Get(digest_, offset_, sink);
    if (sink.is_full() && (status.ok() || absl::IsCancelled(status))) return absl::OkStatus();
    RETURN_IF_ERROR(status);
    return absl::DataLossError(absl::StrCat("blob ", digest_.oci(), " is short"));
  }

  absl::Status Verify() { return sha256_.Finish() == digest_ ? absl::OkStatus() : Quarantine(); }

  // Has the store find out by itself that the blob is damaged, and put it aside.
  absl::Status Quarantine() {
    NullSink sink;
    RETURN_IF_ERROR(blobs_.Get(digest_, 0, sink));
    return absl::DataLossError(absl::StrCat("blob ", digest_.oci(), " could not be read well"));
  }

  BlobStore& blobs_;
  const Digest digest_;
  int64_t offset_;
  const int64_t end_;
  const bool is_whole_;
  bool is_first_ = true;
  UniqueFd file_;
  Sha256 sha256_;
};

// What all services share.
struct Backend {
  absl::StatusOr<std::string> Domain(const grpc::CallbackServerContext& context,
                                     absl::string_view instance) const {
    if (instance.size() > kInstanceBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("instance_name of more than ", kInstanceBytesMax, " bytes"));
    }
    return authorize(context, instance);
  }

  // Answers a unary call with what `work(domain)` returns, on the pool.
  template <typename Work>
  grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext& context, absl::string_view instance,
                                   Work work) const {
    grpc::ServerUnaryReactor* reactor = context.DefaultReactor();
    absl::StatusOr<std::string> domain = Domain(context, instance);
    if (!domain.ok()) {
      reactor->Finish(ToGrpcStatus(domain.status()));
    } else if (!pool.Post([reactor, work = std::move(work), domain = *std::move(domain)] {
                 reactor->Finish(ToGrpcStatus(work(domain)));
               })) {
      reactor->Finish(ToGrpcStatus(PoolIsFull()));
    }
    return reactor;
  }

  BlobStore& blobs;
  Executor& pool;
  CasService::Authorize authorize;
  ReapiActionCache actions;
  UploadTable uploads;
  int64_t blob_bytes_max;
};

// --- ByteStream ----------------------------------------------------------------------------------

// Sends a blob: reads a chunk on the pool, writes it, and reads the next when it has gone.
class ReadCall final : public grpc::ServerWriteReactor<bytestream::ReadResponse> {
 public:
  ReadCall(Backend& backend, const grpc::CallbackServerContext& context,
           const bytestream::ReadRequest& request)
      : backend_(backend) {
    const absl::Status status = Begin(context, request);
    if (status.ok()) {
      Continue();
    } else {
      Finish(ToGrpcStatus(status));
    }
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      Continue();
    } else {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the client is gone"));
    }
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Begin(const grpc::CallbackServerContext& context,
                     const bytestream::ReadRequest& request) {
    ASSIGN_OR_RETURN(const BlobResource resource, ParseReadName(request.resource_name()));
    RETURN_IF_ERROR(backend_.Domain(context, resource.instance).status());
    const Digest& digest = resource.digest;
    if (request.read_limit() < 0) return absl::InvalidArgumentError("negative read_limit");
    // Known before the blob is: its size is part of its name.
    RETURN_IF_ERROR(CheckBlobOffset(digest, request.read_offset()));
    const int64_t rest = digest.size_bytes() - request.read_offset();
    const int64_t size = request.read_limit() == 0 ? rest : std::min(rest, request.read_limit());
    reader_ = std::make_unique<ChunkReader>(backend_.blobs, digest, request.read_offset(),
                                            request.read_offset() + size);
    return absl::OkStatus();
  }

  void Continue() {
    if (!backend_.pool.Post([this] { SendNext(); })) Finish(ToGrpcStatus(PoolIsFull()));
  }

  void SendNext() {
    const absl::StatusOr<bool> has_more = reader_->Next(*response_.mutable_data());
    if (has_more.ok() && *has_more) {
      StartWrite(&response_);
    } else {
      Finish(ToGrpcStatus(has_more.status()));
    }
  }

  Backend& backend_;
  std::unique_ptr<ChunkReader> reader_;
  bytestream::ReadResponse response_;
};

// Receives a blob: takes a message, stores its bytes on the pool, and asks for the next.
class WriteCall final : public grpc::ServerReadReactor<bytestream::WriteRequest> {
 public:
  WriteCall(Backend& backend, const grpc::CallbackServerContext& context,
            bytestream::WriteResponse& response)
      : backend_(backend), context_(context), response_(response) {
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The client said that it is done without finish_write, or is gone: what came stays, for it
      // to go on with.
      if (upload_ != nullptr) response_.set_committed_size(upload_->committed_bytes());
      upload_.reset();
      Finish(grpc::Status::OK);
    } else if (!backend_.pool.Post([this] { Handle(); })) {
      upload_.reset();
      Finish(ToGrpcStatus(PoolIsFull()));
    }
  }
  void OnDone() override { delete this; }

 private:
  enum class Next { kReadMore, kFinish };

  void Handle() {
    const absl::StatusOr<Next> next = Take();
    if (next.ok() && *next == Next::kReadMore) {
      StartRead(&request_);
      return;
    }
    // Before its end only what is wrong with the bytes ends the upload; others may go on with it.
    if (absl::IsInvalidArgument(next.status())) Forget();
    upload_.reset();
    Finish(ToGrpcStatus(next.status()));
  }

  absl::StatusOr<Next> Take() {
    if (upload_ == nullptr) {
      ASSIGN_OR_RETURN(const Next next, Begin());
      if (next == Next::kFinish) return next;
    } else if (!request_.resource_name().empty() && request_.resource_name() != resource_name_) {
      return absl::InvalidArgumentError("the resource name changed within a call");
    }
    RETURN_IF_ERROR(upload_->Append(writer_, request_.write_offset(), request_.data()));
    if (!request_.finish_write()) return Next::kReadMore;
    const absl::Status finished = upload_->Finish(writer_, backend_.blobs);
    Forget();  // Whatever became of it: one that failed is begun anew.
    RETURN_IF_ERROR(finished);
    response_.set_committed_size(upload_->digest().size_bytes());
    return Next::kFinish;
  }

  absl::StatusOr<Next> Begin() {
    resource_name_ = request_.resource_name();
    ASSIGN_OR_RETURN(const BlobResource resource, ParseWriteName(resource_name_));
    ASSIGN_OR_RETURN(const std::string domain, backend_.Domain(context_, resource.instance));
    RETURN_IF_ERROR(CheckBlobSize(resource.digest, backend_.blob_bytes_max));
    ASSIGN_OR_RETURN(const std::vector<Digest> missing,
                     backend_.blobs.FindMissing({resource.digest}));
    if (missing.empty()) {
      response_.set_committed_size(resource.digest.size_bytes());
      return Next::kFinish;
    }
    name_ = IndexKey({domain, resource_name_});
    ASSIGN_OR_RETURN(upload_, backend_.uploads.Open(name_, resource.digest));
    writer_ = upload_->TakeOver();
    return Next::kReadMore;
  }

  void Forget() {
    if (upload_ != nullptr) backend_.uploads.Remove(name_, upload_);
  }

  Backend& backend_;
  const grpc::CallbackServerContext& context_;
  bytestream::WriteResponse& response_;
  bytestream::WriteRequest request_;
  std::string resource_name_;
  std::string name_;  // in the table of uploads
  std::shared_ptr<Upload> upload_;
  int64_t writer_ = 0;
};

class ByteStreamService final : public bytestream::ByteStream::CallbackService {
 public:
  explicit ByteStreamService(Backend& backend) : backend_(backend) {}

  grpc::ServerWriteReactor<bytestream::ReadResponse>* Read(
      grpc::CallbackServerContext* context, const bytestream::ReadRequest* request) override {
    return new ReadCall(backend_, *context, *request);
  }

  grpc::ServerReadReactor<bytestream::WriteRequest>* Write(
      grpc::CallbackServerContext* context, bytestream::WriteResponse* response) override {
    return new WriteCall(backend_, *context, *response);
  }

  grpc::ServerUnaryReactor* QueryWriteStatus(
      grpc::CallbackServerContext* context, const bytestream::QueryWriteStatusRequest* request,
      bytestream::QueryWriteStatusResponse* response) override {
    const absl::StatusOr<BlobResource> resource = ParseWriteName(request->resource_name());
    const std::string instance = resource.ok() ? resource->instance : "";
    return backend_.Answer(*context, instance, [=, this](absl::string_view domain) -> absl::Status {
      RETURN_IF_ERROR(resource.status());
      ASSIGN_OR_RETURN(const std::vector<Digest> missing,
                       backend_.blobs.FindMissing({resource->digest}));
      if (missing.empty()) {
        response->set_committed_size(resource->digest.size_bytes());
        response->set_complete(true);
        return absl::OkStatus();
      }
      const std::shared_ptr<Upload> upload =
          backend_.uploads.Find(IndexKey({domain, request->resource_name()}));
      if (upload == nullptr) return absl::NotFoundError("no such upload; begin at offset 0");
      response->set_committed_size(upload->committed_bytes());
      return absl::OkStatus();
    });
  }

 private:
  Backend& backend_;
};

// --- ContentAddressableStorage -------------------------------------------------------------------

// Walks a tree breadth first and sends its directories, page by page.
class TreeCall final : public grpc::ServerWriteReactor<reapi::GetTreeResponse> {
 public:
  TreeCall(Backend& backend, const grpc::CallbackServerContext& context,
           const reapi::GetTreeRequest& request)
      : backend_(backend), page_size_(request.page_size()) {
    const absl::Status status = Begin(context, request);
    if (status.ok()) {
      Continue();
    } else {
      Finish(ToGrpcStatus(status));
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok || waiting_.empty()) {
      Finish(ok ? grpc::Status::OK : grpc::Status(grpc::StatusCode::CANCELLED, ""));
    } else {
      Continue();
    }
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Begin(const grpc::CallbackServerContext& context,
                     const reapi::GetTreeRequest& request) {
    RETURN_IF_ERROR(backend_.Domain(context, request.instance_name()).status());
    RETURN_IF_ERROR(CheckSha256(request.digest_function()));
    ASSIGN_OR_RETURN(const Digest root, ToDigest(request.root_digest()));
    // The token is how many directories were sent: the order is always the same.
    if (!request.page_token().empty() && !absl::SimpleAtoi(request.page_token(), &skip_)) {
      return absl::InvalidArgumentError("page_token is none of ours");
    }
    waiting_.push_back(root);
    seen_.insert(root);
    return absl::OkStatus();
  }

  void Continue() {
    if (!backend_.pool.Post([this] { SendPage(); })) Finish(ToGrpcStatus(PoolIsFull()));
  }

  void SendPage() {
    response_.Clear();
    const absl::Status status = FillPage();
    if (!status.ok()) {
      Finish(ToGrpcStatus(status));
      return;
    }
    if (!waiting_.empty()) response_.set_next_page_token(absl::StrCat(visited_));
    StartWrite(&response_);
  }

  absl::Status FillPage() {
    size_t bytes = 0;
    while (!waiting_.empty() && bytes < kTreePageBytes &&
           (page_size_ <= 0 || response_.directories_size() < page_size_)) {
      const Digest digest = waiting_.front();
      waiting_.pop_front();
      const absl::StatusOr<std::string> blob = GetBytes(backend_.blobs, digest, kDirectoryBytesMax);
      if (absl::IsNotFound(blob.status()) && visited_ > 0) continue;
      RETURN_IF_ERROR(blob.status());
      reapi::Directory directory;
      if (!directory.ParseFromString(*blob)) {
        return absl::InvalidArgumentError(absl::StrCat("blob ", digest.oci(), " is no Directory"));
      }
      RETURN_IF_ERROR(AddChildren(directory));
      if (visited_++ < skip_) continue;
      bytes += blob->size();
      *response_.add_directories() = std::move(directory);
    }
    return absl::OkStatus();
  }

  absl::Status AddChildren(const reapi::Directory& directory) {
    for (const reapi::DirectoryNode& child : directory.directories()) {
      ASSIGN_OR_RETURN(const Digest digest, ToDigest(child.digest()));
      if (!seen_.insert(digest).second) continue;
      if (seen_.size() > kTreeDirectoriesMax) {
        return absl::ResourceExhaustedError(
            absl::StrCat("a tree of more than ", kTreeDirectoriesMax, " directories"));
      }
      waiting_.push_back(digest);
    }
    return absl::OkStatus();
  }

  Backend& backend_;
  const int page_size_;
  int64_t skip_ = 0;
  int64_t visited_ = 0;
  std::deque<Digest> waiting_;
  std::set<Digest> seen_;
  reapi::GetTreeResponse response_;
};

class ContentService final : public reapi::ContentAddressableStorage::CallbackService {
 public:
  explicit ContentService(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* FindMissingBlobs(grpc::CallbackServerContext* context,
                                             const reapi::FindMissingBlobsRequest* request,
                                             reapi::FindMissingBlobsResponse* response) override {
    return backend_.Answer(
        *context, request->instance_name(), [=, this](absl::string_view) -> absl::Status {
          RETURN_IF_ERROR(CheckSha256(request->digest_function()));
          std::vector<Digest> digests;
          digests.reserve(static_cast<size_t>(request->blob_digests_size()));
          for (const reapi::Digest& proto : request->blob_digests()) {
            ASSIGN_OR_RETURN(digests.emplace_back(), ToDigest(proto));
          }
          ASSIGN_OR_RETURN(const std::vector<Digest> missing, backend_.blobs.FindMissing(digests));
          for (const Digest& digest : missing) {
            reapi::Digest& proto = *response->add_missing_blob_digests();
            proto.set_hash(digest.hex());
            proto.set_size_bytes(digest.size_bytes());
          }
          return absl::OkStatus();
        });
  }

  grpc::ServerUnaryReactor* BatchUpdateBlobs(grpc::CallbackServerContext* context,
                                             const reapi::BatchUpdateBlobsRequest* request,
                                             reapi::BatchUpdateBlobsResponse* response) override {
    return backend_.Answer(*context, request->instance_name(),
                           [=, this](absl::string_view) -> absl::Status {
                             RETURN_IF_ERROR(CheckSha256(request->digest_function()));
                             int64_t bytes = 0;
                             for (const auto& blob : request->requests())
                               bytes += static_cast<int64_t>(blob.data().size());
                             RETURN_IF_ERROR(CheckBatch(request->requests_size(), bytes));
                             for (const auto& blob : request->requests()) {
                               auto& answer = *response->add_responses();
                               *answer.mutable_digest() = blob.digest();
                               SetStatus(PutOne(blob), answer.mutable_status());
                             }
                             return absl::OkStatus();
                           });
  }

  grpc::ServerUnaryReactor* BatchReadBlobs(grpc::CallbackServerContext* context,
                                           const reapi::BatchReadBlobsRequest* request,
                                           reapi::BatchReadBlobsResponse* response) override {
    return backend_.Answer(
        *context, request->instance_name(), [=, this](absl::string_view) -> absl::Status {
          RETURN_IF_ERROR(CheckSha256(request->digest_function()));
          int64_t bytes = 0;
          for (const reapi::Digest& digest : request->digests()) {
            if (digest.size_bytes() < 0 || digest.size_bytes() > kCasBatchBytesMax) {
              bytes = kCasBatchBytesMax + 1;  // Too large by itself.
              break;
            }
            bytes += digest.size_bytes();
          }
          RETURN_IF_ERROR(CheckBatch(request->digests_size(), bytes));
          for (const reapi::Digest& proto : request->digests()) {
            auto& answer = *response->add_responses();
            *answer.mutable_digest() = proto;
            absl::StatusOr<std::string> blob = GetOne(proto);
            SetStatus(blob.status(), answer.mutable_status());
            if (blob.ok()) answer.set_data(*std::move(blob));
          }
          return absl::OkStatus();
        });
  }

  grpc::ServerWriteReactor<reapi::GetTreeResponse>* GetTree(
      grpc::CallbackServerContext* context, const reapi::GetTreeRequest* request) override {
    return new TreeCall(backend_, *context, *request);
  }

 private:
  absl::Status PutOne(const reapi::BatchUpdateBlobsRequest::Request& blob) {
    if (blob.compressor() != reapi::Compressor::IDENTITY) {
      return absl::InvalidArgumentError("compressed blobs are not supported");
    }
    ASSIGN_OR_RETURN(const Digest digest, ToDigest(blob.digest()));
    StringSource source(blob.data());
    return backend_.blobs.Put(digest, source);
  }

  absl::StatusOr<std::string> GetOne(const reapi::Digest& proto) {
    ASSIGN_OR_RETURN(const Digest digest, ToDigest(proto));
    return GetBytes(backend_.blobs, digest, kCasBatchBytesMax);
  }

  Backend& backend_;
};

// --- ActionCache and Capabilities ----------------------------------------------------------------

class ActionCacheService final : public reapi::ActionCache::CallbackService {
 public:
  explicit ActionCacheService(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* GetActionResult(grpc::CallbackServerContext* context,
                                            const reapi::GetActionResultRequest* request,
                                            reapi::ActionResult* response) override {
    return backend_.Answer(
        *context, request->instance_name(), [=, this](absl::string_view domain) -> absl::Status {
          RETURN_IF_ERROR(CheckSha256(request->digest_function()));
          ASSIGN_OR_RETURN(const Digest action, ToDigest(request->action_digest()));
          ASSIGN_OR_RETURN(*response, backend_.actions.Get(domain, action));
          return absl::OkStatus();
        });
  }

  grpc::ServerUnaryReactor* UpdateActionResult(grpc::CallbackServerContext* context,
                                               const reapi::UpdateActionResultRequest* request,
                                               reapi::ActionResult* response) override {
    return backend_.Answer(
        *context, request->instance_name(), [=, this](absl::string_view domain) -> absl::Status {
          RETURN_IF_ERROR(CheckSha256(request->digest_function()));
          ASSIGN_OR_RETURN(const Digest action, ToDigest(request->action_digest()));
          RETURN_IF_ERROR(backend_.actions.Put(domain, action, request->action_result()));
          *response = request->action_result();
          return absl::OkStatus();
        });
  }

 private:
  Backend& backend_;
};

class CapabilitiesService final : public reapi::Capabilities::CallbackService {
 public:
  explicit CapabilitiesService(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* GetCapabilities(grpc::CallbackServerContext* context,
                                            const reapi::GetCapabilitiesRequest* request,
                                            reapi::ServerCapabilities* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status status = backend_.Domain(*context, request->instance_name()).status();
    reapi::CacheCapabilities& cache = *response->mutable_cache_capabilities();
    cache.add_digest_functions(reapi::DigestFunction::SHA256);
    cache.mutable_action_cache_update_capabilities()->set_update_enabled(true);
    cache.set_max_batch_total_size_bytes(kCasBatchBytesMax);
    cache.set_symlink_absolute_path_strategy(reapi::SymlinkAbsolutePathStrategy::ALLOWED);
    response->mutable_low_api_version()->set_major(2);
    response->mutable_high_api_version()->set_major(2);
    response->mutable_high_api_version()->set_minor(3);
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

 private:
  Backend& backend_;
};

}  // namespace

struct CasService::Impl {
  Backend backend;
  ByteStreamService bytestream{backend};
  ContentService content{backend};
  ActionCacheService action_cache{backend};
  CapabilitiesService capabilities{backend};
};

CasService::CasService(BlobStore& blobs, Index& index, Executor& pool, Clock& clock,
                       Authorize authorize, Options options)
    : impl_(new Impl{.backend = {blobs, pool, std::move(authorize), ReapiActionCache(index, blobs),
                                 UploadTable(clock, {.dir = std::move(options.spool_dir),
                                                     .uploads_max = options.uploads_max,
                                                     .spool_bytes_max = options.spool_bytes_max}),
                                 options.blob_bytes_max}}) {}

CasService::~CasService() = default;

std::vector<grpc::Service*> CasService::services() {
  return {&impl_->bytestream, &impl_->content, &impl_->action_cache, &impl_->capabilities};
}

}  // namespace farm
