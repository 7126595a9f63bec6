// The contracts of what keeps bytes on this host or in memory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "cas/disk_blob_store.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "cas/rocksdb_index.h"
#include "cas/small_blob_store.h"
#include "cas/verifying_blob_store.h"
#include "tests/contract/blob_store_contract.h"
#include "tests/contract/index_contract.h"

// RocksDB is not built for ThreadSanitizer, which takes its lock-free memtable for races.
extern "C" const char* __tsan_default_suppressions() { return "race:librocksdb"; }  // NOLINT

namespace farm {
namespace {

constexpr int64_t kBlobBytesMax = 6 << 20;

class MemoryCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  CollectableBlobStore* collectable() override { return &store_; }
  FakeClock* clock() override { return &clock_; }
  bool Damage(const Digest& digest) override {
    store_.Damage(digest);
    return true;
  }

 private:
  FakeClock clock_;
  MemoryBlobStore store_{clock_, {.blob_bytes_max = kBlobBytesMax}};
};

// Flips a bit in the middle of a blob's file below `dir`.
bool DamageFile(const std::string& dir, const Digest& digest) {
  const std::string hex = digest.hex();
  const std::string path = dir + "/blobs/sha256/" + hex.substr(0, 2) + "/" + hex;
  chmod(path.c_str(), 0600);
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const off_t middle = digest.size_bytes() / 2;
  char byte;
  if (!fd.valid() || pread(fd.get(), &byte, 1, middle) != 1) return false;
  byte ^= 1;
  return pwrite(fd.get(), &byte, 1, middle) == 1;
}

template <bool kTrustFiles>
class DiskCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return *store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  CollectableBlobStore* collectable() override { return store_.get(); }
  FakeClock* clock() override { return &clock_; }
  bool Damage(const Digest& digest) override { return DamageFile(dir_.path(), digest); }

 private:
  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<DiskBlobStore> store_ =
      DiskBlobStore::Open(
          clock_, {.dir = dir_.path(), .blob_bytes_max = kBlobBytesMax, .trust_files = kTrustFiles})
          .value();
};

// Small blobs in an index, the others in files: what a coordinator has.
template <typename IndexT>
class SmallCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }
  CollectableBlobStore* collectable() override { return &store_; }
  FakeClock* clock() override { return &clock_; }
  bool Damage(const Digest& digest) override {
    if (digest.size_bytes() > kSmallBlobBytesMax) return DamageFile(dir_.path(), digest);
    const std::string key = absl::StrCat("b", digest.raw());
    std::string bytes = index_->Get(IndexTable::kBlob, key).value();
    bytes[bytes.size() / 2] ^= 1;
    return index_
        ->Apply(IndexBatch().Put(IndexTable::kBlob, key, bytes), Index::Durability::kOrdered)
        .ok();
  }

 private:
  static std::unique_ptr<Index> MakeIndex(const std::string& dir) {
    if constexpr (std::is_same_v<IndexT, RocksDbIndex>) {
      return RocksDbIndex::Open(dir + "/index").value();
    } else {
      return std::make_unique<IndexT>();
    }
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Index> index_ = MakeIndex(dir_.path());
  std::unique_ptr<DiskBlobStore> large_ =
      DiskBlobStore::Open(clock_, {.dir = dir_.path(), .blob_bytes_max = kBlobBytesMax}).value();
  SmallBlobStore store_{clock_, *index_, *large_};
};

class VerifyingCase final : public BlobStoreCase {
 public:
  BlobStore& store() override { return store_; }
  int64_t blob_bytes_max() const override { return kBlobBytesMax; }

 private:
  FakeClock clock_;
  MemoryBlobStore inner_{clock_, {.blob_bytes_max = kBlobBytesMax}};
  VerifyingBlobStore store_{inner_};
};

template <typename Case>
std::unique_ptr<BlobStoreCase> Make() {
  return std::make_unique<Case>();
}

INSTANTIATE_TEST_SUITE_P(Memory, BlobStoreContract, testing::Values(&Make<MemoryCase>));
INSTANTIATE_TEST_SUITE_P(Disk, BlobStoreContract, testing::Values(&Make<DiskCase<false>>));
INSTANTIATE_TEST_SUITE_P(TrustingDisk, BlobStoreContract, testing::Values(&Make<DiskCase<true>>));
INSTANTIATE_TEST_SUITE_P(SmallInMemoryIndex, BlobStoreContract,
                         testing::Values(&Make<SmallCase<MemoryIndex>>));
INSTANTIATE_TEST_SUITE_P(SmallInRocksDb, BlobStoreContract,
                         testing::Values(&Make<SmallCase<RocksDbIndex>>));
INSTANTIATE_TEST_SUITE_P(Verifying, BlobStoreContract, testing::Values(&Make<VerifyingCase>));

class MemoryIndexCase final : public IndexCase {
 public:
  Index& index() override { return index_; }

 private:
  MemoryIndex index_;
};

class RocksDbIndexCase final : public IndexCase {
 public:
  Index& index() override { return *index_; }

 private:
  TempDir dir_;
  std::unique_ptr<RocksDbIndex> index_ = RocksDbIndex::Open(dir_.path()).value();
};

template <typename Case>
std::unique_ptr<IndexCase> MakeIndexCase() {
  return std::make_unique<Case>();
}

INSTANTIATE_TEST_SUITE_P(Memory, IndexContract, testing::Values(&MakeIndexCase<MemoryIndexCase>));
INSTANTIATE_TEST_SUITE_P(RocksDb, IndexContract, testing::Values(&MakeIndexCase<RocksDbIndexCase>));

}  // namespace
}  // namespace farm
