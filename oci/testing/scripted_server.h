// An HTTP server that does as each test says.
#ifndef FARM_OCI_TESTING_SCRIPTED_SERVER_H_
#define FARM_OCI_TESTING_SCRIPTED_SERVER_H_

#include <httplib.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"

namespace farm {

// Listens on a free loopback port and hands each request to the test's handler, one at a time.
class ScriptedServer {
 public:
  using Handler = std::function<void(const httplib::Request&, httplib::Response&)>;

  ScriptedServer() {
    const httplib::Server::Handler handle = [this](const httplib::Request& request,
                                                   httplib::Response& response) {
      MutexLock lock(mu_);
      requests_.push_back(absl::StrCat(request.method, " ", request.path));
      authorizations_.push_back(request.get_header_value("Authorization"));
      response.status = 404;
      if (handler_) handler_(request, response);
    };
    server_.Get(".*", handle);
    server_.Post(".*", handle);
    server_.Put(".*", handle);
    server_.Patch(".*", handle);
    server_.Delete(".*", handle);
    server_.set_keep_alive_timeout(1);
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) std::this_thread::yield();
  }

  ~ScriptedServer() {
    server_.stop();
    thread_.join();
  }

  void On(Handler handler) {
    MutexLock lock(mu_);
    handler_ = std::move(handler);
  }

  std::string host() const { return absl::StrCat("127.0.0.1:", port_); }
  std::string url() const { return absl::StrCat("http://", host()); }
  std::vector<std::string> requests() {
    MutexLock lock(mu_);
    return requests_;
  }
  std::vector<std::string> authorizations() {
    MutexLock lock(mu_);
    return authorizations_;
  }

 private:
  httplib::Server server_;
  int port_ = 0;
  std::thread thread_;
  Mutex mu_;
  Handler handler_ FARM_GUARDED_BY(mu_);
  std::vector<std::string> requests_ FARM_GUARDED_BY(mu_);
  std::vector<std::string> authorizations_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_OCI_TESTING_SCRIPTED_SERVER_H_
