#ifndef FARM_WORKER_TRASH_H_
#define FARM_WORKER_TRASH_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"

namespace farm {

// Deletes trees out of the way of who wants to be rid of them: renaming is quick, and the deleting
// is done by one thread of its own. What a stopped worker left in the directory is deleted at the
// next start. Safe for concurrent calls.
class Trash {
 public:
  // `dir` is created. It must be on the file system of what is thrown away.
  explicit Trash(std::string dir);
  // Leaves what is not deleted yet for the next start.
  ~Trash();
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // Takes a file or tree away from `path`. OK if there is none. Errors are logged too, for callers
  // that clean up and cannot do more.
  absl::Status Throw(const std::string& path);
  // Takes away all entries of a directory: what an earlier run left, at start.
  absl::Status ThrowContents(const std::string& dir);

  // Returns once everything thrown before is deleted.
  void WaitUntilEmpty();

 private:
  void Run();

  const std::string dir_;
  Mutex mu_;
  std::condition_variable changed_;
  bool stopping_ FARM_GUARDED_BY(mu_) = false;
  bool deleting_ FARM_GUARDED_BY(mu_) = false;
  uint64_t next_name_ FARM_GUARDED_BY(mu_) = 0;
  std::deque<std::string> queue_ FARM_GUARDED_BY(mu_);
  std::thread thread_;
};

}  // namespace farm

#endif  // FARM_WORKER_TRASH_H_
