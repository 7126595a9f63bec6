#ifndef FARM_CAS_DISK_BLOB_STORE_H_
#define FARM_CAS_DISK_BLOB_STORE_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cas/blob_store.h"

namespace farm {

// Blobs as files of a directory:
//
//   DIR/blobs/sha256/ab/HASH   a blob; that the file is there, with the digest's size, is all that
//                              says so. Its mtime is the blob's last use.
//   DIR/tmp/RANDOM/            files not yet complete; one directory for each open store, which
//                              holds an flock on it. One without a holder is removed at Open().
//   DIR/quarantine/HASH        what was found damaged, for people to look at and remove
//
// Several stores, in several processes of one host, may have one DIR open at once: they share
// nothing but the files, which appear by rename alone. They run as one user, or as root, which then
// gives what it makes to DIR's owner. docs/formats/cas.md has the details.
//
// A blob is written, hashed on the way, and renamed; it is not synced, so after a power cut it may
// be missing or short (then it counts as missing) until Sync() has returned for it.
class DiskBlobStore final : public CollectableBlobStore {
 public:
  struct Options {
    std::string dir;  // Made, 0700, if it is missing; its parent must exist.
    int64_t blob_bytes_max = int64_t{64} << 30;
    absl::Duration last_use_resolution = kLastUseResolution;  // see LastUseResolutionFor()

    // Whether PutFile() believes the digest that it is given. Set it where every caller of
    // PutFile() in this process has hashed the very bytes it wrote to the file, and writes no more:
    // the worker that packed the layer, the CAS service that hashed an upload as it came in. Never
    // for files whose bytes or name somebody else had a hand in. It concerns this process alone:
    // another one that has DIR open can store what it likes there anyway, so all of them must trust
    // each other as much as one program would. A wrong file is found by the next full Get().
    // Without it PutFile() reads and hashes the file.
    bool trust_files = false;
  };

  // Whose DIR is.
  struct Owner {
    uid_t uid = 0;
    gid_t gid = 0;
  };

  // FAILED_PRECONDITION if `dir` can't be used, with the reason.
  static absl::StatusOr<std::unique_ptr<DiskBlobStore>> Open(Clock& clock, Options options);
  ~DiskBlobStore() override;

  absl::Status Put(const Digest& digest, ByteSource& source) override;
  // Renames the file if it is on DIR's file system (see temporary_dir()), else copies it. It
  // becomes read-only.
  absl::Status PutFile(const Digest& digest, const std::string& path) override;
  absl::Status Get(const Digest& digest, int64_t offset, ByteSink& sink) override;
  absl::StatusOr<UniqueFd> OpenFile(const Digest& digest) override;
  absl::StatusOr<std::vector<Digest>> FindMissing(absl::Span<const Digest> digests) override;
  absl::Status Sync(absl::Span<const Digest> digests) override;
  absl::Status Delete(const Digest& digest) override;
  absl::Status ForEachBlob(const std::function<bool(const BlobInfo&)>& visit) override;
  absl::StatusOr<bool> DeleteIfUnusedSince(const Digest& digest, absl::Time time) override;
  void NoteUsesSince(absl::Time time) override { notes_.NoteSince(time); }

  // A directory of this store's own for files that are to be given to PutFile(). Removed with the
  // store, with all that is in it.
  const std::string& temporary_dir() const { return temporary_dir_; }

 private:
  DiskBlobStore(Clock& clock, Options options, Owner owner, std::string temporary_dir,
                UniqueFd temporary_lock);

  std::string BlobPath(const Digest& digest) const;
  // The blob's file open for reading, its use noted. NOT_FOUND if it is missing or short.
  absl::StatusOr<UniqueFd> OpenBlob(const Digest& digest);
  bool Use(const Digest& digest);
  // Gives `path` the blob's name; the errno, 0 if none.
  int Rename(const std::string& path, const Digest& digest);
  absl::Status Quarantine(const Digest& digest, absl::string_view reason);

  Clock& clock_;
  const Options options_;
  const Owner owner_;
  const std::string temporary_dir_;
  const UniqueFd temporary_lock_;
  UseNotes notes_{options_.last_use_resolution};
};

}  // namespace farm

#endif  // FARM_CAS_DISK_BLOB_STORE_H_
