#include "base/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "base/testing/status_matchers.h"

namespace farm {
namespace {

TEST(ChildProcessTest, APipeIsClosedOnExec) {
  ASSERT_OK_AND_ASSIGN(const Pipe pipe, MakePipe());
  EXPECT_EQ(fcntl(pipe.read.get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(fcntl(pipe.write.get(), F_GETFD), FD_CLOEXEC);
  ASSERT_EQ(write(pipe.write.get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(read(pipe.read.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST(ChildProcessTest, TheExitStatusIsThatOfAShell) {
  pid_t pid = fork();
  if (pid == 0) _exit(7);
  EXPECT_EQ(ReapChild(pid), 7);
  pid = fork();
  if (pid == 0) {
    pause();
    _exit(0);
  }
  kill(pid, SIGKILL);
  EXPECT_EQ(ReapChild(pid), 128 + SIGKILL);
  EXPECT_EQ(ReapChild(pid), kExitStatusUnknown);
}

}  // namespace
}  // namespace farm
