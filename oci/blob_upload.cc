#include "oci/blob_upload.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace farm {
namespace {

// A blob on its way out: survives the connections that take it.
struct UploadState {
  const Descriptor& blob;
  const BlobOpener& open;
  std::string location = "";    // Of the registry's upload session; "" before there is one.
  int64_t offset = 0;           // Bytes that the registry has.
  int64_t chunk_bytes_min = 0;  // As the registry asks for.
  int64_t hashed_bytes = 0;     // Hash covers the blob up to here.
  Sha256 hash = {};
  std::optional<Digest> digest = {};  // Of the whole source, once it was read.
  std::unique_ptr<ByteSource> source = nullptr;
};

// Hashes each byte of an upload the first time that it is read.
class HashingSource final : public ByteSource {
 public:
  HashingSource(std::unique_ptr<ByteSource> source, UploadState& upload)
      : source_(std::move(source)), upload_(upload), position_(upload.offset) {}

  absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
    ASSIGN_OR_RETURN(const size_t bytes, source_->Read(buffer, size));
    const int64_t end = position_ + static_cast<int64_t>(bytes);
    if (end > upload_.hashed_bytes) {
      const int64_t fresh = end - upload_.hashed_bytes;
      upload_.hash.Update(absl::string_view(buffer + bytes - fresh, fresh));
      upload_.hashed_bytes = end;
      if (end == upload_.blob.digest.size_bytes()) upload_.digest = upload_.hash.Finish();
    }
    position_ = end;
    return bytes;
  }

 private:
  std::unique_ptr<ByteSource> source_;
  UploadState& upload_;
  int64_t position_;
};

// How many bytes of an upload the registry has: "0-99" → 100. Registries say "0-0" for none too.
int64_t BytesReceived(const HttpResponse& response) {
  const std::string text = response.Header("range");
  absl::string_view range = text;
  absl::ConsumePrefix(&range, "bytes=");
  int64_t last = 0;
  if (!absl::ConsumePrefix(&range, "0-") || !absl::SimpleAtoi(range, &last) || last <= 0) return 0;
  return last + 1;
}

// The steps of an upload, in order.
class BlobUpload {
 public:
  BlobUpload(RegistryTransport& transport, const Reference& repository, const RegistryCall& call,
             const Descriptor& blob, const BlobOpener& open)
      : transport_(transport),
        repository_(repository),
        call_(call),
        endpoint_(transport.EndpointOf(repository.host())),
        upload_{.blob = blob, .open = open} {}

  absl::Status Run() {
    return transport_.Retry(
        endpoint_, call_, [&] { return UploadOnce(); }, &upload_.offset);
  }

 private:
  RegistryAttempt UploadOnce() {
    if (!upload_.location.empty()) {
      RegistryAttempt asked = AskHowFar();
      if (!asked.status.ok()) return asked;
    }
    if (upload_.location.empty()) {
      RegistryAttempt started = StartUpload();
      if (!started.status.ok()) return started;
    }
    const int64_t size = upload_.blob.digest.size_bytes();
    const bool monolithic = transport_.options().push_chunk_bytes == 0 && upload_.offset == 0;
    while (!monolithic && upload_.offset < size) {
      RegistryAttempt sent = SendChunk();
      if (!sent.status.ok()) return sent;
    }
    return FinishUpload();
  }

  // After a break: goes on where the registry stands, or from the front if it has forgotten.
  RegistryAttempt AskHowFar() {
    RegistryAttempt attempt = transport_.Send(endpoint_, PushScope(repository_), call_, [&] {
      HttpRequest request;
      request.url = upload_.location;
      request.timeout = transport_.options().document_timeout;
      return absl::StatusOr<HttpRequest>(std::move(request));
    });
    if (!attempt.status.ok()) return attempt;
    const int64_t received = BytesReceived(attempt.response);
    const bool usable =
        attempt.response.status == 204 && received > 0 && received <= upload_.hashed_bytes;
    if (usable) {
      upload_.offset = received;
      return TakeLocation(std::move(attempt));
    }
    upload_.location.clear();
    upload_.offset = 0;
    return attempt;
  }

  RegistryAttempt StartUpload() {
    RegistryAttempt attempt = transport_.Send(endpoint_, PushScope(repository_), call_, [&] {
      HttpRequest request;
      request.method = "POST";
      request.url = endpoint_.Url(repository_, "blobs/uploads/");
      request.timeout = transport_.options().document_timeout;
      return absl::StatusOr<HttpRequest>(std::move(request));
    });
    if (!attempt.status.ok()) return attempt;
    if (attempt.response.status != 202) {
      return RegistryAttempt::Final(
          StatusOf(attempt.response, endpoint_, "repository", repository_.familiar_repository()));
    }
    upload_.location = endpoint_.Url(repository_, "blobs/uploads/");
    upload_.offset = 0;
    if (!absl::SimpleAtoi(attempt.response.Header("oci-chunk-min-length"),
                          &upload_.chunk_bytes_min)) {
      upload_.chunk_bytes_min = 0;
    }
    return TakeLocation(std::move(attempt));
  }

  RegistryAttempt TakeLocation(RegistryAttempt attempt) {
    absl::StatusOr<std::string> location =
        ResolveEncrypted(upload_.location, attempt.response.Header("location"));
    if (!location.ok()) {
      upload_.location.clear();
      return RegistryAttempt::Final(Annotate(location.status(), "upload location"));
    }
    upload_.location = *std::move(location);
    return attempt;
  }

  RegistryAttempt SendChunk() {
    const int64_t left = upload_.blob.digest.size_bytes() - upload_.offset;
    const int64_t chunk =
        transport_.options().push_chunk_bytes == 0 ? left : transport_.options().push_chunk_bytes;
    const int64_t bytes = std::min(left, std::max(chunk, upload_.chunk_bytes_min));
    RegistryAttempt attempt = transport_.Send(endpoint_, PushScope(repository_), call_, [&] {
      return BodyRequest("PATCH", upload_.location, bytes);
    });
    if (!attempt.status.ok()) return attempt;
    if (SessionIsLost(attempt.response)) return RestartUpload();
    if (attempt.response.status != 202 && attempt.response.status != 204) {
      return RegistryAttempt::Final(
          StatusOf(attempt.response, endpoint_, "upload", repository_.familiar_repository()));
    }
    upload_.offset += bytes;
    return TakeLocation(std::move(attempt));
  }

  // The registry has forgotten the upload, or stands elsewhere in it than we do.
  static bool SessionIsLost(const HttpResponse& response) {
    return response.status == 404 || response.status == 416;
  }

  RegistryAttempt RestartUpload() {
    upload_.location.clear();
    upload_.offset = 0;
    return RegistryAttempt::MayPass("the registry has lost the upload");
  }

  // Sends what is left, names the digest, and so ends the upload.
  RegistryAttempt FinishUpload() {
    const Digest& digest = upload_.blob.digest;
    if (digest.size_bytes() == 0) upload_.digest = upload_.hash.Finish();
    const absl::StatusOr<std::string> url = AddQuery(upload_.location, "digest", digest.oci());
    if (!url.ok()) return RegistryAttempt::Final(url.status());
    const absl::Status wrong_source =
        absl::DataLossError("the bytes to be pushed have another digest");
    if (upload_.offset == digest.size_bytes() && upload_.digest != digest) {
      return RegistryAttempt::Final(wrong_source);
    }
    RegistryAttempt attempt = transport_.Send(endpoint_, PushScope(repository_), call_, [&] {
      return BodyRequest("PUT", *url, digest.size_bytes() - upload_.offset);
    });
    if (upload_.digest.has_value() && *upload_.digest != digest) {
      return RegistryAttempt::Final(wrong_source);
    }
    if (!attempt.status.ok()) return attempt;
    if (SessionIsLost(attempt.response)) return RestartUpload();
    if (attempt.response.status / 100 != 2) {
      return RegistryAttempt::Final(
          StatusOf(attempt.response, endpoint_, "upload", repository_.familiar_repository()));
    }
    return attempt;
  }

  absl::StatusOr<HttpRequest> BodyRequest(const std::string& method, const std::string& url,
                                          int64_t bytes) {
    HttpRequest request;
    request.method = method;
    request.url = url;
    if (bytes > 0) {
      ASSIGN_OR_RETURN(std::unique_ptr<ByteSource> source,
                       upload_.open(upload_.blob, upload_.offset));
      upload_.source = std::make_unique<HashingSource>(std::move(source), upload_);
      request.body_source = upload_.source.get();
      request.body_bytes = bytes;
      request.headers = {{"Content-Type", "application/octet-stream"}};
      if (method == "PATCH") {
        request.headers.emplace_back("Content-Range",
                                     absl::StrCat(upload_.offset, "-", upload_.offset + bytes - 1));
      }
    }
    return request;
  }

  RegistryTransport& transport_;
  const Reference& repository_;
  const RegistryCall& call_;
  const RegistryEndpoint endpoint_;
  UploadState upload_;
};

}  // namespace

absl::Status UploadBlob(RegistryTransport& transport, const Reference& repository,
                        const Descriptor& blob, const BlobOpener& open, const RegistryCall& call) {
  RETURN_IF_ERROR(BlobUpload(transport, repository, call, blob, open).Run())
      << "push of " << blob.digest.oci() << " to " << repository.familiar_repository();
  return absl::OkStatus();
}

}  // namespace farm
