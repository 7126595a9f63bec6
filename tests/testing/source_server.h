#ifndef FARM_TESTS_TESTING_SOURCE_SERVER_H_
#define FARM_TESTS_TESTING_SOURCE_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace farm {

// An HTTP server on loopback with files, which it knows by ETag, and git repositories, which the
// real `git http-backend` gives. Safe for concurrent calls.
class SourceServer {
 public:
  SourceServer();
  ~SourceServer();

  // "/name" gives `content`; "" takes it away.
  void Put(const std::string& path, const std::string& content);
  // From now on only who sends this header Authorization gets anything.
  void Require(const std::string& authorization);
  // "/name" leads to `location`.
  void Redirect(const std::string& path, const std::string& location);
  // "/name" sends a byte from time to time, for ever.
  void Trickle(const std::string& path);

  // `sh -c script` in the directory of repositories; "x.git" there is "/git/x.git" here.
  void Git(const std::string& script);
  // The first line that a script there prints.
  std::string GitLine(const std::string& script);

  std::string host() const;  // "127.0.0.1:PORT"
  std::string url() const;   // "http://127.0.0.1:PORT"

  // Since the last call: "200 GET /name", and "fetch" for each time that objects of a repository
  // were asked for.
  std::vector<std::string> TakeLog();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace farm

#endif  // FARM_TESTS_TESTING_SOURCE_SERVER_H_
