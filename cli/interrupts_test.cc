#include "cli/interrupts.h"

#include <unistd.h>

#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <string>

#include "base/byte_stream.h"
#include "base/mutex.h"
#include "base/testing/status_matchers.h"
#include "cli/exit_code.h"
#include "cli/temporaries.h"

namespace farm {
namespace {

namespace fs = std::filesystem;

class InterruptsTest : public ::testing::Test {
 protected:
  InterruptsTest() {
    std::string pattern = ::testing::TempDir() + "/farm-interrupts-XXXXXX";
    dir_ = mkdtemp(pattern.data());
  }
  ~InterruptsTest() override { fs::remove_all(dir_); }

  // What a command has written so far, and would take away again.
  std::string File() const { return dir_ / "out.tar.tmp"; }
  std::string Directory() const { return dir_ / "context"; }

  [[noreturn]] void WriteAndGetInterrupted(int signal) {
    const Interrupts interrupts;
    const ScopedTemporary file(File());
    const ScopedTemporary directory(Directory());
    if (!WriteFileAtomically(File(), "half").ok()) abort();
    fs::create_directories(dir_ / "context/sub");
    raise(signal);
    while (true) pause();
  }

  fs::path dir_;
};

TEST_F(InterruptsTest, WithoutAnythingToCancelTheProgramEndsAndItsTemporariesGo) {
  for (const int signal : {SIGINT, SIGTERM}) {
    EXPECT_EXIT(WriteAndGetInterrupted(signal), ::testing::ExitedWithCode(kExitInterrupted), "");
    EXPECT_TRUE(fs::is_empty(dir_));
  }
}

TEST_F(InterruptsTest, TheFirstCancelsAndTheSecondEnds) {
  EXPECT_EXIT(
      {
        Interrupts interrupts;
        Mutex mu;
        std::condition_variable changed;
        bool cancelled = false;
        const Interrupts::Cancellable cancellable(interrupts, [&] {
          MutexLock lock(mu);
          cancelled = true;
          changed.notify_all();
          // The farm does not answer: the second Ctrl-C is heard all the same.
          while (true) lock.Wait(changed);
        });
        raise(SIGINT);
        {
          MutexLock lock(mu);
          while (!cancelled) lock.Wait(changed);
        }
        raise(SIGINT);
        while (true) pause();
      },
      ::testing::ExitedWithCode(kExitInterrupted), "");
}

TEST_F(InterruptsTest, WhatIsKeptIsNoTemporaryAnyMore) {
  ASSERT_OK(WriteFileAtomically(File(), "whole"));
  {
    ScopedTemporary file(File());
    file.Keep();
  }
  RemoveTemporaries();
  EXPECT_TRUE(fs::exists(File()));
  { const ScopedTemporary file(File()); }
  EXPECT_FALSE(fs::exists(File()));
}

}  // namespace
}  // namespace farm
