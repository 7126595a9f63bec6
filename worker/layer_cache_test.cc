#include "worker/layer_cache.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/byte_stream.h"
#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/memory_blob_store.h"
#include "worker/blob_feed.h"
#include "worker/blob_reader.h"
#include "worker/spool.h"

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class LayerCacheTest : public ::testing::Test {
 protected:
  LayerCacheTest() {
    std::string dir = ::testing::TempDir() + "/layersXXXXXX";
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    trash_ = std::make_unique<Trash>(dir_ + "/trash");
    Open();
  }
  ~LayerCacheTest() override {
    cache_.reset();
    trash_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Open(const std::string& boot_id = "boot 1", int64_t bytes_max = 100,
            int64_t disk_free_bytes_min = 0) {
    cache_.reset();
    auto cache = LayerCache::Open({.dir = dir_ + "/layers",
                                   .bytes_max = bytes_max,
                                   .disk_free_bytes_min = disk_free_bytes_min,
                                   .boot_id = boot_id},
                                  clock_, *trash_);
    ASSERT_OK(cache.status());
    cache_ = *std::move(cache);
  }
  static Digest Id(const std::string& name) { return DigestOf(name); }

  // Gets a layer, made with one file in it if it is not here.
  absl::StatusOr<LayerCache::Handle> Get(const std::string& name, bool bound = false,
                                         const std::string& below = "", int64_t bytes = 10) {
    return cache_->Acquire({.diff_id = Id(name), .below = Id(below)}, cancel_,
                           [&](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
                             ++made_;
                             std::filesystem::create_directory(path);
                             std::ofstream(path + "/file") << name << below;
                             return LayerCache::Made{.size_bytes = bytes, .bound = bound};
                           });
  }

  std::string dir_;
  FakeClock clock_;
  CancelToken cancel_;
  std::atomic<int> made_ = 0;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<LayerCache> cache_;
};

TEST_F(LayerCacheTest, LayerIsMadeOnce) {
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle first, Get("a"));
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle second, Get("a"));
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(first.path(), second.path());
  EXPECT_THAT(ReadFile(first.path() + "/file"), IsOkAndHolds("a"));
}

TEST_F(LayerCacheTest, BoundLayerIsUsedOnItsStackAlone) {
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle one, Get("a", /*bound=*/true, "x"));
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle other, Get("a", /*bound=*/true, "y"));
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle again, Get("a", /*bound=*/true, "x"));
  EXPECT_EQ(made_, 2);
  EXPECT_NE(one.path(), other.path());
  EXPECT_EQ(one.path(), again.path());
}

TEST_F(LayerCacheTest, UnboundLayerFitsEverywhere) {
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle one, Get("a", /*bound=*/false, "x"));
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle other, Get("a", /*bound=*/false, "y"));
  EXPECT_EQ(made_, 1);
}

TEST_F(LayerCacheTest, SeveralWhoNeedALayerMakeItOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] { EXPECT_OK(Get("a").status()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made_, 1);
}

TEST_F(LayerCacheTest, FailedMakingLeavesNothingAndIsTriedAgain) {
  const auto failed =
      cache_->Acquire({.diff_id = Id("a"), .below = {}}, cancel_,
                      [](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
                        std::filesystem::create_directory(path);
                        return absl::DataLossError("damaged");
                      });
  EXPECT_THAT(failed, StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/layers"));
  EXPECT_OK(Get("a").status());
}

TEST_F(LayerCacheTest, WhoWaitsForALayerCanBeCancelled) {
  CancelToken making, go;
  std::thread maker([&] {
    CancelToken never;
    EXPECT_OK(cache_
                  ->Acquire({.diff_id = Id("a"), .below = {}}, never,
                            [&](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
                              making.Cancel();
                              go.WaitFor(absl::Seconds(20));
                              std::filesystem::create_directory(path);
                              return LayerCache::Made{};
                            })
                  .status());
  });
  making.WaitFor(absl::Seconds(20));
  cancel_.Cancel();
  EXPECT_THAT(Get("a"), StatusIs(absl::StatusCode::kCancelled));
  go.Cancel();
  maker.join();
}

TEST_F(LayerCacheTest, LeastRecentlyUsedGoFirstAndThoseInUseStay) {
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle used, Get("used", false, "", 60));
  clock_.Advance(absl::Seconds(1));
  ASSERT_OK(Get("old", false, "", 30).status());
  clock_.Advance(absl::Seconds(1));
  ASSERT_OK(Get("new", false, "", 10).status());
  cache_->TakeAll();
  clock_.Advance(absl::Seconds(1));
  ASSERT_OK(Get("newest", false, "", 20).status());
  const LayerCache::Changes changes = cache_->TakeChanges();
  EXPECT_THAT(changes.added, ElementsAre(Id("newest").hex()));
  EXPECT_THAT(changes.removed, ElementsAre(Id("old").hex()));
  EXPECT_EQ(cache_->size_bytes(), 90);
  EXPECT_TRUE(std::filesystem::exists(used.path()));
}

TEST_F(LayerCacheTest, WhatWasInUseOverTheLimitGoesOnceItIsNot) {
  {
    ASSERT_OK_AND_ASSIGN(const LayerCache::Handle a, Get("a", false, "", 60));
    ASSERT_OK_AND_ASSIGN(const LayerCache::Handle b, Get("b", false, "", 60));
    EXPECT_EQ(cache_->size_bytes(), 120);
  }
  EXPECT_EQ(cache_->size_bytes(), 60);
}

// A full disk: the mark is small, but it may be what does not fit any more.
TEST_F(LayerCacheTest, LayerWhoseMarkCannotBeWrittenServesAllTheSame) {
  std::filesystem::create_directory(dir_ + "/layers/" + Id("a").hex() + ".ok");
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle first, Get("a"));
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle second, Get("a"));
  EXPECT_EQ(made_, 1);
}

TEST_F(LayerCacheTest, FullDiskIsMadeRoomOnAndTriedOnceMore) {
  Open("boot 1", 1000, /*disk_free_bytes_min=*/INT64_MAX);
  ASSERT_OK(Get("unused").status());
  ASSERT_OK_AND_ASSIGN(const LayerCache::Handle used, Get("used"));
  int tries = 0;
  const auto make_when_there_is_room =
      [&](const std::string& path) -> absl::StatusOr<LayerCache::Made> {
    ++tries;
    std::filesystem::create_directory(path);  // It is not there from the first time.
    if (cache_->size_bytes() > 10) return absl::ResourceExhaustedError("no space left");
    return LayerCache::Made{.size_bytes = 10, .bound = false};
  };
  ASSERT_OK(cache_->Acquire({.diff_id = Id("a"), .below = {}}, cancel_, make_when_there_is_room)
                .status());
  EXPECT_EQ(tries, 2);
  EXPECT_TRUE(std::filesystem::exists(used.path()));
  EXPECT_THAT(cache_->TakeAll(), UnorderedElementsAre(Id("a").hex(), Id("used").hex()));
}

// A limit of the layer's, not of the disk.
TEST_F(LayerCacheTest, LayerThatIsTooLargeEvictsNothing) {
  Open("boot 1", 1000, /*disk_free_bytes_min=*/0);
  ASSERT_OK(Get("unused").status());
  int tries = 0;
  const auto failed = cache_->Acquire({.diff_id = Id("a"), .below = {}}, cancel_,
                                      [&](const std::string&) -> absl::StatusOr<LayerCache::Made> {
                                        ++tries;
                                        return absl::ResourceExhaustedError("over tar_bytes_max");
                                      });
  EXPECT_THAT(failed, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(cache_->size_bytes(), 10);
}

TEST_F(LayerCacheTest, ChangesAreToldOnce) {
  ASSERT_OK(Get("a").status());
  ASSERT_OK(Get("b").status());
  EXPECT_THAT(cache_->TakeChanges().added, UnorderedElementsAre(Id("a").hex(), Id("b").hex()));
  EXPECT_THAT(cache_->TakeChanges().added, IsEmpty());
  EXPECT_THAT(cache_->TakeAll(), UnorderedElementsAre(Id("a").hex(), Id("b").hex()));
}

TEST_F(LayerCacheTest, LayersOutliveTheProcess) {
  ASSERT_OK(Get("a").status());
  Open();
  ASSERT_OK(Get("a").status());
  EXPECT_EQ(made_, 1);
  EXPECT_EQ(cache_->size_bytes(), 10);
}

TEST_F(LayerCacheTest, SyncedLayersOutliveAStartOfTheHost) {
  ASSERT_OK(Get("a").status());
  Open("boot 2");
  ASSERT_OK(Get("a").status());
  EXPECT_EQ(made_, 1);
}

TEST_F(LayerCacheTest, UnsyncedLayersOfAnEarlierStartOfTheHostAreDropped) {
  ASSERT_OK(Get("a").status());
  const std::string mark = dir_ + "/layers/" + Id("a").hex() + ".ok";
  ASSERT_OK_AND_ASSIGN(const std::string as_written, ReadFile(mark));
  cache_.reset();  // Marks it as synced: undo that, as a power cut would have.
  ASSERT_OK(WriteFileAtomically(mark, as_written));
  Open("boot 2");
  ASSERT_OK(Get("a").status());
  EXPECT_EQ(made_, 2);
}

TEST_F(LayerCacheTest, WhatIsNotMarkedIsDropped) {
  cache_.reset();
  std::filesystem::create_directory(dir_ + "/layers/" + Id("a").hex());
  std::filesystem::create_directory(dir_ + "/layers/tmp-7");
  std::ofstream(dir_ + "/layers/" + Id("b").hex() + ".ok") << "farm-layer 1\nsynced\n1\n";
  std::filesystem::create_directory(dir_ + "/layers/" + Id("c").hex());
  std::ofstream(dir_ + "/layers/" + Id("c").hex() + ".ok") << "garbage";
  Open();
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/layers"));
  EXPECT_THAT(cache_->TakeAll(), IsEmpty());
}

// Streams of blobs.

TEST(BlobReaderTest, GivesWhatIsProducedAndThenTheProducersError) {
  const auto source = ReadWhileProduced([](ByteSink& sink) -> absl::Status {
    for (int i = 0; i < 100; ++i) EXPECT_OK(sink.Write(std::string(100'000, 'x')));
    return absl::DataLossError("wrong hash");
  });
  StringSink sink;
  EXPECT_THAT(CopyBytes(*source, sink), StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_EQ(sink.bytes().size(), 10'000'000u);
}

TEST(BlobReaderTest, ProducerIsToldWhenNobodyReadsAnyMore) {
  absl::Status seen;
  {
    const auto source = ReadWhileProduced([&](ByteSink& sink) {
      while (seen.ok()) seen = sink.Write(std::string(100'000, 'x'));
      return seen;
    });
    char byte;
    EXPECT_THAT(source->Read(&byte, 1), IsOkAndHolds(1u));
  }
  EXPECT_THAT(seen, StatusIs(absl::StatusCode::kCancelled));
}

class BlobStreamsTest : public ::testing::Test {
 protected:
  BlobStreamsTest() {
    std::string dir = ::testing::TempDir() + "/streamsXXXXXX";
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
  }
  ~BlobStreamsTest() override { std::filesystem::remove_all(dir_); }

  // What the feed writes for its next blob.
  absl::StatusOr<std::string> Next(BlobFeed& feed) {
    const std::string path = dir_ + "/out";
    const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    const absl::Status status = feed.WriteNext(fd.get()).status();
    if (!status.ok()) return status;
    return ReadFile(path);
  }

  std::string dir_;
  FakeClock clock_;
  MemoryBlobStore blobs_{clock_};
  CancelToken cancel_;
};

TEST_F(BlobStreamsTest, SpoolStoresSmallAndLargeAndLeavesNoFile) {
  for (const size_t size : {size_t{0}, size_t{1000}, size_t{64} << 10, size_t{1} << 20}) {
    const std::string bytes(size, 'x');
    Spool spool(dir_);
    for (size_t at = 0; at < size; at += 999) ASSERT_OK(spool.Write(bytes.substr(at, 999)));
    ASSERT_OK(spool.Store(DigestOf(bytes), blobs_));
    EXPECT_THAT(GetBytes(blobs_, DigestOf(bytes)), IsOkAndHolds(bytes));
  }
  {
    Spool abandoned(dir_);
    ASSERT_OK(abandoned.Write(std::string(1 << 20, 'x')));
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(BlobStreamsTest, FeedGivesSmallLargeAndRepeatedBlobsInOrder) {
  std::vector<std::string> contents;
  for (int i = 0; i < 1000; ++i) contents.push_back(std::string(i % 7 * 1000, 'a' + i % 26));
  contents.push_back(std::string(3 << 20, 'L'));
  contents.push_back("after");
  std::vector<Digest> digests;
  for (const std::string& bytes : contents) digests.push_back(PutBytes(blobs_, bytes).value());
  const GetBlobs get_blobs = GetBlobsOneByOne(blobs_);
  BlobFeed feed(blobs_, get_blobs, digests, cancel_);
  for (const std::string& bytes : contents) ASSERT_THAT(Next(feed), IsOkAndHolds(bytes));
}

TEST_F(BlobStreamsTest, FeedNamesTheBlobThatIsMissing) {
  const GetBlobs get_blobs = GetBlobsOneByOne(blobs_);
  BlobFeed feed(blobs_, get_blobs, {PutBytes(blobs_, "a").value(), DigestOf("b")}, cancel_);
  EXPECT_THAT(Next(feed), IsOkAndHolds("a"));
  EXPECT_THAT(Next(feed), StatusIs(absl::StatusCode::kFailedPrecondition,
                                   ::testing::HasSubstr(DigestOf("b").hex())));
}

TEST_F(BlobStreamsTest, FeedRefusesOtherBytes) {
  const GetBlobs get_blobs = [](absl::Span<const Digest> digests, const auto& receive) {
    for (const Digest& digest : digests) receive(digest, std::string("x"));
    return absl::OkStatus();
  };
  BlobFeed feed(blobs_, get_blobs, {DigestOf("b")}, cancel_);
  EXPECT_THAT(Next(feed), StatusIs(absl::StatusCode::kDataLoss));
}

TEST_F(BlobStreamsTest, FeedThatIsNotReadToItsEndStops) {
  std::vector<Digest> digests;
  for (int i = 0; i < 80; ++i) {
    digests.push_back(
        PutBytes(blobs_, std::string(1 << 19, 'a' + i % 26) + std::to_string(i)).value());
  }
  const GetBlobs get_blobs = GetBlobsOneByOne(blobs_);
  BlobFeed feed(blobs_, get_blobs, digests, cancel_);
  EXPECT_OK(Next(feed).status());
  cancel_.Cancel();
  EXPECT_THAT(Next(feed), StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace farm
