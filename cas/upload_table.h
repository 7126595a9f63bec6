#ifndef FARM_CAS_UPLOAD_TABLE_H_
#define FARM_CAS_UPLOAD_TABLE_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "base/unique_fd.h"
#include "cas/blob_store.h"

namespace farm {

// Room for the bytes of all uploads together. Safe for concurrent calls.
class SpoolBudget {
 public:
  explicit SpoolBudget(int64_t bytes_max) : bytes_max_(bytes_max), left_(bytes_max) {}
  // RESOURCE_EXHAUSTED if there is not so much left.
  absl::Status Take(int64_t bytes);
  void GiveBack(int64_t bytes) { left_ += bytes; }

 private:
  const int64_t bytes_max_;
  std::atomic<int64_t> left_;
};

// One blob on its way in, in order, hashed as it comes. Over a size it waits in a file, else in
// memory. Safe for concurrent calls; of several writers only the newest goes on.
class Upload {
 public:
  Upload(const Digest& digest, std::string path, std::shared_ptr<SpoolBudget> budget)
      : digest_(digest), path_(std::move(path)), budget_(std::move(budget)) {}
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  // Makes the caller the writer; its number is for the calls below. An earlier writer, whose
  // connection may be dead without anybody knowing yet, gets ABORTED from now on.
  int64_t TakeOver();
  // Bytes that the upload begins with at `offset`; those that it has already are skipped.
  //   ABORTED             somebody else has taken over, or the upload has been finished
  //   INVALID_ARGUMENT    there is a gap before `offset`, or more bytes than the digest says
  //   RESOURCE_EXHAUSTED  the uploads together have too many bytes; later there may be room
  absl::Status Append(int64_t writer, int64_t offset, absl::string_view bytes);
  // Gives the blob to `store`. Whatever becomes of it, the upload is over then, and ABORTED is the
  // answer to all that comes: who wants to try again begins a new one.
  //   INVALID_ARGUMENT  the bytes do not hash to the digest
  //   ABORTED           as above
  //   and the errors of BlobStore::Put()
  absl::Status Finish(int64_t writer, BlobStore& store);

  int64_t committed_bytes();
  const Digest& digest() const { return digest_; }

 private:
  absl::Status CheckWriter(int64_t writer) FARM_REQUIRES(mu_);
  absl::Status Write(absl::string_view bytes) FARM_REQUIRES(mu_);

  const Digest digest_;
  const std::string path_;
  const std::shared_ptr<SpoolBudget> budget_;
  Mutex mu_;
  int64_t writer_ FARM_GUARDED_BY(mu_) = 0;
  bool finished_ FARM_GUARDED_BY(mu_) = false;
  int64_t committed_bytes_ FARM_GUARDED_BY(mu_) = 0;
  Sha256 sha256_ FARM_GUARDED_BY(mu_);
  std::string memory_ FARM_GUARDED_BY(mu_);
  UniqueFd file_ FARM_GUARDED_BY(mu_);
};

// The uploads under way, by name, so that one that was cut off can go on. Safe for concurrent
// calls.
class UploadTable {
 public:
  struct Options {
    std::string dir;  // for large uploads; best on the store's file system
    int uploads_max = 1024;
    int64_t spool_bytes_max = int64_t{128} << 30;  // of all uploads together
    absl::Duration idle_max = absl::Minutes(10);   // an upload untouched for so long is dropped
  };
  UploadTable(Clock& clock, Options options)
      : clock_(clock),
        options_(std::move(options)),
        budget_(std::make_shared<SpoolBudget>(options_.spool_bytes_max)) {}

  // The upload of `digest` under `name`, made if there is none. RESOURCE_EXHAUSTED over the limit.
  absl::StatusOr<std::shared_ptr<Upload>> Open(const std::string& name, const Digest& digest);
  // Null if there is none.
  std::shared_ptr<Upload> Find(const std::string& name);
  // Forgets `upload`, if it is still the one under `name`; its bytes go with its last user.
  void Remove(const std::string& name, const std::shared_ptr<Upload>& upload);

 private:
  struct Entry {
    std::shared_ptr<Upload> upload;  // shared with the calls that write it
    absl::Time last_use;
  };
  void DropIdle(absl::Time now) FARM_REQUIRES(mu_);

  Clock& clock_;
  const Options options_;
  const std::shared_ptr<SpoolBudget> budget_;
  Mutex mu_;
  int64_t next_file_ FARM_GUARDED_BY(mu_) = 0;
  absl::Time next_sweep_ FARM_GUARDED_BY(mu_) = absl::InfinitePast();
  std::map<std::string, Entry> uploads_ FARM_GUARDED_BY(mu_);
};

}  // namespace farm

#endif  // FARM_CAS_UPLOAD_TABLE_H_
