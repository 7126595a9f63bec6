// What every BlobStore promises (cas/blob_store.h), as tests. A test program includes this once and
// says which stores to try:
//
//   INSTANTIATE_TEST_SUITE_P(Memory, BlobStoreContract, testing::Values(&MakeMemoryCase));
#ifndef FARM_TESTS_CONTRACT_BLOB_STORE_CONTRACT_H_
#define FARM_TESTS_CONTRACT_BLOB_STORE_CONTRACT_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/blob_store.h"
#include "tests/contract/temp_dir.h"

namespace farm {

// A store, with all that it stands on.
class BlobStoreCase {
 public:
  virtual ~BlobStoreCase() = default;
  virtual BlobStore& store() = 0;

  // The largest blob that the store takes, at most a few megabytes.
  virtual int64_t blob_bytes_max() const = 0;
  // Not every protocol can delete.
  virtual bool can_delete() const { return true; }
  // The same store if it also lists its blobs and dates them by `clock`.
  virtual CollectableBlobStore* collectable() { return nullptr; }
  virtual FakeClock* clock() { return nullptr; }
  // Changes a bit of the bytes where they are kept. False: there is no way to.
  virtual bool Damage(const Digest&) { return false; }
};

using BlobStoreCaseFactory = std::unique_ptr<BlobStoreCase> (*)();

class BlobStoreContract : public testing::TestWithParam<BlobStoreCaseFactory> {
 protected:
  BlobStoreContract() : case_(GetParam()()), store_(case_->store()) {}

  absl::Status Put(const Digest& digest, absl::string_view bytes) {
    StringSource source(bytes);
    return store_.Put(digest, source);
  }
  std::string WriteTempFile(absl::string_view bytes) {
    static int serial = 0;
    const std::string path = dir_.path() + "/file" + std::to_string(serial++);
    std::ofstream(path) << std::string(bytes);
    return path;
  }

  const TempDir dir_;
  const std::unique_ptr<BlobStoreCase> case_;
  BlobStore& store_;
};

// Bytes that do not compress and differ by seed.
inline std::string BytesOf(size_t size, unsigned seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 2654435761u + 1;
  for (char& c : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    c = static_cast<char>(state >> 56);
  }
  return bytes;
}

// One byte, around the limit between index and files, around the chunks of transfers, and large.
inline const std::vector<size_t>& BlobSizes() {
  static const auto& sizes = *new std::vector<size_t>{1,      1000,          65535,   65536,  65537,
                                                      262144, (1 << 20) + 1, 3 << 20, 5 << 20};
  return sizes;
}

TEST_P(BlobStoreContract, GivesBackWhatWasStored) {
  for (const size_t size : BlobSizes()) {
    SCOPED_TRACE(size);
    const std::string bytes = BytesOf(size, 1);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    ASSERT_OK_AND_ASSIGN(const std::string read, GetBytes(store_, digest));
    EXPECT_TRUE(read == bytes);
  }
}

TEST_P(BlobStoreContract, ReadsFromAnOffsetToTheEnd) {
  for (const size_t size : BlobSizes()) {
    SCOPED_TRACE(size);
    const std::string bytes = BytesOf(size, 2);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    for (const size_t offset : {size / 3, size - 1, size}) {
      StringSink sink;
      EXPECT_OK(store_.Get(digest, static_cast<int64_t>(offset), sink));
      EXPECT_TRUE(sink.bytes() == bytes.substr(offset)) << "from " << offset;
    }
  }
}

TEST_P(BlobStoreContract, AnOffsetBehindTheEndIsOutOfRange) {
  for (const size_t size : {10, 100'000}) {
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, BytesOf(size, 3)));
    StringSink sink;
    EXPECT_THAT(store_.Get(digest, static_cast<int64_t>(size) + 1, sink),
                StatusIs(absl::StatusCode::kOutOfRange));
    EXPECT_THAT(store_.Get(digest, -1, sink), StatusIs(absl::StatusCode::kOutOfRange));
  }
}

TEST_P(BlobStoreContract, WhatWasNeverStoredIsNotFound) {
  for (const size_t size : {10, 100'000}) {
    const Digest digest = DigestOf(BytesOf(size, 4));
    StringSink sink;
    EXPECT_THAT(store_.Get(digest, 0, sink), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(store_.OpenFile(digest), StatusIs(absl::StatusCode::kNotFound));
    const Digest digests[] = {digest};
    EXPECT_THAT(store_.Sync(digests), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::ElementsAre(digest)));
  }
}

TEST_P(BlobStoreContract, TheRightHashWithAWrongSizeIsNotFound) {
  for (const size_t size : {10, 100'000}) {
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, BytesOf(size, 5)));
    const Digest wrong(digest.hash(), digest.size_bytes() + 1);
    StringSink sink;
    EXPECT_THAT(store_.Get(wrong, 0, sink), StatusIs(absl::StatusCode::kNotFound));
    const Digest digests[] = {wrong, digest};
    EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::ElementsAre(wrong)));
    EXPECT_OK(GetBytes(store_, digest)) << "the right one stays";
  }
}

TEST_P(BlobStoreContract, TheEmptyBlobIsAlwaysThere) {
  const Digest digests[] = {EmptyBlobDigest()};
  EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::IsEmpty()));
  EXPECT_THAT(GetBytes(store_, EmptyBlobDigest()), IsOkAndHolds(""));
  EXPECT_THAT(PutBytes(store_, ""), IsOkAndHolds(EmptyBlobDigest()));
  EXPECT_OK(store_.Sync(digests));
  StringSink sink;
  EXPECT_THAT(store_.Get(EmptyBlobDigest(), 1, sink), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_P(BlobStoreContract, BytesThatDoNotHashToTheDigestAreRefusedAndNotKept) {
  for (const size_t size : {size_t{10}, size_t{100'000}, size_t{5} << 20}) {
    const std::string bytes = BytesOf(size, 6);
    const Digest digest = DigestOf(bytes);
    std::string other = bytes;
    other.back() ^= 1;
    for (const std::string& wrong :
         {other, bytes.substr(1), bytes + "x", std::string(), bytes.substr(0, size / 2)}) {
      EXPECT_THAT(Put(digest, wrong), StatusIs(absl::StatusCode::kInvalidArgument))
          << size << " against " << wrong.size();
      const Digest digests[] = {digest};
      EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::ElementsAre(digest)));
    }
  }
}

TEST_P(BlobStoreContract, BytesForTheEmptyHashOfAnotherSizeAreRefused) {
  const Digest wrong(EmptyBlobDigest().hash(), 3);
  EXPECT_THAT(Put(wrong, "abc"), StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(BlobStoreContract, StoringTwiceIsTheSameAsOnce) {
  for (const size_t size : {10, 100'000}) {
    const std::string bytes = BytesOf(size, 7);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    EXPECT_OK(PutBytes(store_, bytes));
    EXPECT_THAT(GetBytes(store_, digest), IsOkAndHolds(bytes));
  }
}

TEST_P(BlobStoreContract, ABlobOverTheLimitIsRefused) {
  const std::string bytes = BytesOf(static_cast<size_t>(case_->blob_bytes_max()) + 1, 8);
  EXPECT_THAT(Put(DigestOf(bytes), bytes), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_P(BlobStoreContract, AnErrorOfTheSourceIsPassedOnAndNothingIsKept) {
  class BrokenSource final : public ByteSource {
   public:
    absl::StatusOr<size_t> Read(char* buffer, size_t size) override {
      if (is_broken_) return absl::CancelledError("cable cut");
      is_broken_ = true;
      *buffer = 'x';
      return std::min<size_t>(size, 1);
    }

   private:
    bool is_broken_ = false;
  };
  for (const size_t size : {size_t{10'000}, size_t{100'000}, size_t{5} << 20}) {
    const Digest digest = DigestOf(std::string(size, 'x'));
    BrokenSource source;
    EXPECT_THAT(store_.Put(digest, source), StatusIs(absl::StatusCode::kCancelled));
    const Digest digests[] = {digest};
    EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::SizeIs(1)));
  }
}

TEST_P(BlobStoreContract, AnErrorOfTheSinkIsPassedOn) {
  class FullSink final : public ByteSink {
   public:
    absl::Status Write(absl::string_view) override { return absl::CancelledError("enough"); }
  };
  for (const size_t size : {10, 100'000}) {
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, BytesOf(size, 9)));
    FullSink sink;
    EXPECT_THAT(store_.Get(digest, 0, sink), StatusIs(absl::StatusCode::kCancelled));
    EXPECT_OK(GetBytes(store_, digest));
  }
}

TEST_P(BlobStoreContract, FindMissingKeepsTheOrderAndNamesEachOnce) {
  ASSERT_OK_AND_ASSIGN(const Digest small, PutBytes(store_, BytesOf(10, 10)));
  ASSERT_OK_AND_ASSIGN(const Digest large, PutBytes(store_, BytesOf(100'000, 10)));
  const Digest a = DigestOf("not there a");
  const Digest b = DigestOf(BytesOf(100'000, 11));
  const Digest digests[] = {b, small, a, large, b, a, EmptyBlobDigest()};
  EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::ElementsAre(b, a)));
  EXPECT_THAT(store_.FindMissing({}), IsOkAndHolds(testing::IsEmpty()));
}

TEST_P(BlobStoreContract, PutFileTakesTheFile) {
  for (const size_t size : {size_t{0}, size_t{10}, size_t{100'000}, size_t{5} << 20}) {
    SCOPED_TRACE(size);
    const std::string bytes = BytesOf(size, 12);
    for (int time = 0; time < 2; ++time) {
      const std::string path = WriteTempFile(bytes);
      ASSERT_OK(store_.PutFile(DigestOf(bytes), path));
      EXPECT_NE(access(path.c_str(), F_OK), 0) << "the file is still there";
    }
    ASSERT_OK_AND_ASSIGN(const std::string read, GetBytes(store_, DigestOf(bytes)));
    EXPECT_TRUE(read == bytes);
  }
}

TEST_P(BlobStoreContract, PutFileLeavesAFileOfAnotherSize) {
  for (const size_t size : {10, 100'000}) {
    const std::string path = WriteTempFile(BytesOf(size, 13));
    const Digest digest = DigestOf(BytesOf(size + 1, 13));
    EXPECT_THAT(store_.PutFile(digest, path), StatusIs(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
    EXPECT_THAT(store_.PutFile(digest, path + ".none"), StatusIs(absl::StatusCode::kNotFound));
  }
}

TEST_P(BlobStoreContract, AnOpenedFileHasTheBytes) {
  const std::string bytes = BytesOf(100'000, 14);
  ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
  const absl::StatusOr<UniqueFd> fd = store_.OpenFile(digest);
  if (absl::IsNotFound(fd.status())) GTEST_SKIP() << "keeps no files";
  ASSERT_OK(fd);
  FdSource source(fd->get());
  StringSink sink;
  ASSERT_OK(CopyBytes(source, sink));
  EXPECT_TRUE(sink.bytes() == bytes);
}

TEST_P(BlobStoreContract, WhatIsSyncedIsStillThere) {
  ASSERT_OK_AND_ASSIGN(const Digest small, PutBytes(store_, BytesOf(10, 15)));
  ASSERT_OK_AND_ASSIGN(const Digest large, PutBytes(store_, BytesOf(100'000, 15)));
  const Digest digests[] = {small, large};
  EXPECT_OK(store_.Sync(digests));
  EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::IsEmpty()));
}

TEST_P(BlobStoreContract, ManySyncAtOnce) {
  std::vector<Digest> digests;
  for (unsigned i = 0; i < 70; ++i) {
    ASSERT_OK_AND_ASSIGN(digests.emplace_back(), PutBytes(store_, BytesOf(70'000, 100 + i)));
  }
  EXPECT_OK(store_.Sync(digests));
  digests.push_back(DigestOf(BytesOf(70'000, 99)));
  EXPECT_THAT(store_.Sync(digests), StatusIs(absl::StatusCode::kNotFound));
}

TEST_P(BlobStoreContract, WhatIsDeletedIsMissing) {
  if (!case_->can_delete()) GTEST_SKIP() << "cannot delete";
  for (const size_t size : {10, 100'000}) {
    const std::string bytes = BytesOf(size, 16);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    EXPECT_OK(store_.Delete(digest));
    EXPECT_THAT(GetBytes(store_, digest), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_OK(store_.Delete(digest)) << "deleting nothing is no error";
    EXPECT_OK(PutBytes(store_, bytes));
    EXPECT_THAT(GetBytes(store_, digest), IsOkAndHolds(bytes));
  }
}

TEST_P(BlobStoreContract, ADamagedBlobIsDataLossThenMissingThenStoredAgain) {
  for (const size_t size : {size_t{10}, size_t{100'000}, size_t{3} << 20}) {
    const std::string bytes = BytesOf(size, 17);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    if (!case_->Damage(digest)) GTEST_SKIP() << "no way to damage it";
    StringSink sink;
    EXPECT_THAT(store_.Get(digest, 0, sink), StatusIs(absl::StatusCode::kDataLoss));
    EXPECT_THAT(GetBytes(store_, digest), StatusIs(absl::StatusCode::kNotFound));
    const Digest digests[] = {digest};
    EXPECT_THAT(store_.FindMissing(digests), IsOkAndHolds(testing::SizeIs(1)));
    EXPECT_OK(PutBytes(store_, bytes));
    EXPECT_THAT(GetBytes(store_, digest), IsOkAndHolds(bytes));
  }
}

TEST_P(BlobStoreContract, ReadersNeverSeeAPartOfABlob) {
  const std::string bytes = BytesOf(300'000, 18);
  const Digest digest = DigestOf(bytes);
  std::atomic<bool> stop = false;
  std::atomic<int> torn = 0;
  std::thread reader([&] {
    while (!stop) {
      const absl::StatusOr<std::string> read = GetBytes(store_, digest);
      if (read.ok() ? *read != bytes : !absl::IsNotFound(read.status())) ++torn;
    }
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_OK(Put(digest, bytes));
    if (case_->can_delete()) {
      EXPECT_OK(store_.Delete(digest));
    }
  }
  stop = true;
  reader.join();
  EXPECT_EQ(torn, 0);
}

TEST_P(BlobStoreContract, ManyThreadsMayStoreTheSameBlobs) {
  std::vector<std::thread> threads;
  std::atomic<int> errors = 0;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (unsigned i = 0; i < 20; ++i) {
        const std::string bytes = BytesOf(i % 2 == 0 ? 100 : 100'000, 1000 + i);
        const absl::StatusOr<Digest> digest = PutBytes(store_, bytes);
        if (!digest.ok() || GetBytes(store_, *digest).value_or("") != bytes) ++errors;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(errors, 0);
}

TEST_P(BlobStoreContract, ListsEachBlobOnceWithItsLastUse) {
  if (case_->collectable() == nullptr) GTEST_SKIP() << "lists nothing";
  ASSERT_OK_AND_ASSIGN(const Digest small, PutBytes(store_, BytesOf(10, 19)));
  const absl::Time first = case_->clock()->Now();
  case_->clock()->Advance(absl::Hours(5));
  ASSERT_OK_AND_ASSIGN(const Digest large, PutBytes(store_, BytesOf(100'000, 19)));
  std::vector<std::pair<Digest, absl::Time>> listed;
  ASSERT_OK(case_->collectable()->ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
    listed.emplace_back(info.digest, info.last_use);
    return true;
  }));
  EXPECT_THAT(listed, testing::UnorderedElementsAre(testing::Pair(small, first),
                                                    testing::Pair(large, case_->clock()->Now())));
}

TEST_P(BlobStoreContract, EachKindOfUseIsNotedButNotMoreThanOnceAnHour) {
  if (case_->collectable() == nullptr) GTEST_SKIP() << "notes no use";
  for (const size_t size : {10, 100'000}) {
    const std::string bytes = BytesOf(size, 20);
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, bytes));
    const auto last_use = [&] {
      absl::Time time;
      EXPECT_OK(case_->collectable()->ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
        if (info.digest == digest) time = info.last_use;
        return true;
      }));
      return time;
    };
    const std::vector<std::function<void()>> uses = {
        [&] { EXPECT_OK(Put(digest, bytes)); }, [&] { EXPECT_OK(GetBytes(store_, digest)); },
        [&] { EXPECT_OK(store_.FindMissing({digest})); }};
    for (const auto& use : uses) {
      const absl::Time before = last_use();
      case_->clock()->Advance(absl::Minutes(59));
      use();
      EXPECT_EQ(last_use(), before);
      case_->clock()->Advance(absl::Minutes(1));
      use();
      EXPECT_EQ(last_use(), case_->clock()->Now());
    }
  }
}

TEST_P(BlobStoreContract, OnlyWhatIsUnusedSinceIsDeleted) {
  if (case_->collectable() == nullptr) GTEST_SKIP() << "collects nothing";
  CollectableBlobStore& store = *case_->collectable();
  for (const size_t size : {10, 100'000}) {
    ASSERT_OK_AND_ASSIGN(const Digest digest, PutBytes(store_, BytesOf(size, 21)));
    const absl::Time stored = case_->clock()->Now();
    EXPECT_THAT(store.DeleteIfUnusedSince(digest, stored), IsOkAndHolds(false));
    EXPECT_OK(GetBytes(store_, digest));
    EXPECT_THAT(store.DeleteIfUnusedSince(digest, stored + absl::Seconds(1)), IsOkAndHolds(true));
    EXPECT_THAT(GetBytes(store_, digest), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(store.DeleteIfUnusedSince(digest, stored + absl::Seconds(1)), IsOkAndHolds(false));
  }
}

}  // namespace farm

#endif  // FARM_TESTS_CONTRACT_BLOB_STORE_CONTRACT_H_
