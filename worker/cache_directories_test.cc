#include "worker/cache_directories.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "base/byte_stream.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "worker/disk_usage.h"

namespace farm {
namespace {

using Sharing = CacheDirectories::Sharing;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

class CacheDirectoriesTest : public ::testing::Test {
 protected:
  CacheDirectoriesTest() {
    std::string dir = ::testing::TempDir() + "/cachesXXXXXX";
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    trash_ = std::make_unique<Trash>(dir_ + "/trash");
    Open();
  }
  ~CacheDirectoriesTest() override {
    caches_.reset();
    trash_.reset();
    std::filesystem::remove_all(dir_);
  }

  void Open(const std::string& boot_id = "boot 1", int64_t bytes_max = 10 << 20) {
    caches_.reset();
    auto caches = CacheDirectories::Open(
        {.dir = dir_ + "/caches", .bytes_max = bytes_max, .boot_id = boot_id}, clock_, *trash_);
    ASSERT_OK(caches.status());
    caches_ = *std::move(caches);
  }
  // Opens again what a worker that was killed left.
  void OpenAfterKill(const std::string& boot_id) {
    const std::string copy = dir_ + "/copy";
    std::filesystem::copy(dir_ + "/caches", copy, std::filesystem::copy_options::recursive);
    caches_.reset();
    std::filesystem::remove_all(dir_ + "/caches");
    std::filesystem::rename(copy, dir_ + "/caches");
    Open(boot_id);
  }

  static CacheDirectories::Key KeyOf(const std::string& id) {
    return {.scope = "main", .id = id, .start = ""};
  }
  absl::StatusOr<CacheDirectories::Handle> Get(const std::string& id,
                                               Sharing sharing = Sharing::kShared) {
    return Get(KeyOf(id), sharing);
  }
  absl::StatusOr<CacheDirectories::Handle> Get(const CacheDirectories::Key& key, Sharing sharing) {
    return caches_->Acquire(
        key, sharing, cancel_, [this] { ++waits_; },
        [this](int) {
          ++made_;
          return fill_;
        });
  }

  static void Write(const CacheDirectories::Handle& cache, const std::string& name,
                    size_t bytes = 1) {
    const UniqueFd fd(openat(cache.fd(), name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    ASSERT_OK(FdSink(fd.get()).Write(std::string(bytes, 'x')));
  }
  static bool Has(const CacheDirectories::Handle& cache, const std::string& name) {
    return faccessat(cache.fd(), name.c_str(), F_OK, 0) == 0;
  }
  // Uses a cache once, at a later time than the one before.
  void UseOnce(const std::string& id, size_t bytes = 1) {
    clock_.Advance(absl::Seconds(1));
    ASSERT_OK_AND_ASSIGN(const CacheDirectories::Handle cache, Get(id));
    Write(cache, "file", bytes);
  }
  bool IsKept(const std::string& id) {
    const int made = made_;
    const auto cache = Get(id);
    return cache.ok() && made_ == made && Has(*cache, "file");
  }

  std::string dir_;
  FakeClock clock_;
  CancelToken cancel_;
  std::atomic<int> made_ = 0;
  std::atomic<int> waits_ = 0;
  absl::Status fill_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<CacheDirectories> caches_;
};

TEST_F(CacheDirectoriesTest, TheNextStepFindsWhatOneHasLeft) {
  UseOnce("a");
  EXPECT_TRUE(IsKept("a"));
}

TEST_F(CacheDirectoriesTest, ScopesIdsAndStartsHaveCachesOfTheirOwn) {
  UseOnce("a");
  EXPECT_FALSE(IsKept("b"));
  ASSERT_OK_AND_ASSIGN(const auto other_scope,
                       Get({.scope = "other", .id = "a", .start = ""}, Sharing::kShared));
  EXPECT_FALSE(Has(other_scope, "file"));
  ASSERT_OK_AND_ASSIGN(const auto other_start,
                       Get({.scope = "main", .id = "a", .start = "x"}, Sharing::kShared));
  EXPECT_FALSE(Has(other_start, "file"));
  EXPECT_NE(CacheDirectories::NameOf({.scope = "a", .id = "b", .start = ""}),
            CacheDirectories::NameOf({.scope = "ab", .id = "", .start = ""}));
}

TEST_F(CacheDirectoriesTest, SharedUsersHaveOneDirectory) {
  ASSERT_OK_AND_ASSIGN(const auto first, Get("a"));
  ASSERT_OK_AND_ASSIGN(const auto second, Get("a"));
  Write(first, "file");
  EXPECT_TRUE(Has(second, "file"));
  EXPECT_EQ(made_, 1);
}

TEST_F(CacheDirectoriesTest, APrivateUserGetsAnotherDirectoryWhileOneIsInUse) {
  {
    ASSERT_OK_AND_ASSIGN(const auto first, Get("a", Sharing::kPrivate));
    ASSERT_OK_AND_ASSIGN(const auto second, Get("a", Sharing::kPrivate));
    Write(first, "file");
    EXPECT_FALSE(Has(second, "file"));
    EXPECT_EQ(made_, 2);
  }
  ASSERT_OK_AND_ASSIGN(const auto third, Get("a", Sharing::kPrivate));
  ASSERT_OK_AND_ASSIGN(const auto fourth, Get("a", Sharing::kPrivate));
  EXPECT_EQ(made_, 2);
  EXPECT_EQ(waits_, 0);
}

TEST_F(CacheDirectoriesTest, ASharedUserDoesNotSeeWhatAnotherHasAlone) {
  ASSERT_OK_AND_ASSIGN(const auto alone, Get("a", Sharing::kLocked));
  Write(alone, "file");
  ASSERT_OK_AND_ASSIGN(const auto shared, Get("a"));
  EXPECT_FALSE(Has(shared, "file"));
}

TEST_F(CacheDirectoriesTest, ALockedUserWaitsUntilTheCacheIsGivenBack) {
  ASSERT_OK_AND_ASSIGN(auto first, Get("a", Sharing::kLocked));
  Write(first, "file");
  std::atomic<bool> has_it = false;
  std::thread second([&] {
    const auto cache = Get("a", Sharing::kLocked);
    EXPECT_OK(cache.status());
    EXPECT_TRUE(Has(*cache, "file"));
    has_it = true;
  });
  while (waits_ == 0) std::this_thread::yield();
  EXPECT_FALSE(has_it);
  { const CacheDirectories::Handle given_back = std::move(first); }
  second.join();
  EXPECT_TRUE(has_it);
  EXPECT_EQ(waits_, 1);
  EXPECT_EQ(made_, 1);
}

TEST_F(CacheDirectoriesTest, WaitingEndsWhenItIsCancelled) {
  ASSERT_OK_AND_ASSIGN(const auto first, Get("a"));
  std::thread second([&] {
    EXPECT_THAT(Get("a", Sharing::kLocked).status(), StatusIs(absl::StatusCode::kCancelled));
  });
  while (waits_ == 0) std::this_thread::yield();
  cancel_.Cancel();
  second.join();
}

TEST_F(CacheDirectoriesTest, WhatCannotBeFilledIsNotKept) {
  fill_ = absl::UnavailableError("no source");
  EXPECT_THAT(Get("a").status(), StatusIs(absl::StatusCode::kUnavailable));
  fill_ = absl::OkStatus();
  ASSERT_OK(Get("a").status());
  EXPECT_EQ(made_, 2);
  trash_->WaitUntilEmpty();
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/trash"));
}

TEST_F(CacheDirectoriesTest, TheLeastRecentlyUsedGoesFirst) {
  Open("boot 1", 5 << 20);
  UseOnce("a", 2 << 20);
  UseOnce("b", 2 << 20);
  ASSERT_TRUE(IsKept("a"));
  UseOnce("a", 2 << 20);  // Later than b.
  UseOnce("c", 2 << 20);
  caches_->WaitUntilMeasured();
  EXPECT_THAT(caches_->size_bytes(), AllOf(Ge(4 << 20), Le(5 << 20)));
  EXPECT_TRUE(IsKept("a"));
  EXPECT_TRUE(IsKept("c"));
  EXPECT_FALSE(IsKept("b"));
}

TEST_F(CacheDirectoriesTest, WhatAStepHasIsNotEvicted) {
  Open("boot 1", 1 << 20);
  ASSERT_OK_AND_ASSIGN(const auto held, Get("held"));
  Write(held, "file");
  UseOnce("large", 2 << 20);
  caches_->WaitUntilMeasured();
  EXPECT_TRUE(Has(held, "file"));
  EXPECT_FALSE(IsKept("large"));
}

TEST_F(CacheDirectoriesTest, CachesOutliveTheWorker) {
  UseOnce("a", 2 << 20);
  Open("boot 2");
  caches_->WaitUntilMeasured();
  EXPECT_GE(caches_->size_bytes(), 2 << 20);
  EXPECT_TRUE(IsKept("a"));
}

TEST_F(CacheDirectoriesTest, AKilledWorkersCachesAreMeasuredAgain) {
  ASSERT_OK_AND_ASSIGN(auto cache, Get("a"));
  Write(cache, "file", 2 << 20);
  const std::string copy = dir_ + "/copy";
  std::filesystem::copy(dir_ + "/caches", copy, std::filesystem::copy_options::recursive);
  { const CacheDirectories::Handle given_back = std::move(cache); }
  caches_.reset();
  std::filesystem::remove_all(dir_ + "/caches");
  std::filesystem::rename(copy, dir_ + "/caches");
  Open("boot 1");
  caches_->WaitUntilMeasured();
  EXPECT_GE(caches_->size_bytes(), 2 << 20);
  EXPECT_TRUE(IsKept("a"));
}

TEST_F(CacheDirectoriesTest, WhatMayNotHaveReachedTheDiskIsDropped) {
  UseOnce("a");
  caches_->WaitUntilMeasured();
  OpenAfterKill("boot 2");
  EXPECT_FALSE(IsKept("a"));
}

TEST_F(CacheDirectoriesTest, WhatIsNoCacheIsDroppedAtTheStart) {
  std::filesystem::create_directory(dir_ + "/caches/stray");
  std::ofstream(dir_ + "/caches/" + std::string(64, 'a') + "-0.ok") << "farm-cache 1\nsynced\n1\n";
  Open();
  trash_->WaitUntilEmpty();
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/caches"));
}

TEST_F(CacheDirectoriesTest, WhatIsTooDeepToBeMeasuredIsDropped) {
  {
    ASSERT_OK_AND_ASSIGN(const auto cache, Get("a"));
    Write(cache, "file");
    UniqueFd dir(dup(cache.fd()));
    for (int i = 0; i <= kDiskUsageDepthMax; ++i) {
      ASSERT_EQ(mkdirat(dir.get(), "d", 0755), 0);
      dir.Reset(openat(dir.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
  }
  caches_->WaitUntilMeasured();
  EXPECT_FALSE(IsKept("a"));
}

TEST_F(CacheDirectoriesTest, AFileOfTwoNamesCountsOnce) {
  {
    ASSERT_OK_AND_ASSIGN(const auto cache, Get("a"));
    Write(cache, "file", 2 << 20);
    ASSERT_EQ(linkat(cache.fd(), "file", cache.fd(), "other", 0), 0);
    ASSERT_EQ(symlinkat("/", cache.fd(), "link"), 0);
  }
  caches_->WaitUntilMeasured();
  EXPECT_THAT(caches_->size_bytes(), AllOf(Ge(2 << 20), Le(3 << 20)));
}

}  // namespace
}  // namespace farm
