#include "oci/blob_download.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/errno_status.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"

namespace farm {
namespace {

// A blob on its way here: survives the connections that bring it.
struct Download {
  const Descriptor& blob;
  const bool whole;  // From offset 0: hashed.
  ByteSink& sink;
  int64_t position;  // Written to the sink so far, the caller's offset included.
  Sha256 hash = {};
  bool sink_failed = false;

  absl::Status Append(absl::string_view bytes) {
    if (position + static_cast<int64_t>(bytes.size()) > blob.digest.size_bytes()) {
      return absl::DataLossError(
          absl::StrCat("longer than the ", blob.digest.size_bytes(), " bytes of its descriptor"));
    }
    if (whole) hash.Update(bytes);
    absl::Status status = sink.Write(bytes);
    sink_failed = !status.ok();
    position += bytes.size();
    return status;
  }

  bool complete() const { return position == blob.digest.size_bytes(); }
};

// Where a range that a server sends begins: "bytes 100-199/200" → 100.
std::optional<int64_t> ContentRangeStart(const HttpResponse& response) {
  const std::string text = response.Header("content-range");
  absl::string_view range = text;
  int64_t start = 0;
  if (!absl::ConsumePrefix(&range, "bytes ") ||
      !absl::SimpleAtoi(range.substr(0, range.find('-')), &start)) {
    return std::nullopt;
  }
  return start;
}

absl::Status OnBlobBytes(const HttpResponse& head, absl::string_view bytes, int64_t start,
                         int64_t& incoming, Download& download) {
  if (incoming < 0) {
    incoming = 0;  // A server that knows no ranges sends all, whatever was asked for.
    if (head.status == 206) {
      const std::optional<int64_t> range = ContentRangeStart(head);
      if (range != start) {
        return absl::DataLossError("the registry sends another range than was asked for");
      }
      incoming = start;
    }
  }
  const int64_t known = std::clamp<int64_t>(download.position - incoming, 0, bytes.size());
  incoming += bytes.size();
  bytes.remove_prefix(known);
  return bytes.empty() ? absl::OkStatus() : download.Append(bytes);
}

absl::StatusOr<UniqueFd> UnlinkedFile() {
  const char* directory = std::getenv("TMPDIR");
  std::string path = absl::StrCat(directory != nullptr ? directory : "/var/tmp", "/farm-XXXXXX");
  UniqueFd fd(mkostemp(path.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  unlink(path.c_str());
  return fd;
}

absl::Status Deliver(int file, ByteSink& sink) {
  if (lseek(file, 0, SEEK_SET) != 0) return ErrnoStatus(errno, "lseek");
  FdSource source(file);
  return CopyBytes(source, sink).status();
}

RegistryAttempt FetchOnce(RegistryTransport& transport, const RegistryEndpoint& endpoint,
                          const Reference& repository, const std::string& what, Download& download,
                          const RegistryCall& call) {
  if (download.complete()) return {};
  int64_t start = 0;      // Of this attempt's Range.
  int64_t incoming = -1;  // Position of the next byte that comes; -1 before the first.
  RegistryAttempt attempt = transport.Send(endpoint, PullScope(repository), call, [&] {
    start = download.position;
    incoming = -1;
    HttpRequest request;
    request.url = endpoint.Url(repository, absl::StrCat("blobs/", download.blob.digest.oci()));
    if (start > 0) request.headers = {{"Range", absl::StrCat("bytes=", start, "-")}};
    request.on_body = [&](const HttpResponse& head, absl::string_view bytes) {
      return OnBlobBytes(head, bytes, start, incoming, download);
    };
    return absl::StatusOr<HttpRequest>(std::move(request));
  });
  if (!attempt.status.ok()) return attempt;
  if (attempt.response.status == 416) {
    return RegistryAttempt::Final(absl::DataLossError(absl::StrCat(
        "shorter than the ", download.blob.digest.size_bytes(), " bytes of its descriptor")));
  }
  if (attempt.response.status / 100 != 2) {
    return RegistryAttempt::Final(StatusOf(attempt.response, endpoint, "blob", what));
  }
  if (!download.complete()) {
    return RegistryAttempt::MayPass(
        absl::StrCat("registry ", endpoint.host, " ended the blob ",
                     download.blob.digest.size_bytes() - download.position, " bytes early"));
  }
  return attempt;
}

}  // namespace

absl::Status DownloadBlob(RegistryTransport& transport, const Reference& repository,
                          const Descriptor& blob, int64_t offset, ByteSink& sink,
                          const RegistryCall& call) {
  const std::string what = absl::StrCat(repository.familiar_repository(), "@", blob.digest.oci());
  if (offset < 0 || offset > blob.digest.size_bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": offset ", offset, " is outside of the blob"));
  }
  const auto fetch_from = [&](Download& download, const RegistryEndpoint& endpoint) {
    return transport.Retry(
        endpoint, call,
        [&] { return FetchOnce(transport, endpoint, repository, what, download, call); },
        &download.position);
  };
  const bool whole = offset == 0;
  if (whole && transport.HasMirrors(repository.host())) {
    // The sink can't take bytes back, so it gets none that only a mirror vouches for.
    ASSIGN_OR_RETURN(const UniqueFd file, UnlinkedFile(), _ << "blob " << what);
    FdSink spool(file.get());
    Download download{.blob = blob, .whole = true, .sink = spool, .position = 0};
    const absl::Status fetched = transport.FromAny(
        repository.host(), call,
        [&](const RegistryEndpoint& endpoint) { return fetch_from(download, endpoint); },
        [&] { return !download.sink_failed; });
    const bool right = fetched.ok() && download.hash.Finish() == blob.digest;
    if (right) return Deliver(file.get(), sink);
    if (!fetched.ok() && !absl::IsDataLoss(fetched)) return Annotate(fetched, "blob " + what);
    LogWarning("a registry mirror sends wrong bytes, the registry is asked",
               {{"blob", what}, {"registry", repository.host()}});
  }
  Download download{.blob = blob, .whole = whole, .sink = sink, .position = offset};
  if (whole) {
    RETURN_IF_ERROR(fetch_from(download, transport.EndpointOf(repository.host())))
        << "blob " << what;
  } else {
    RETURN_IF_ERROR(transport.FromAny(
        repository.host(), call,
        [&](const RegistryEndpoint& endpoint) { return fetch_from(download, endpoint); },
        [&] { return !download.sink_failed; }))
        << "blob " << what;
  }
  if (whole && download.hash.Finish() != blob.digest) {
    return absl::DataLossError(absl::StrCat("blob ", what, ": the bytes that ", repository.host(),
                                            " sends have another digest"));
  }
  return absl::OkStatus();
}

}  // namespace farm
