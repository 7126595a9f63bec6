// Stores and index on a file system that is too small.
#include <errno.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/disk_blob_store.h"
#include "cas/rocksdb_index.h"
#include "tests/contract/temp_dir.h"

namespace farm {
namespace {

class DiskFullTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to mount a small file system";
    if (mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=24m") != 0) {
      GTEST_SKIP() << "cannot mount a tmpfs: " << strerror(errno);
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) umount2(dir_.path().c_str(), MNT_DETACH);
  }

  TempDir dir_;
  FakeClock clock_;
  bool mounted_ = false;
};

TEST_F(DiskFullTest, APutThatDoesNotFitIsResourceExhaustedAndLeavesNothing) {
  const auto store = DiskBlobStore::Open(clock_, {.dir = dir_.path() + "/cas"}).value();
  ASSERT_OK_AND_ASSIGN(const Digest kept, PutBytes(*store, std::string(1 << 20, 'k')));
  EXPECT_THAT(PutBytes(*store, std::string(30 << 20, 'x')),
              StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(std::filesystem::is_empty(store->temporary_dir()));
  EXPECT_OK(GetBytes(*store, kept));
  EXPECT_OK(PutBytes(*store, std::string(2 << 20, 'y'))) << "there is room again";
}

TEST_F(DiskFullTest, AnIndexThatCannotWriteSaysSoAndGoesOnWhenThereIsRoom) {
  const auto index = RocksDbIndex::Open(dir_.path() + "/index").value();
  ASSERT_OK(
      index->Apply(IndexBatch().Put(IndexTable::kTag, "k", "before"), Index::Durability::kSynced));
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    status = index->Apply(IndexBatch().Put(IndexTable::kTag, absl::StrCat("k", i),
                                           std::string(64 << 10, static_cast<char>(i))),
                          Index::Durability::kOrdered);
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(index->Get(IndexTable::kTag, "k"), IsOkAndHolds("before")) << "reads go on";

  ASSERT_EQ(mount("tmpfs", dir_.path().c_str(), "tmpfs", MS_REMOUNT, "size=256m"), 0);
  // RocksDB notices on its own or when it is told to look again, which each refused write does.
  for (int i = 0; i < 100 && !status.ok(); ++i) {
    status =
        index->Apply(IndexBatch().Put(IndexTable::kTag, "k", "after"), Index::Durability::kSynced);
    if (!status.ok()) usleep(100'000);
  }
  EXPECT_OK(status);
  EXPECT_THAT(index->Get(IndexTable::kTag, "k"), IsOkAndHolds("after"));
}

}  // namespace
}  // namespace farm
