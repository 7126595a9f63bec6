#include "cas/remote_blob_store.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "cas/cas_service.h"
#include "cas/resource_name.h"
#include "proto/build/bazel/remote/execution/v2/remote_execution.grpc.pb.h"
#include "proto/google/bytestream/bytestream.grpc.pb.h"
#include "rpc/status.h"

namespace farm {
namespace {

namespace reapi = build::bazel::remote::execution::v2;
namespace bytestream = google::bytestream;

// A blob up to this size goes in one call; a larger one in chunks, so that it can be resumed.
constexpr int64_t kUnaryBytesMax = 1 << 20;
// How much of a stream is kept for the case that the server has not got it. More than what can be
// under way between two gRPC peers.
constexpr int64_t kReplayBytesMax = 32 << 20;
constexpr int64_t kBytesPerExtraSecond = 256 << 10;

reapi::Digest ToProto(const Digest& digest) {
  reapi::Digest proto;
  proto.set_hash(digest.hex());
  proto.set_size_bytes(digest.size_bytes());
  return proto;
}

absl::Status FromProto(const google::rpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.code()), status.message());
}

std::string NewUploadId() {
  static thread_local std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) absl::StrAppend(&id, absl::Hex(random(), absl::kZeroPad8));
  return id;
}

// A blob to upload, from any offset that may be asked for again.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  // The bytes from `offset` on, one chunk of them at most; "" at the end.
  virtual absl::StatusOr<std::string> Read(int64_t offset) = 0;
};

class FileReader final : public BlobReader {
 public:
  explicit FileReader(int fd) : fd_(fd) {}
  absl::StatusOr<std::string> Read(int64_t offset) override {
    std::string chunk(kCasChunkBytes, '\0');
    ssize_t count;
    do {
      count = pread(fd_, chunk.data(), chunk.size(), offset);
    } while (count < 0 && errno == EINTR);
    if (count < 0) return ErrnoStatus(errno, "read a blob's file");
    chunk.resize(static_cast<size_t>(count));
    return chunk;
  }

 private:
  const int fd_;
};

// A source can be read once only: keeps what was read last.
class SourceReader final : public BlobReader {
 public:
  explicit SourceReader(ByteSource& source) : source_(source) {}

  absl::StatusOr<std::string> Read(int64_t offset) override {
    if (offset < begin_) {
      return absl::UnavailableError("the server lost more of the upload than is kept here");
    }
    int64_t chunk_begin = begin_;
    for (const std::string& chunk : chunks_) {
      const int64_t chunk_end = chunk_begin + static_cast<int64_t>(chunk.size());
      if (offset < chunk_end) return chunk.substr(static_cast<size_t>(offset - chunk_begin));
      chunk_begin = chunk_end;
    }
    if (offset != chunk_begin) return absl::InternalError("upload resumed ahead of its source");
    return ReadOn();
  }

 private:
  absl::StatusOr<std::string> ReadOn() {
    std::string chunk(kCasChunkBytes, '\0');
    size_t size = 0;
    while (size < chunk.size()) {
      ASSIGN_OR_RETURN(const size_t count, source_.Read(chunk.data() + size, chunk.size() - size));
      if (count == 0) break;
      size += count;
    }
    chunk.resize(size);
    if (size == 0) return chunk;
    chunks_.push_back(chunk);
    kept_bytes_ += static_cast<int64_t>(size);
    while (kept_bytes_ > kReplayBytesMax) {
      const int64_t gone = static_cast<int64_t>(chunks_.front().size());
      begin_ += gone;
      kept_bytes_ -= gone;
      chunks_.pop_front();
    }
    return chunk;
  }

  ByteSource& source_;
  int64_t begin_ = 0;
  int64_t kept_bytes_ = 0;
  std::deque<std::string> chunks_;
};

// Whether another attempt may work. ABORTED: the server still believes in an older connection.
bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsAborted(status);
}

}  // namespace

struct RemoteBlobStore::Impl {
  Impl(const std::shared_ptr<grpc::ChannelInterface>& channel, Options options)
      : options(std::move(options)),
        content(reapi::ContentAddressableStorage::NewStub(channel)),
        bytes(bytestream::ByteStream::NewStub(channel)) {}

  std::unique_ptr<grpc::ClientContext> NewContext(int64_t bytes = 0) const {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + options.call_timeout +
                                             absl::Seconds(bytes / kBytesPerExtraSecond)));
    if (options.prepare) options.prepare(*context);
    return context;
  }

  // Calls `attempt` until it gives something other than a transient error, with pauses. `progress`
  // says how far things are: as long as it grows, attempts count anew.
  absl::Status Retry(const std::function<absl::Status()>& attempt,
                     const std::function<int64_t()>& progress) const {
    absl::Duration backoff = options.backoff_min;
    int64_t best = progress();
    for (int failed = 0;;) {
      const absl::Status status = attempt();
      if (!IsTransient(status)) return status;
      const int64_t now = progress();
      if (now > best) {
        best = now;
        failed = 0;
        backoff = options.backoff_min;
      }
      if (++failed >= options.attempts_max) return status;
      std::this_thread::sleep_for(absl::ToChronoNanoseconds(backoff));
      backoff = std::min(2 * backoff, options.backoff_max);
    }
  }

  template <typename Method, typename Request, typename Response>
  absl::Status Call(Method method, const Request& request, Response* response, int64_t bytes = 0) {
    return Retry(
        [&] {
          response->Clear();
          const std::unique_ptr<grpc::ClientContext> context = NewContext(bytes);
          return FromGrpcStatus(((*content).*method)(context.get(), request, response));
        },
        [] { return 0; });
  }

  absl::Status Update(absl::Span<const Blob> blobs);
  absl::Status Upload(const Digest& digest, BlobReader& reader);
  absl::Status UploadOnce(const Digest& digest, const std::string& name, BlobReader& reader,
                          bool is_first, int64_t& committed);
  absl::Status Download(const Digest& digest, int64_t offset, ByteSink& sink);
  absl::Status DownloadOnce(const Digest& digest, int64_t& offset, ByteSink& sink,
                            absl::Status& sink_status);
  absl::Status Read(absl::Span<const Digest> digests,
                    const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive);

  const Options options;
  const std::unique_ptr<reapi::ContentAddressableStorage::StubInterface> content;
  const std::unique_ptr<bytestream::ByteStream::StubInterface> bytes;
};

RemoteBlobStore::RemoteBlobStore(std::shared_ptr<grpc::ChannelInterface> channel, Options options)
    : impl_(std::make_unique<Impl>(channel, std::move(options))) {}
RemoteBlobStore::~RemoteBlobStore() = default;

absl::Status RemoteBlobStore::Put(const Digest& digest, ByteSource& source) {
  if (digest == EmptyBlobDigest()) return absl::OkStatus();
  if (digest.size_bytes() > kUnaryBytesMax) {
    SourceReader reader(source);
    return impl_->Upload(digest, reader);
  }
  // Checked here already, so that wrong bytes do not travel.
  ASSIGN_OR_RETURN(const std::string bytes, ReadBlob(digest, source));
  return impl_->Update({{digest, bytes}});
}

absl::Status RemoteBlobStore::PutFile(const Digest& digest, const std::string& path) {
  {
    const UniqueFd fd(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat info;
    if (!fd.valid() || fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, path);
    if (!S_ISREG(info.st_mode) || info.st_size != digest.size_bytes()) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is no file of ", digest.size_bytes(),
                                                     " bytes, as blob ", digest.oci(), " has"));
    }
    if (digest.size_bytes() > kUnaryBytesMax) {
      FileReader reader(fd.get());
      RETURN_IF_ERROR(impl_->Upload(digest, reader)) << path;
    } else {
      FdSource source(fd.get());
      RETURN_IF_ERROR(Put(digest, source)) << path;
    }
  }
  if (unlink(path.c_str()) != 0) return ErrnoStatus(errno, path);
  return absl::OkStatus();
}

absl::Status RemoteBlobStore::Get(const Digest& digest, int64_t offset, ByteSink& sink) {
  RETURN_IF_ERROR(CheckBlobOffset(digest, offset));
  if (digest == EmptyBlobDigest()) return absl::OkStatus();
  if (digest.size_bytes() > kUnaryBytesMax || offset > 0) {
    return impl_->Download(digest, offset, sink);
  }
  absl::Status written = absl::UnknownError("no answer");
  RETURN_IF_ERROR(impl_->Read({digest}, [&](const Digest&, absl::StatusOr<std::string> bytes) {
    written = bytes.ok() ? sink.Write(*bytes) : bytes.status();
  }));
  return written;
}

absl::StatusOr<UniqueFd> RemoteBlobStore::OpenFile(const Digest& digest) {
  return absl::NotFoundError(absl::StrCat("blob ", digest.oci(), " is in no file of this host"));
}

absl::StatusOr<std::vector<Digest>> RemoteBlobStore::FindMissing(absl::Span<const Digest> digests) {
  std::vector<Digest> missing;
  while (!digests.empty()) {
    reapi::FindMissingBlobsRequest request;
    request.set_instance_name(impl_->options.instance);
    for (const Digest& digest : digests.subspan(0, kCasFindMissingMax)) {
      *request.add_blob_digests() = ToProto(digest);
    }
    digests.remove_prefix(static_cast<size_t>(request.blob_digests_size()));
    reapi::FindMissingBlobsResponse response;
    RETURN_IF_ERROR(impl_->Call(&reapi::ContentAddressableStorage::StubInterface::FindMissingBlobs,
                                request, &response));
    for (const reapi::Digest& proto : response.missing_blob_digests()) {
      ASSIGN_OR_RETURN(missing.emplace_back(), Digest::FromHex(proto.hash(), proto.size_bytes()));
    }
  }
  return missing;
}

absl::Status RemoteBlobStore::Sync(absl::Span<const Digest> digests) {
  ASSIGN_OR_RETURN(const std::vector<Digest> missing, FindMissing(digests));
  return missing.empty() ? absl::OkStatus() : BlobNotFound(missing.front());
}

absl::Status RemoteBlobStore::Delete(const Digest&) {
  return absl::UnimplementedError("the Remote Execution API deletes no blobs");
}

absl::Status RemoteBlobStore::PutBatch(absl::Span<const Blob> blobs) {
  std::vector<Blob> batch;
  int64_t batch_bytes = 0;
  const auto send = [&] {
    const absl::Status status = batch.empty() ? absl::OkStatus() : impl_->Update(batch);
    batch.clear();
    batch_bytes = 0;
    return status;
  };
  for (const Blob& blob : blobs) {
    const int64_t size = blob.digest.size_bytes();
    if (size > kUnaryBytesMax) {
      StringSource source(blob.bytes);
      RETURN_IF_ERROR(Put(blob.digest, source));
      continue;
    }
    if (batch_bytes + size > kCasBatchBytesMax ||
        static_cast<int>(batch.size()) == kCasBatchBlobsMax) {
      RETURN_IF_ERROR(send());
    }
    batch.push_back(blob);
    batch_bytes += static_cast<int64_t>(blob.bytes.size());
  }
  return send();
}

absl::Status RemoteBlobStore::GetBatch(
    absl::Span<const Digest> digests,
    const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive) {
  std::vector<Digest> batch;
  int64_t batch_bytes = 0;
  const auto read = [&] {
    const absl::Status status = batch.empty() ? absl::OkStatus() : impl_->Read(batch, receive);
    batch.clear();
    batch_bytes = 0;
    return status;
  };
  for (const Digest& digest : digests) {
    if (digest.size_bytes() > kUnaryBytesMax) {
      StringSink sink;
      const absl::Status status = impl_->Download(digest, 0, sink);
      if (IsTransient(status)) return status;
      if (status.ok()) {
        receive(digest, sink.Take());
      } else {
        receive(digest, status);
      }
      continue;
    }
    if (batch_bytes + digest.size_bytes() > kCasBatchBytesMax ||
        static_cast<int>(batch.size()) == kCasBatchBlobsMax) {
      RETURN_IF_ERROR(read());
    }
    batch.push_back(digest);
    batch_bytes += digest.size_bytes();
  }
  return read();
}

absl::Status RemoteBlobStore::Impl::Update(absl::Span<const Blob> blobs) {
  reapi::BatchUpdateBlobsRequest request;
  request.set_instance_name(options.instance);
  int64_t bytes = 0;
  for (const Blob& blob : blobs) {
    auto& one = *request.add_requests();
    *one.mutable_digest() = ToProto(blob.digest);
    one.set_data(blob.bytes.data(), blob.bytes.size());
    bytes += static_cast<int64_t>(blob.bytes.size());
  }
  reapi::BatchUpdateBlobsResponse response;
  RETURN_IF_ERROR(Call(&reapi::ContentAddressableStorage::StubInterface::BatchUpdateBlobs, request,
                       &response, bytes));
  if (response.responses_size() != static_cast<int>(blobs.size())) {
    return absl::InternalError(absl::StrCat("the server answered for ", response.responses_size(),
                                            " of ", blobs.size(), " blobs"));
  }
  for (const auto& one : response.responses()) RETURN_IF_ERROR(FromProto(one.status()));
  return absl::OkStatus();
}

absl::Status RemoteBlobStore::Impl::Read(
    absl::Span<const Digest> digests,
    const std::function<void(const Digest&, absl::StatusOr<std::string>)>& receive) {
  reapi::BatchReadBlobsRequest request;
  request.set_instance_name(options.instance);
  int64_t bytes = 0;
  for (const Digest& digest : digests) {
    *request.add_digests() = ToProto(digest);
    bytes += digest.size_bytes();
  }
  reapi::BatchReadBlobsResponse response;
  RETURN_IF_ERROR(Call(&reapi::ContentAddressableStorage::StubInterface::BatchReadBlobs, request,
                       &response, bytes));
  if (response.responses_size() != static_cast<int>(digests.size())) {
    return absl::InternalError(absl::StrCat("the server answered for ", response.responses_size(),
                                            " of ", digests.size(), " blobs"));
  }
  for (auto& one : *response.mutable_responses()) {
    ASSIGN_OR_RETURN(const Digest digest,
                     Digest::FromHex(one.digest().hash(), one.digest().size_bytes()));
    const absl::Status status = FromProto(one.status());
    if (!status.ok()) {
      receive(digest, status);
    } else if (static_cast<int64_t>(one.data().size()) != digest.size_bytes()) {
      receive(digest, absl::DataLossError(absl::StrCat("blob ", digest.oci(), " came with ",
                                                       one.data().size(), " bytes")));
    } else {
      receive(digest, std::move(*one.mutable_data()));
    }
  }
  return absl::OkStatus();
}

absl::Status RemoteBlobStore::Impl::Upload(const Digest& digest, BlobReader& reader) {
  const std::string name = WriteName(options.instance, NewUploadId(), digest);
  int64_t committed = 0;
  bool is_first = true;
  return Retry(
      [&] { return UploadOnce(digest, name, reader, std::exchange(is_first, false), committed); },
      [&] { return committed; });
}

absl::Status RemoteBlobStore::Impl::UploadOnce(const Digest& digest, const std::string& name,
                                               BlobReader& reader, bool is_first,
                                               int64_t& committed) {
  if (!is_first) {
    bytestream::QueryWriteStatusRequest query;
    query.set_resource_name(name);
    bytestream::QueryWriteStatusResponse known;
    const std::unique_ptr<grpc::ClientContext> context = NewContext();
    const absl::Status status =
        FromGrpcStatus(bytes->QueryWriteStatus(context.get(), query, &known));
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    if (known.complete()) return absl::OkStatus();
    committed = known.committed_size();
  }

  const std::unique_ptr<grpc::ClientContext> context = NewContext(digest.size_bytes());
  bytestream::WriteResponse response;
  const auto writer = bytes->Write(context.get(), &response);
  const auto give_up = [&](const absl::Status& why) {
    context->TryCancel();
    writer->Finish();  // What it says matters less than why we stop.
    return why;
  };
  bytestream::WriteRequest request;
  request.set_resource_name(name);
  for (int64_t offset = committed; !request.finish_write();) {
    absl::StatusOr<std::string> chunk = reader.Read(offset);
    if (!chunk.ok()) return give_up(chunk.status());
    const int64_t end = offset + static_cast<int64_t>(chunk->size());
    if (end > digest.size_bytes() || (chunk->empty() && end < digest.size_bytes())) {
      return give_up(absl::InvalidArgumentError(
          absl::StrCat("blob ", digest.oci(), " of ", digest.size_bytes(), " bytes has ",
                       chunk->empty() ? "only " : "at least ", end)));
    }
    // Finished only once the source has said that it ends here.
    request.set_write_offset(offset);
    request.set_finish_write(chunk->empty());
    request.set_data(*std::move(chunk));
    offset = end;
    if (!writer->Write(request)) break;  // The server has answered; Finish() says what.
    request.clear_resource_name();
  }
  writer->WritesDone();
  RETURN_IF_ERROR(FromGrpcStatus(writer->Finish()));
  if (response.committed_size() == digest.size_bytes()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server has ", response.committed_size(), " of ",
                                             digest.size_bytes(), " bytes"));
}

absl::Status RemoteBlobStore::Impl::Download(const Digest& digest, int64_t offset, ByteSink& sink) {
  int64_t reached = offset;
  absl::Status sink_status;
  const absl::Status status = Retry(
      [&] { return DownloadOnce(digest, reached, sink, sink_status); }, [&] { return reached; });
  return sink_status.ok() ? status : sink_status;
}

absl::Status RemoteBlobStore::Impl::DownloadOnce(const Digest& digest, int64_t& offset,
                                                 ByteSink& sink, absl::Status& sink_status) {
  bytestream::ReadRequest request;
  request.set_resource_name(ReadName(options.instance, digest));
  request.set_read_offset(offset);
  const std::unique_ptr<grpc::ClientContext> context = NewContext(digest.size_bytes() - offset);
  const auto reader = bytes->Read(context.get(), request);
  const auto give_up = [&](const absl::Status& why) {
    context->TryCancel();
    reader->Finish();  // What it says matters less than why we stop.
    return why;
  };
  bytestream::ReadResponse response;
  while (reader->Read(&response)) {
    if (static_cast<int64_t>(response.data().size()) > digest.size_bytes() - offset) {
      return give_up(
          absl::DataLossError(absl::StrCat("more bytes came than blob ", digest.oci(), " has")));
    }
    sink_status = sink.Write(response.data());
    if (!sink_status.ok()) return give_up(absl::CancelledError("the sink failed"));
    offset += static_cast<int64_t>(response.data().size());
  }
  RETURN_IF_ERROR(FromGrpcStatus(reader->Finish()));
  if (offset == digest.size_bytes()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("blob ", digest.oci(), " of ", digest.size_bytes(),
                                          " bytes came with ", offset));
}

}  // namespace farm
