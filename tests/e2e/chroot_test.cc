// farm in a chroot, whose root is no mount point: how people try it in a root file system of their
// own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

TEST(ChrootTest, ABuildRunsItsCommands) {
  ScratchDir dir;
  dir.Write("context/Dockerfile", "FROM base\nRUN echo it ran > /proof && cat /proof\n");
  const auto directory_of = [](const std::string& name) {
    const std::string path = ProgramPath(name);
    return path.substr(0, path.rfind('/'));
  };
  // The host's directories in a plain one, in mounts that only this shell sees.
  dir.Write("run.sh", R"(set -eu
dir=$1 base=$2 farm="chroot $1/root $3"
mkdir "$dir/root"
for name in /*; do
  if [ -L "$name" ]; then cp -d "$name" "$dir/root$name"
  elif [ -d "$name" ]; then mkdir "$dir/root$name" && mount --rbind "$name" "$dir/root$name"
  fi
done
! mountpoint -q "$dir/root"
trap '$farm local stop' EXIT
$farm import "$base" base
$farm build --progress=plain "$dir/context"
)");
  CommandOptions options;
  options.env = {{"HOME", dir.path()},
                 {"FARM_LOCAL_DIR", dir.path() + "/local"},
                 {"FARM_PROGRAMS_DIR",
                  absl::StrCat(directory_of("farm"), ":", directory_of("farm-coordinator"), ":",
                               directory_of("farm-worker"))}};
  const CommandResult built =
      RunCommand({"unshare", "--mount", "--propagation", "private", "bash", dir.path() + "/run.sh",
                  dir.path(), BusyboxRootTar(), ProgramPath("farm")},
                 options);
  EXPECT_EQ(built.exit_code, 0) << built.all();
  EXPECT_THAT(built.all(), testing::HasSubstr("it ran"));
}

}  // namespace
}  // namespace farm
