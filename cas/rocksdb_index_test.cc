// What the RocksDB index does beyond the contract: crashes, locks, damage, versions.
#include "cas/rocksdb_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/testing/sanitizers.h"
#include "base/testing/status_matchers.h"
#include "tests/contract/temp_dir.h"

// RocksDB is not built for ThreadSanitizer, which takes its lock-free memtable for races.
extern "C" const char* __tsan_default_suppressions() { return "race:librocksdb"; }  // NOLINT

namespace farm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr auto kOrdered = Index::Durability::kOrdered;

class RocksDbIndexTest : public testing::Test {
 protected:
  std::unique_ptr<RocksDbIndex> Open() { return RocksDbIndex::Open(dir_.path()).value(); }
  absl::Status OpenStatus() { return RocksDbIndex::Open(dir_.path()).status(); }

  TempDir dir_;
};

TEST_F(RocksDbIndexTest, EntriesSurviveReopening) {
  ASSERT_OK(Open()->Apply(IndexBatch().Put(IndexTable::kTag, "k", "v"), kOrdered));
  EXPECT_THAT(Open()->Get(IndexTable::kTag, "k"), IsOkAndHolds("v"));
}

TEST_F(RocksDbIndexTest, ADirectoryInUseIsRefusedAndSaysByWhom) {
  const auto index = Open();
  EXPECT_THAT(OpenStatus(),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("another farm-coordinator uses"), HasSubstr(dir_.path()))));
}

TEST_F(RocksDbIndexTest, ANewerFormatIsRefusedAndLeftAsItIs) {
  ASSERT_OK(Open()->Apply(IndexBatch().Put(IndexTable::kMeta, "format", "2"), kOrdered));
  EXPECT_THAT(OpenStatus(),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has format 2")));
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(RocksDbIndexTest, AFormatThatIsNoNumberIsDataLoss) {
  ASSERT_OK(Open()->Apply(IndexBatch().Put(IndexTable::kMeta, "format", "x"), kOrdered));
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(RocksDbIndexTest, ADamagedManifestIsDataLossAndSaysWhatToDo) {
  { const auto index = Open(); }
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    if (entry.path().filename().string().rfind("MANIFEST", 0) == 0) {
      std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(20);
      file << "damage damage damage";
    }
  }
  EXPECT_THAT(OpenStatus(), StatusIs(absl::StatusCode::kDataLoss,
                                     AllOf(HasSubstr(dir_.path()), HasSubstr("Move"))));
}

TEST_F(RocksDbIndexTest, AMissingParentSaysWhich) {
  EXPECT_THAT(RocksDbIndex::Open("/nowhere/at/all").status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere/at/all")));
}

// A child writes numbered batches over two tables until it is killed in the middle. What is there
// then is a prefix: all batches up to some number, each of them whole, none after it.
TEST_F(RocksDbIndexTest, AfterAKillAPrefixOfTheBatchesIsThere) {
  if (kIsThreadSanitized) GTEST_SKIP() << kForkedHasNoThreads;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto index = Open();
    for (int i = 0;; ++i) {
      const std::string key = absl::StrCat(absl::Dec(i, absl::kZeroPad8));
      const absl::Status status =
          index->Apply(IndexBatch()
                           .Put(IndexTable::kBlob, key, std::string(5000, 'b'))
                           .Put(IndexTable::kLayer, key, "l"),
                       i % 50 == 0 ? Index::Durability::kSynced : kOrdered);
      if (!status.ok() || (i == 2000 && write(ready[1], "r", 1) != 1)) _exit(1);
    }
  }
  close(ready[1]);
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1) << "the child has ended";
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  close(ready[0]);

  const auto index = Open();
  const auto count = [&](IndexTable table) {
    int next = 0;
    EXPECT_OK(index->Scan(table, "", "", [&](absl::string_view key, absl::string_view) {
      int number = -1;
      EXPECT_TRUE(absl::SimpleAtoi(key, &number));
      EXPECT_EQ(number, next) << "a batch is missing";
      ++next;
      return true;
    }));
    return next;
  };
  EXPECT_GT(count(IndexTable::kBlob), 2000);
  EXPECT_EQ(count(IndexTable::kBlob), count(IndexTable::kLayer));
}

// The end of the log is torn, as by a power cut: the batches before it stay.
TEST_F(RocksDbIndexTest, ATornLogLosesOnlyItsEnd) {
  if (kIsThreadSanitized) GTEST_SKIP() << kForkedHasNoThreads;
  const pid_t child = fork();
  if (child == 0) {
    const auto index = Open();
    for (int i = 0; i < 100; ++i) {
      index
          ->Apply(IndexBatch().Put(IndexTable::kTag, absl::StrCat("k", i), std::string(100, 'v')),
                  kOrdered)
          .IgnoreError();
    }
    _exit(0);  // Without closing it: everything is in the log alone.
  }
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    if (entry.path().extension() == ".log" && entry.file_size() > 1000) {
      std::filesystem::resize_file(entry.path(), entry.file_size() - 70);
    }
  }
  const auto index = Open();
  EXPECT_OK(index->Get(IndexTable::kTag, "k98").status());
  EXPECT_THAT(index->Get(IndexTable::kTag, "k99"), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace farm
