#include "cli/spooled_file.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/errno_status.h"
#include "base/status_macros.h"
#include "base/version.h"
#include "cli/exit_code.h"

namespace farm {
namespace {

constexpr int64_t kDownloadBytesMax = int64_t{64} << 30;
constexpr long kConnectSeconds = 30;
// Slower than this for so long is a dead server.
constexpr long kStalledBytesPerSecond = 1;
constexpr long kStalledSeconds = 60;

absl::StatusOr<UniqueFd> UnlinkedFile() {
  const char* directory = std::getenv("TMPDIR");
  std::string path = absl::StrCat(directory != nullptr ? directory : "/var/tmp", "/farm-XXXXXX");
  UniqueFd fd(mkostemp(path.data(), O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, path);
  unlink(path.c_str());
  return fd;
}

// libcurl is opened only here: it brings some thirty libraries, which would double the time that
// every other command takes to start.
class Curl {
 public:
  static absl::StatusOr<Curl> Open() {
    Curl curl;
    curl.library_ = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (curl.library_ == nullptr) {
      return absl::FailedPreconditionError(
          "downloading needs libcurl (libcurl.so.4); install it, or download the file first");
    }
    curl.easy_init = curl.Symbol<decltype(&curl_easy_init)>("curl_easy_init");
    curl.easy_setopt = curl.Symbol<decltype(&curl_easy_setopt)>("curl_easy_setopt");
    curl.easy_perform = curl.Symbol<decltype(&curl_easy_perform)>("curl_easy_perform");
    curl.easy_strerror = curl.Symbol<decltype(&curl_easy_strerror)>("curl_easy_strerror");
    curl.easy_cleanup = curl.Symbol<decltype(&curl_easy_cleanup)>("curl_easy_cleanup");
    if (curl.easy_init == nullptr || curl.easy_setopt == nullptr || curl.easy_perform == nullptr ||
        curl.easy_strerror == nullptr || curl.easy_cleanup == nullptr) {
      return absl::FailedPreconditionError("libcurl.so.4 lacks functions of libcurl 7");
    }
    return curl;
  }

  decltype(&curl_easy_init) easy_init = nullptr;
  decltype(&curl_easy_setopt) easy_setopt = nullptr;
  decltype(&curl_easy_perform) easy_perform = nullptr;
  decltype(&curl_easy_strerror) easy_strerror = nullptr;
  decltype(&curl_easy_cleanup) easy_cleanup = nullptr;

 private:
  template <typename Function>
  Function Symbol(const char* name) {
    return reinterpret_cast<Function>(dlsym(library_, name));
  }
  void* library_ = nullptr;  // Stays open: libcurl does not like to be unloaded.
};

size_t WriteToSink(char* bytes, size_t size, size_t count, void* sink) {
  const absl::string_view text(bytes, size * count);
  return static_cast<ByteSink*>(sink)->Write(text).ok() ? text.size() : 0;
}

#undef curl_easy_setopt  // A macro in C, where it checks types.

absl::Status Download(const std::string& url, ByteSink& sink) {
  ASSIGN_OR_RETURN(const Curl curl, Curl::Open());
  CURL* const handle = curl.easy_init();
  if (handle == nullptr) return absl::ResourceExhaustedError("no memory for a download");
  const std::string agent = absl::StrCat("farm/", Version());
  curl.easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl.easy_setopt(handle, CURLOPT_USERAGENT, agent.c_str());
  curl.easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl.easy_setopt(handle, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
  curl.easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 1L);
  curl.easy_setopt(handle, CURLOPT_MAXREDIRS, 10L);
  curl.easy_setopt(handle, CURLOPT_FAILONERROR, 1L);
  curl.easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl.easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl.easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, kStalledBytesPerSecond);
  curl.easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, kStalledSeconds);
  curl.easy_setopt(handle, CURLOPT_MAXFILESIZE_LARGE, static_cast<curl_off_t>(kDownloadBytesMax));
  curl.easy_setopt(handle, CURLOPT_WRITEFUNCTION, &WriteToSink);
  curl.easy_setopt(handle, CURLOPT_WRITEDATA, &sink);
  const CURLcode code = curl.easy_perform(handle);
  curl.easy_cleanup(handle);
  if (code == CURLE_OK) return absl::OkStatus();
  if (code == CURLE_HTTP_RETURNED_ERROR) {
    return absl::NotFoundError(absl::StrCat(url, ": the server answers with an error"));
  }
  return absl::UnavailableError(absl::StrCat(url, ": ", curl.easy_strerror(code)));
}

absl::StatusOr<UniqueFd> OpenSource(const std::string& source) {
  if (absl::StartsWith(source, "http://") || absl::StartsWith(source, "https://")) {
    ASSIGN_OR_RETURN(UniqueFd fd, UnlinkedFile());
    FdSink sink(fd.get());
    RETURN_IF_ERROR(Download(source, sink));
    return fd;
  }
  struct stat info {};
  if (source != "-") {
    UniqueFd fd(open(source.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, source);
    fstat(fd.get(), &info);
    if (S_ISDIR(info.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(source, " is a directory, not an archive"));
    }
    if (S_ISREG(info.st_mode)) return fd;
    ASSIGN_OR_RETURN(UniqueFd copy, UnlinkedFile());
    FdSource from(fd.get());
    FdSink to(copy.get());
    RETURN_IF_ERROR(CopyBytes(from, to, kDownloadBytesMax).status());
    return copy;
  }
  if (isatty(0) == 1) {
    return AsUsageError(absl::InvalidArgumentError(
        "standard input is a terminal; redirect an archive into it, or name a file"));
  }
  ASSIGN_OR_RETURN(UniqueFd copy, UnlinkedFile());
  FdSource from(0);
  FdSink to(copy.get());
  RETURN_IF_ERROR(CopyBytes(from, to, kDownloadBytesMax).status());
  return copy;
}

}  // namespace

absl::StatusOr<SpooledFile> OpenSpooled(const std::string& source) {
  SpooledFile file;
  ASSIGN_OR_RETURN(file.fd, OpenSource(source));
  if (lseek(file.fd.get(), 0, SEEK_SET) != 0) return ErrnoStatus(errno, source);
  FdSource bytes(file.fd.get());
  HashSink hash;
  RETURN_IF_ERROR(CopyBytes(bytes, hash).status()) << source;
  file.digest = hash.Finish();
  lseek(file.fd.get(), 0, SEEK_SET);
  return file;
}

}  // namespace farm
