// Files that the person may not read, and sockets that are not theirs. As root, who becomes
// somebody else for it: root itself may read everything.
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/testing/status_matchers.h"
#include "base/unique_fd.h"
#include "cli/context_scanner.h"
#include "cli/local_farm.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65534;

class AccessTest : public ::testing::Test {
 protected:
  AccessTest() {
    // Not below a directory of root's alone.
    std::string pattern = "/tmp/farm-access-XXXXXX";
    root_ = mkdtemp(pattern.data());
    fs::permissions(root_, static_cast<fs::perms>(0755));
    context_ = root_ / "context";
    fs::create_directory(context_);
    fs::permissions(context_, static_cast<fs::perms>(0755));
  }
  ~AccessTest() override { fs::remove_all(root_); }

  void Write(const std::string& path) {
    fs::create_directories((context_ / path).parent_path());
    std::ofstream(context_ / path) << "x";
  }
  template <typename Work>
  static auto AsNobody(Work work) {
    EXPECT_EQ(seteuid(kNobody), 0);
    auto result = work();
    EXPECT_EQ(seteuid(0), 0);
    return result;
  }
  absl::StatusOr<ScannedContext> Scan(absl::string_view ignore = "") {
    ScanOptions options;
    options.ignore = *DockerIgnore::Parse(".dockerignore", ignore);
    return AsNobody([&] { return ScanContext(context_, options); });
  }

  fs::path root_, context_;
};

TEST_F(AccessTest, AnUnreadableFileIsAnErrorThatNamesIt) {
  Write("d/secret");
  ASSERT_OK(Scan());
  fs::permissions(context_ / "d/secret", fs::perms::none);
  EXPECT_THAT(Scan(), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("'d/secret'")));
}

TEST_F(AccessTest, AnUnreadableDirectoryIsAnErrorThatNamesIt) {
  Write("d/secrets/file");
  fs::permissions(context_ / "d/secrets", fs::perms::none);
  EXPECT_THAT(Scan(), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("'d/secrets'")));
}

TEST_F(AccessTest, WhatIsIgnoredNeedNotBeReadable) {
  Write("kept");
  Write("secret");
  Write("secrets/file");
  fs::permissions(context_ / "secret", fs::perms::none);
  fs::permissions(context_ / "secrets", fs::perms::none);
  ASSERT_OK_AND_ASSIGN(const ScannedContext scanned, Scan("secret\nsecrets\n"));
  EXPECT_EQ(scanned.table.size(), 1u);
}

TEST_F(AccessTest, ASocketWithoutAccessSaysWhatMendsIt) {
  const std::string path = root_ / "farm.sock";
  const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(fd.get(), 1), 0);
  ASSERT_EQ(chmod(path.c_str(), 0600), 0);  // Nobody here is of group 0, too.
  EXPECT_OK(ProbeSocket(path));
  EXPECT_THAT(AsNobody([&] { return ProbeSocket(path); }),
              StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("sudo")));
}

}  // namespace
}  // namespace farm
