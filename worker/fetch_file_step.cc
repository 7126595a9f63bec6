#include "worker/fetch_file_step.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/redact_url.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/unique_fd.h"
#include "worker/layer_output.h"
#include "worker/source_client.h"

namespace farm {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr size_t kHeaderBytesMax = 1024;  // of an ETag or time that is remembered

// A file while it comes: hashed on the way, bounded.
class Download {
 public:
  explicit Download(int64_t bytes_max) : bytes_max_(bytes_max) {}

  absl::Status Create(const std::string& path) {
    fd_ = UniqueFd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode));
    if (!fd_.valid()) return ErrnoStatus(errno, path);
    // Whatever the umask is.
    if (fchmod(fd_.get(), kFileMode) != 0) return ErrnoStatus(errno, path);
    return absl::OkStatus();
  }

  absl::Status Restart() {
    hash_ = Sha256();
    bytes_ = 0;
    if (ftruncate(fd_.get(), 0) != 0 || lseek(fd_.get(), 0, SEEK_SET) != 0) {
      return ErrnoStatus(errno, "download");
    }
    return absl::OkStatus();
  }

  absl::Status Take(const HttpResponse& head, absl::string_view bytes) {
    int64_t announced = 0;
    if (bytes_ == 0 && absl::SimpleAtoi(head.Header("content-length"), &announced) &&
        announced > bytes_max_) {
      return TooLarge();
    }
    bytes_ += static_cast<int64_t>(bytes.size());
    if (bytes_ > bytes_max_) return TooLarge();
    hash_.Update(bytes);
    return FdSink(fd_.get()).Write(bytes);
  }

  Digest Finish() { return hash_.Finish(); }

  absl::Status SetTime(absl::Time time) {
    const timespec spec = absl::ToTimespec(time);
    const timespec times[] = {spec, spec};
    if (futimens(fd_.get(), times) != 0) return ErrnoStatus(errno, "download");
    return absl::OkStatus();
  }

 private:
  absl::Status TooLarge() const {
    return absl::InvalidArgumentError(
        absl::StrCat("it is over sources.bytes_max = ", bytes_max_, " bytes"));
  }

  const int64_t bytes_max_;
  UniqueFd fd_;
  Sha256 hash_;
  int64_t bytes_ = 0;
};

SourceClient::Call CallFor(const StepRun& run) {
  const v1::FetchFileOperation& operation = run.spec.identity().fetch_file();
  const v1::FetchedFile& known = run.spec.execution().known_file();
  SourceClient::Call call;
  call.url = operation.url();
  call.authorization = run.spec.execution().source_authorization();
  call.step_allows_loopback = run.spec.execution().loopback_allowed();
  call.cancel = &run.cancel;
  if (!known.has_layer()) return call;
  // By its ETag alone: a file that was replaced by an older one is not modified since.
  if (!known.etag().empty()) call.headers.emplace_back("If-None-Match", known.etag());
  return call;
}

// What is remembered of a header: nothing that could not be sent again.
std::string Printable(absl::string_view header) {
  const bool is_printable =
      header.size() <= kHeaderBytesMax &&
      std::all_of(header.begin(), header.end(), [](char c) { return c >= 0x20 && c <= 0x7E; });
  return is_printable ? std::string(header) : "";
}

// It becomes a name in a directory.
absl::Status CheckName(absl::string_view name) {
  if (!name.empty() && name != "." && name != ".." && !absl::StrContains(name, '/') &&
      !absl::StrContains(name, '\0')) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", name, "\" can't be a file's name"));
}

// Asks for the file. Nullopt if it still is the one that is known.
absl::StatusOr<std::optional<HttpResponse>> Ask(const StepTools& tools, const StepRun& run,
                                                Download& download) {
  const v1::FetchedFile& known = run.spec.execution().known_file();
  bool is_known = false;
  SourceClient::Call call = CallFor(run);
  call.deadline = absl::Now() + tools.sources.options().timeout;
  call.on_start = [&download] { return download.Restart(); };
  call.on_body = [&](const HttpResponse& head, absl::string_view bytes) -> absl::Status {
    // Some servers send all, whatever was said to be known.
    is_known = known.has_layer() && !known.etag().empty() && head.Header("etag") == known.etag();
    if (is_known) return absl::CancelledError("it is known");
    return download.Take(head, bytes);
  };
  absl::StatusOr<SourceClient::Answer> answer = tools.sources.Get(call);
  if (is_known) return std::nullopt;
  if (!answer.ok()) return answer.status();
  if (answer->response.status != 304) return std::move(answer->response);
  if (known.has_layer()) return std::nullopt;
  return absl::InvalidArgumentError(absl::StrCat("GET ", RedactUrls(call.url),
                                                 ": the server answers 304 Not Modified, though "
                                                 "nothing was said to be known"));
}

v1::StepResult Unchanged(const v1::FetchedFile& known, const StepTimes& times) {
  v1::StepResult result;
  *result.mutable_layer() = known.layer();
  result.set_etag(known.etag());
  result.set_last_modified(known.last_modified());
  result.set_not_modified(true);
  SetTimes(times, result);
  return result;
}

absl::Status CheckChecksum(const v1::FetchFileOperation& operation, const Digest& digest) {
  if (operation.checksum().empty() || operation.checksum() == digest.oci()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("GET ", RedactUrls(operation.url()),
                                                 ": checksum mismatch: expected ",
                                                 operation.checksum(), ", got ", digest.oci()));
}

}  // namespace

absl::StatusOr<v1::StepResult> ExecuteFetchFile(const StepTools& tools, const StepRun& run) {
  const v1::FetchFileOperation& operation = run.spec.identity().fetch_file();
  RETURN_IF_ERROR(CheckName(operation.file_name()));
  run.enter_phase(StepPhase::kFetching);
  StepTimes times{.started = tools.clock.Now(), .finished = {}};
  const std::string path = tools.StepDir(run.id);
  const absl::Cleanup drop = [&] { tools.trash.Throw(path).IgnoreError(); };  // It logs.
  if (mkdir(path.c_str(), 0755) != 0) return ErrnoStatus(errno, path);
  Download download(tools.sources.options().bytes_max);
  RETURN_IF_ERROR(download.Create(absl::StrCat(path, "/", operation.file_name())));
  ASSIGN_OR_RETURN(const std::optional<HttpResponse> response, Ask(tools, run, download));
  times.finished = tools.clock.Now();
  if (!response.has_value()) return Unchanged(run.spec.execution().known_file(), times);

  v1::StepResult result;
  result.set_etag(Printable(response->Header("etag")));
  result.set_last_modified(Printable(response->Header("last-modified")));
  const Digest digest = download.Finish();
  RETURN_IF_ERROR(CheckChecksum(operation, digest));
  RETURN_IF_ERROR(
      download.SetTime(ParseHttpDate(result.last_modified()).value_or(absl::UnixEpoch())));

  run.enter_phase(StepPhase::kStoring);
  result.mutable_usage()->set_fetched_bytes(digest.size_bytes());
  KnownFiles files;
  files.verified[operation.file_name()] = digest;
  RETURN_IF_ERROR(StoreTree(tools, run, path, files, times, result));
  return result;
}

}  // namespace farm
