#include "tests/testing/source_server.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <map>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "tests/testing/process.h"

namespace farm {
namespace {

constexpr absl::string_view kGitPath = "/git/";

// What a CGI program prints.
void AnswerAsPrinted(const std::string& printed, httplib::Response& response) {
  const size_t end = printed.find("\r\n\r\n");
  if (end == std::string::npos) {
    response.status = 500;
    return;
  }
  response.status = 200;
  std::string type = "text/plain";
  for (const absl::string_view line : absl::StrSplit(printed.substr(0, end), "\r\n")) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(line, absl::MaxSplits(": ", 1));
    if (pair.first == "Status") {
      EXPECT_TRUE(absl::SimpleAtoi(pair.second.substr(0, 3), &response.status));
    } else if (pair.first == "Content-Type") {
      type = pair.second;
    } else {
      response.set_header(pair.first, pair.second);
    }
  }
  response.set_content(printed.substr(end + 4), type);
}

}  // namespace

struct SourceServer::Impl {
  ScratchDir repositories;
  httplib::Server server;
  int port = 0;
  std::thread thread;
  std::atomic<bool> ending = false;
  Mutex mu;
  std::map<std::string, std::string> files FARM_GUARDED_BY(mu);
  std::string authorization FARM_GUARDED_BY(mu);
  std::map<std::string, std::string> redirects FARM_GUARDED_BY(mu);
  std::map<std::string, bool> trickles FARM_GUARDED_BY(mu);
  std::vector<std::string> log FARM_GUARDED_BY(mu);

  void Log(const std::string& line) {
    MutexLock lock(mu);
    log.push_back(line);
  }

  void AnswerGit(const httplib::Request& request, httplib::Response& response) {
    std::string query;
    for (const auto& [name, value] : request.params) {
      absl::StrAppend(&query, query.empty() ? "" : "&", name, "=", value);
    }
    const bool is_post = request.method == "POST";
    if (is_post && (absl::StrContains(request.body, "command=fetch") ||
                    absl::StartsWith(request.body.substr(4), "want "))) {
      Log("fetch");
    }
    CommandOptions options;
    options.env = {{"GIT_PROJECT_ROOT", repositories.path()},
                   {"GIT_HTTP_EXPORT_ALL", "1"},
                   {"GIT_PROTOCOL", request.get_header_value("Git-Protocol")},
                   {"PATH_INFO", "/" + request.path.substr(kGitPath.size())},
                   {"QUERY_STRING", query},
                   {"REQUEST_METHOD", request.method},
                   {"CONTENT_TYPE", request.get_header_value("Content-Type")},
                   {"CONTENT_LENGTH", absl::StrCat(request.body.size())},
                   {"HOME", repositories.path()}};
    options.input = request.body;
    AnswerAsPrinted(RunCommand({"git", "-c", "safe.directory=*", "http-backend"}, options).out,
                    response);
  }

  void AnswerSlowly(httplib::Response& response) {
    response.status = 200;
    response.set_chunked_content_provider("a/b", [this](size_t, httplib::DataSink& sink) {
      PauseBriefly();
      return !ending && sink.write("x", 1);
    });
  }

  bool MayAsk(const httplib::Request& request) {
    MutexLock lock(mu);
    return authorization.empty() || request.get_header_value("Authorization") == authorization;
  }

  void Answer(const httplib::Request& request, httplib::Response& response) {
    if (!MayAsk(request)) {
      response.status = 401;
      return;
    }
    if (absl::StartsWith(request.path, kGitPath)) return AnswerGit(request, response);
    MutexLock lock(mu);
    response.status = 404;
    if (const auto redirect = redirects.find(request.path); redirect != redirects.end()) {
      response.status = 302;
      response.set_header("Location", redirect->second);
    } else if (trickles.count(request.path) > 0) {
      AnswerSlowly(response);
    } else if (const auto file = files.find(request.path); file != files.end()) {
      const std::string etag = absl::StrCat("\"", DigestOf(file->second).hex(), "\"");
      response.set_header("ETag", etag);
      response.status = request.get_header_value("If-None-Match") == etag ? 304 : 200;
      if (response.status == 200) response.set_content(file->second, "application/octet-stream");
    }
    log.push_back(absl::StrCat(response.status, " ", request.method, " ", request.path));
  }
};

SourceServer::SourceServer() : impl_(std::make_unique<Impl>()) {
  const httplib::Server::Handler handle = [impl = impl_.get()](const httplib::Request& request,
                                                               httplib::Response& response) {
    impl->Answer(request, response);
  };
  impl_->server.Get(".*", handle);
  impl_->server.Post(".*", handle);
  impl_->server.set_keep_alive_timeout(1);
  impl_->port = impl_->server.bind_to_any_port("127.0.0.1");
  impl_->thread = std::thread([impl = impl_.get()] { impl->server.listen_after_bind(); });
  while (!impl_->server.is_running()) std::this_thread::yield();
}

SourceServer::~SourceServer() {
  impl_->ending = true;
  impl_->server.stop();
  impl_->thread.join();
}

void SourceServer::Put(const std::string& path, const std::string& content) {
  MutexLock lock(impl_->mu);
  impl_->files[path] = content;
  if (content.empty()) impl_->files.erase(path);
}

void SourceServer::Require(const std::string& authorization) {
  MutexLock lock(impl_->mu);
  impl_->authorization = authorization;
}

void SourceServer::Redirect(const std::string& path, const std::string& location) {
  MutexLock lock(impl_->mu);
  impl_->redirects[path] = location;
}

void SourceServer::Trickle(const std::string& path) {
  MutexLock lock(impl_->mu);
  impl_->trickles[path] = true;
}

std::string SourceServer::GitLine(const std::string& script) {
  const CommandResult result =
      RunShell("set -e; " + script, {.dir = impl_->repositories.path(),
                                     .env = {{"HOME", impl_->repositories.path()},
                                             {"GIT_AUTHOR_NAME", "n"},
                                             {"GIT_AUTHOR_EMAIL", "n@example.com"},
                                             {"GIT_COMMITTER_NAME", "n"},
                                             {"GIT_COMMITTER_EMAIL", "n@example.com"}}});
  EXPECT_EQ(result.exit_code, 0) << script << "\n" << result.all();
  return result.out.substr(0, result.out.find('\n'));
}

void SourceServer::Git(const std::string& script) { GitLine(script); }

std::string SourceServer::host() const { return absl::StrCat("127.0.0.1:", impl_->port); }
std::string SourceServer::url() const { return absl::StrCat("http://", host()); }

std::vector<std::string> SourceServer::TakeLog() {
  MutexLock lock(impl_->mu);
  return std::exchange(impl_->log, {});
}

}  // namespace farm
