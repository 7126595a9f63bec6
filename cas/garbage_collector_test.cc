#include "cas/garbage_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/disk_blob_store.h"
#include "cas/memory_blob_store.h"
#include "cas/memory_index.h"
#include "cas/small_blob_store.h"

namespace farm {
namespace {

using Amount = GarbageCollector::Amount;

class FakeLiveSet final : public LiveSet {
 public:
  bool IsPinned(const Digest& digest) const override { return pinned_.count(digest) != 0; }
  absl::string_view KindOf(const Digest& digest) const override {
    return IsPinned(digest) ? "image" : "other";
  }
  void Pin(const Digest& digest) { pinned_.insert(digest); }

 private:
  std::set<Digest> pinned_;
};

class GarbageCollectorTest : public testing::Test {
 protected:
  // A blob of 100 bytes, used now.
  Digest Put(char name) { return PutBytes(blobs_, std::string(100, name)).value(); }
  std::string Left() {
    std::string names;
    EXPECT_OK(blobs_.ForEachBlob([&](const CollectableBlobStore::BlobInfo& info) {
      names += GetBytes(blobs_, info.digest).value()[0];
      return true;
    }));
    std::sort(names.begin(), names.end());
    return names;
  }

  // As its caller does it.
  absl::StatusOr<Amount> Prune(GarbageCollector::PruneOptions options = {}) {
    options.begun = collector_.BeginPrune();
    clock_.Advance(kPruneDelay);
    return collector_.Prune(live_, options, cancel_);
  }

  FakeClock clock_;
  MemoryBlobStore blobs_{clock_};
  FakeLiveSet live_;
  CancelToken cancel_;
  GarbageCollector collector_{
      clock_, blobs_, {.high_mark_bytes = 400, .low_mark_bytes = 200, .grace = absl::Hours(6)}};
};

TEST_F(GarbageCollectorTest, RemovesTheOldestDownToTheLowMark) {
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) {
    Put(name);
    clock_.Advance(absl::Hours(2));
  }
  clock_.Advance(absl::Hours(10));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{3, 300}));
  EXPECT_EQ(Left(), "de");
}

TEST_F(GarbageCollectorTest, DoesNothingUpToTheHighMark) {
  for (const char name : {'a', 'b', 'c', 'd'}) Put(name);
  clock_.Advance(absl::Hours(100));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{}));
  EXPECT_EQ(Left(), "abcd");
}

TEST_F(GarbageCollectorTest, OfTheLastHourOnlyAsMuchGoesAsIsNeeded) {
  Put('a');
  clock_.Advance(absl::Hours(3));
  for (const char name : {'b', 'c', 'd', 'e', 'f'}) Put(name);
  clock_.Advance(absl::Hours(10));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{4, 400}));
  EXPECT_THAT(Left(), testing::AllOf(testing::SizeIs(2), testing::Not(testing::HasSubstr("a"))));
}

TEST_F(GarbageCollectorTest, NeverTakesWhatIsPinned) {
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) live_.Pin(Put(name));
  clock_.Advance(absl::Hours(100));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{}));
  EXPECT_THAT(Prune(), IsOkAndHolds(Amount{}));
  EXPECT_EQ(Left(), "abcde");
}

TEST_F(GarbageCollectorTest, NeverTakesWhatWasUsedWithinTheGrace) {
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) Put(name);
  clock_.Advance(absl::Hours(6));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{}));
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{3, 300}));
}

TEST_F(GarbageCollectorTest, AUseMakesABlobYoung) {
  Put('a');
  clock_.Advance(absl::Hours(1));
  for (const char name : {'b', 'c', 'd', 'e'}) Put(name);
  clock_.Advance(absl::Hours(7));
  Put('a');
  clock_.Advance(absl::Hours(7));
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{3, 300}));
  EXPECT_THAT(Left(), testing::HasSubstr("a"));
}

TEST_F(GarbageCollectorTest, PruneTakesAllThatIsIdleUnlessToldToKeepSome) {
  for (const char name : {'a', 'b', 'c'}) {
    Put(name);
    clock_.Advance(absl::Hours(2));
  }
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Prune({.unused_for = absl::Hours(6)}), IsOkAndHolds(Amount{1, 100}));
  EXPECT_THAT(Prune({.keep_bytes = 150}), IsOkAndHolds(Amount{1, 100}));
  EXPECT_EQ(Left(), "c");  // A use.
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Prune(), IsOkAndHolds(Amount{1, 100}));
}

TEST_F(GarbageCollectorTest, APruneTakesWhatWasUsedJustBefore) {
  Put('a');
  live_.Pin(Put('b'));
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(Prune(), IsOkAndHolds(Amount{1, 100}));
  EXPECT_EQ(Left(), "b");
}

TEST_F(GarbageCollectorTest, WhatIsUsedFromTheBeginningOfAPruneOnStays) {
  const Digest a = Put('a');
  Put('b');
  clock_.Advance(absl::Minutes(1));
  const absl::Time begun = collector_.BeginPrune();
  clock_.Advance(kPruneDelay);
  EXPECT_THAT(blobs_.FindMissing({a}), IsOkAndHolds(testing::IsEmpty()));
  EXPECT_THAT(collector_.Prune(live_, {.begun = begun}, cancel_), IsOkAndHolds(Amount{1, 100}));
  EXPECT_EQ(Left(), "a");
}

TEST_F(GarbageCollectorTest, WhatBuildsUnderWayMayHaveUsedStays) {
  Put('a');
  clock_.Advance(absl::Hours(3));
  Put('b');  // Used again by the build, but uses are noted once in an hour.
  clock_.Advance(absl::Minutes(50));
  const absl::Time busy_since = clock_.Now();
  clock_.Advance(absl::Hours(5));
  Put('c');
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Prune({.busy_since = busy_since}), IsOkAndHolds(Amount{1, 100}));
  EXPECT_EQ(Left(), "bc");
}

TEST_F(GarbageCollectorTest, MeasuresByKind) {
  live_.Pin(Put('a'));
  Put('b');
  clock_.Advance(absl::Hours(3));
  Put('c');
  ASSERT_OK_AND_ASSIGN(const GarbageCollector::Usage usage, collector_.Measure(live_));
  EXPECT_EQ(usage.total, (Amount{3, 300}));
  ASSERT_THAT(usage.by_kind, testing::SizeIs(2));
  EXPECT_EQ(usage.by_kind.at("image").all, (Amount{1, 100}));
  EXPECT_EQ(usage.by_kind.at("image").reclaimable, (Amount{}));
  EXPECT_EQ(usage.by_kind.at("other").all, (Amount{2, 200}));
  EXPECT_EQ(usage.by_kind.at("other").reclaimable, (Amount{2, 200}));
}

TEST_F(GarbageCollectorTest, ACancelledRunSaysWhatItDid) {
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) Put(name);
  clock_.Advance(absl::Hours(7));
  cancel_.Cancel();
  EXPECT_THAT(collector_.Collect(live_, cancel_), IsOkAndHolds(Amount{}));
  EXPECT_EQ(Left(), "abcde");
}

// Whoever is told that a blob is there finds it there, although a collector runs all the time.
TEST_F(GarbageCollectorTest, WhatFindMissingSaysIsThereIsNotTaken) {
  GarbageCollector eager(clock_, blobs_,
                         {.high_mark_bytes = 0, .low_mark_bytes = 0, .grace = absl::Hours(2)});
  std::atomic<bool> stop = false;
  std::thread collecting([&] {
    while (!stop) EXPECT_OK(eager.Collect(live_, cancel_));
  });
  int lost = 0;
  for (int round = 0; round < 200; ++round) {
    const Digest digest = Put(static_cast<char>('a' + round % 26));
    clock_.Advance(absl::Hours(3));
    const bool is_there = blobs_.FindMissing({digest}).value().empty();
    clock_.Advance(absl::Minutes(90));
    if (is_there && !GetBytes(blobs_, digest).ok()) ++lost;
  }
  stop = true;
  collecting.join();
  EXPECT_EQ(lost, 0);
}

// The real stores under a collector that runs all the time, at twice the mark, while others fill
// them: what is pinned, or was used within half a grace, is there whenever it is asked for.
TEST(GarbageCollectorOfADiskTest, KeepsWhatIsHeldWhileTheStoreIsFilledToTwiceItsMark) {
  constexpr absl::Duration kGrace = absl::Seconds(10);
  constexpr int64_t kMark = 4 << 20;
  constexpr int kBlobBytes = 100'000;  // A file; the smaller ones are in the index.
  constexpr int kBlobBytesSmall = 1000;
  std::string dir = testing::TempDir() + "collected-XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  FakeClock clock;
  MemoryIndex index;
  ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<DiskBlobStore> disk,
      DiskBlobStore::Open(
          clock, {.dir = dir + "/cas", .last_use_resolution = LastUseResolutionFor(kGrace)}));
  SmallBlobStore blobs(clock, index, *disk, {.last_use_resolution = LastUseResolutionFor(kGrace)});
  GarbageCollector collector(
      clock, blobs, {.high_mark_bytes = kMark, .low_mark_bytes = kMark * 4 / 5, .grace = kGrace});
  FakeLiveSet live;
  std::vector<Digest> pinned;
  for (int i = 0; i < 8; ++i) {
    pinned.push_back(
        PutBytes(blobs, std::string(i % 2 ? kBlobBytes : kBlobBytesSmall, static_cast<char>(i)))
            .value());
    live.Pin(pinned.back());
  }
  std::atomic<bool> stop = false;
  CancelToken cancel;
  std::thread collecting([&] {
    while (!stop) EXPECT_OK(collector.Collect(live, cancel));
  });
  for (int round = 0; round < 100; ++round) {
    std::vector<Digest> fresh;
    for (int i = 0; i < 2; ++i) {
      const std::string bytes = absl::StrCat("round ", round, " ", i);
      fresh.push_back(
          PutBytes(blobs, bytes + std::string(i == 0 ? kBlobBytes : kBlobBytesSmall, 'x')).value());
    }
    clock.Advance(kGrace / 2 - absl::Seconds(1));
    EXPECT_THAT(blobs.FindMissing(fresh), IsOkAndHolds(testing::IsEmpty())) << "round " << round;
    clock.Advance(kGrace / 2 - absl::Seconds(1));
    for (const Digest& digest : fresh) EXPECT_OK(GetBytes(blobs, digest)) << "round " << round;
  }
  stop = true;
  collecting.join();
  clock.Advance(kGrace + absl::Seconds(1));
  EXPECT_OK(collector.Collect(live, cancel));
  ASSERT_OK_AND_ASSIGN(const GarbageCollector::Usage usage, collector.Measure(live));
  EXPECT_LE(usage.total.bytes, kMark);
  EXPECT_GT(usage.total.bytes, 0);
  EXPECT_THAT(blobs.FindMissing(pinned), IsOkAndHolds(testing::IsEmpty()));
  std::filesystem::remove_all(dir);
}

// The real stores, of which one has a file and one a record of whole seconds for a blob's last use.
TEST(GarbageCollectorOfADiskTest, APruneTakesWhatIsNotUsedFromItsBeginningOn) {
  std::string dir = testing::TempDir() + "pruned-XXXXXX";
  ASSERT_NE(mkdtemp(dir.data()), nullptr);
  FakeClock clock;
  clock.Advance(absl::Milliseconds(700));
  MemoryIndex index;
  ASSERT_OK_AND_ASSIGN(const std::unique_ptr<DiskBlobStore> disk,
                       DiskBlobStore::Open(clock, {.dir = dir + "/cas"}));
  SmallBlobStore blobs(clock, index, *disk);
  GarbageCollector collector(clock, blobs, {});
  std::vector<Digest> used, unused;
  for (const size_t bytes : {size_t{1000}, size_t{100'000}}) {
    used.push_back(PutBytes(blobs, std::string(bytes, 'u')).value());
    unused.push_back(PutBytes(blobs, std::string(bytes, 'x')).value());
  }
  clock.Advance(absl::Milliseconds(1));
  const absl::Time begun = collector.BeginPrune();
  clock.Advance(kPruneDelay);
  EXPECT_THAT(blobs.FindMissing(used), IsOkAndHolds(testing::IsEmpty()));
  CancelToken cancel;
  EXPECT_THAT(collector.Prune(FakeLiveSet(), {.begun = begun}, cancel),
              IsOkAndHolds(Amount{2, 101'000}));
  EXPECT_THAT(blobs.FindMissing(used), IsOkAndHolds(testing::IsEmpty()));
  EXPECT_THAT(blobs.FindMissing(unused), IsOkAndHolds(testing::SizeIs(2)));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace farm
