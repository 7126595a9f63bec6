// A farm that has built for long is as it was: builds of all kinds, good and bad, from several
// clients, and then neither descriptors nor threads nor memory have grown, and nothing is left.
// $FARM_TEST_SOAK_SECONDS says for how long.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/byte_stream.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kClients = 2;
// What may come after the first third of the time, when all has been used once.
constexpr int kDescriptorsMore = 16;
constexpr int kThreadsMore = 8;
constexpr int64_t kMemoryBytesMore = 128 << 20;

absl::Duration SoakTime() {
  const char* seconds = std::getenv("FARM_TEST_SOAK_SECONDS");
  return absl::Seconds(seconds != nullptr ? std::atoi(seconds) : 20);
}

// What a process holds.
struct Held {
  int descriptors = 0;
  int threads = 0;
  int64_t memory_bytes = 0;  // of its own: no files
};

int CountEntries(const std::string& directory) {
  std::error_code error;
  int count = 0;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error)) {
    ++count;
  }
  return count;
}

Held HeldBy(pid_t pid) {
  const std::string proc = absl::StrCat("/proc/", pid);
  Held held{.descriptors = CountEntries(proc + "/fd"), .threads = CountEntries(proc + "/task")};
  for (absl::string_view line : absl::StrSplit(ReadFile(proc + "/status").value_or(""), '\n')) {
    int64_t kib = 0;
    if (absl::ConsumePrefix(&line, "RssAnon:") && absl::ConsumeSuffix(&line, " kB") &&
        absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &kib)) {
      held.memory_bytes = kib << 10;
    }
  }
  return held;
}

class SoakTest : public testing::Test {
 protected:
  SoakTest() {
    farm_.ConfigureWorker("slots: 4\n");
    farm_.FarmOk({"import", BusyboxRootTar(), "base:1"});
    secret_ = dir_.Write("secret", "not to be kept");
  }

  std::string Context(const std::string& id, const std::string& dockerfile) {
    dir_.Write(id + "/file", id);
    dir_.Write(id + "/Dockerfile", "FROM base:1\n" + dockerfile);
    return dir_ / id;
  }

  // Builds until `until`; returns how many.
  int BuildUntil(absl::Time until, unsigned seed, const std::string& client) {
    std::mt19937 random(seed);
    const std::string same = Context(client + "-same", "COPY file /file\nRUN cp /file /copy\n");
    int builds = 0;
    for (; absl::Now() < until && !HasFailure(); ++builds) {
      const std::string id = absl::StrCat(client, "-", builds);
      switch (std::uniform_int_distribution<>(0, 5)(random)) {
        case 0:
          farm_.FarmOk({"build", same});
          break;
        case 1:
          farm_.FarmOk({"build", Context(id,
                                         "COPY file /file\nRUN head -c 300000 /dev/urandom "
                                         "> /made; cat /file\nRUN rm /made\n")});
          break;
        case 2:
          EXPECT_EQ(farm_.Farm({"build", Context(id, "COPY file /\nRUN exit 3\n")}).exit_code, 1);
          break;
        case 3:
          Cancel(Context(id, absl::StrCat("RUN echo ", id, "; sleep 60\n")), id);
          break;
        case 4:
          farm_.FarmOk(
              {"build", "--secret", "id=s,src=" + secret_,
               Context(id, absl::StrCat("RUN --mount=type=secret,id=s --mount=type=cache,target=/c "
                                        "--mount=type=tmpfs,target=/t cat /run/secrets/s > /t/s; "
                                        "echo ",
                                        id, " > /c/x\n"))});
          break;
        case 5:
          farm_.FarmOk({"build", "-t", id, "--no-cache", same});
          farm_.FarmOk({"rmi", id});
          break;
      }
      std::filesystem::remove_all(dir_ / id);
    }
    return builds;
  }

  // Ctrl-C in the middle of its RUN.
  void Cancel(const std::string& context, const std::string& id) {
    const std::string log = dir_ / (id + ".log");
    BackgroundProcess build = farm_.StartFarm({"build", "--progress=plain", context}, log);
    EXPECT_TRUE(WaitUntil([&] {
      return absl::StrContains(ReadFile(log).value_or(""), absl::StrCat(" ", id, "\n"));
    })) << ReadFile(log).value_or("");
    kill(build.pid(), SIGINT);
    EXPECT_TRUE(WaitUntil([&] { return !build.running(); }));
    std::filesystem::remove(log);
  }

  // All clients at once; returns the builds of all.
  int BuildFor(absl::Duration time, unsigned seed, const std::string& phase) {
    std::atomic<int> builds = 0;
    std::vector<std::thread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&, i] {
        builds +=
            BuildUntil(absl::Now() + time, seed + static_cast<unsigned>(i), absl::StrCat(phase, i));
      });
    }
    for (std::thread& client : clients) client.join();
    return builds;
  }

  std::vector<pid_t> Daemons() const {
    std::vector<pid_t> pids = {farm_.CoordinatorPid()};
    const std::string out =
        RunCommand({"pgrep", "-o", "-f", absl::StrCat("farm-worker .*", farm_.state_dir())}).out;
    pids.push_back(std::atoi(out.c_str()));
    return pids;
  }

  ScratchDir dir_;
  LocalFarmUnderTest farm_;
  std::string secret_;
};

TEST_F(SoakTest, AFarmThatHasBuiltForLongHoldsNoMoreThanAtFirst) {
  const unsigned seed = SeedOfThisRun();
  int builds = BuildFor(SoakTime() / 3, seed, "first");
  const std::vector<pid_t> daemons = Daemons();
  std::vector<Held> first;
  for (const pid_t pid : daemons) {
    ASSERT_GT(pid, 0);
    first.push_back(HeldBy(pid));
  }

  builds += BuildFor(SoakTime() * 2 / 3, seed + kClients, "later");
  ASSERT_EQ(Daemons(), daemons) << "one was started anew" << farm_.Logs();
  for (size_t i = 0; i < daemons.size(); ++i) {
    const Held before = first[i];
    // What the last builds held is given back soon.
    Held now;
    EXPECT_TRUE(WaitUntil([&] {
      now = HeldBy(daemons[i]);
      return now.descriptors <= before.descriptors + kDescriptorsMore &&
             now.threads <= before.threads + kThreadsMore;
    })) << now.descriptors
        << " descriptors after " << before.descriptors << ", " << now.threads << " threads after "
        << before.threads;
    EXPECT_LE(now.memory_bytes, before.memory_bytes + kMemoryBytesMore);
    std::printf("%s: %d -> %d descriptors, %d -> %d threads, %.1f -> %.1f MB\n",
                i == 0 ? "coordinator" : "worker", before.descriptors, now.descriptors,
                before.threads, now.threads, static_cast<double>(before.memory_bytes) / 1e6,
                static_cast<double>(now.memory_bytes) / 1e6);
  }
  std::printf("%d builds\n", builds);
  const std::string steps = farm_.state_dir() + "/state/worker/steps";
  EXPECT_TRUE(std::filesystem::is_directory(steps));
  EXPECT_TRUE(WaitUntil([&] { return CountEntries(steps) == 0; }));
  EXPECT_THAT(ReadFile("/proc/self/mountinfo").value_or(""), Not(HasSubstr(farm_.state_dir())));
}

}  // namespace
}  // namespace farm
