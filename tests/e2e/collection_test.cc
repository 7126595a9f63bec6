// A store that builds fill to twice its high mark: none of them fails, what tags hold stays, and
// the size comes down again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

constexpr int64_t kHighMarkBytes = 24'000'000;
constexpr int64_t kLayerBytes = 2'000'000;
constexpr int64_t kLogBytesMax = 256 << 20;

class CollectionTest : public testing::Test {
 protected:
  std::string Context(const std::string& id) {
    dir_.Write(id + "/small", id);
    dir_.Write(id + "/Dockerfile",
               absl::StrCat("FROM base:1 AS made\nRUN head -c ", kLayerBytes,
                            " /dev/urandom > /made; echo ", id,
                            " > /id\nFROM base:1\nCOPY small /small\nCOPY --from=made /made /id "
                            "/\nRUN test $(cat /id) = ",
                            id, " && test $(stat -c %s /made) = ", kLayerBytes, "\n"));
    return dir_ / id;
  }
  // Blobs that are files; the others don't matter here.
  int64_t StoreBytes() const {
    int64_t bytes = 0;
    std::error_code error;
    for (auto it = std::filesystem::recursive_directory_iterator(
             farm_.state_dir() + "/state/cas/blobs", error);
         it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
      if (const auto size = it->is_regular_file(error) ? it->file_size(error) : 0; !error) {
        bytes += static_cast<int64_t>(size);
      }
      error.clear();
    }
    return bytes;
  }

  // How often something was removed so far.
  int Collections() const {
    const std::string log =
        ReadFile(farm_.state_dir() + "/state/coordinator.log", kLogBytesMax).value_or("");
    const std::vector<absl::string_view> parts = absl::StrSplit(log, " I collected ");
    return static_cast<int>(parts.size()) - 1;
  }

  ScratchDir dir_;
  LocalFarmUnderTest farm_;
};

TEST_F(CollectionTest, NoBuildFailsAtTwiceTheHighMarkAndTheSizeComesDown) {
  farm_.Configure(absl::StrCat("storage: {high_mark_bytes: ", kHighMarkBytes,
                               ", low_mark_bytes: ", kHighMarkBytes / 2, ", grace: 10s}\n"));
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  farm_.FarmOk({"build", "-t", "kept:1", Context("kept")});
  const std::string kept_before = farm_.FarmOk({"save", "kept:1"}).out;
  ASSERT_GT(kept_before.size(), 1'000'000U);

  std::atomic<int64_t> peak_bytes = 0;
  std::atomic<int> builds = 0;
  const absl::Time end = absl::Now() + absl::Seconds(22);
  std::vector<std::thread> builders;
  for (int thread = 0; thread < 2; ++thread) {
    builders.emplace_back([&, thread] {
      for (int i = 0; absl::Now() < end || peak_bytes < 2 * kHighMarkBytes; ++i) {
        const std::string id = absl::StrCat("t", thread, "b", i);
        if (farm_.FarmOk({"build", Context(id)}).exit_code != 0) return;
        ++builds;
        peak_bytes = std::max<int64_t>(peak_bytes, StoreBytes());
      }
    });
  }
  for (std::thread& builder : builders) builder.join();
  EXPECT_GE(peak_bytes, 2 * kHighMarkBytes);
  EXPECT_GT(Collections(), 0) << "nothing was collected while builds ran";
  const absl::Time filled = absl::Now();
  EXPECT_TRUE(WaitUntil([&] { return StoreBytes() <= kHighMarkBytes; }, absl::Seconds(40)))
      << StoreBytes() << " bytes are left";
  std::printf("%d builds, peak %.0f MB of a high mark of %.0f MB, %.0f MB left %.0f s later\n",
              builds.load(), static_cast<double>(peak_bytes) / 1e6,
              static_cast<double>(kHighMarkBytes) / 1e6, static_cast<double>(StoreBytes()) / 1e6,
              absl::ToDoubleSeconds(absl::Now() - filled));
  EXPECT_EQ(farm_.FarmOk({"save", "kept:1"}).out, kept_before);
  // What went can be made again.
  farm_.FarmOk({"build", dir_ / "t0b0"});
}

TEST_F(CollectionTest, APruneOfAllTakesAtOnceWhatNoTagHolds) {
  farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
  farm_.FarmOk({"build", "-t", "kept:1", Context("kept")});
  farm_.FarmOk({"build", Context("gone")});
  const std::string kept_before = farm_.FarmOk({"save", "kept:1"}).out;
  EXPECT_THAT(farm_.FarmOk({"prune", "-a", "-f"}).out, testing::HasSubstr("Deleted: sha256:"));
  EXPECT_EQ(farm_.FarmOk({"du", "--format", "{{.Type}} {{.Reclaimable}}"}).out, "image 0B\n");
  EXPECT_EQ(farm_.FarmOk({"save", "kept:1"}).out, kept_before);
  farm_.FarmOk({"build", Context("gone")});
}

}  // namespace
}  // namespace farm
