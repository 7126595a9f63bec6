// Two farms that have nothing in common but their version make the same image, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr char kEpoch[] = "SOURCE_DATE_EPOCH=1700000000";

struct Case {
  const char* name;
  const char* dockerfile;
};

// Files of the context: `a.txt`, `tool.sh` (executable), `tree/...`, `archive.tar`.
const Case kCases[] = {
    {"run", "FROM base\nRUN mkdir -p /a/b && date > /dev/null && echo x > /a/b/c\n"},
    {"run_over_files_of_the_base", "FROM base\nRUN touch /etc/passwd && rm /bin/ls\n"},
    {"copy", "FROM base\nCOPY a.txt tree /to/\n"},
    {"copy_with_owner_and_mode", "FROM base\nCOPY --chown=7:8 --chmod=640 a.txt /to/\n"},
    {"copy_link", "FROM base\nCOPY --link tree /linked/\nCOPY --link a.txt /linked/a\n"},
    {"add_archive", "FROM base\nADD archive.tar /unpacked/\n"},
    {"workdir_and_user", "FROM base\nWORKDIR /w/x\nUSER 5\nRUN echo hello > /tmp/mine\n"},
    {"stages", "FROM base AS one\nRUN echo one > /made\nFROM base\nCOPY --from=one /made /from/\n"},
    {"links",
     "FROM base\nRUN echo x > /x && ln /x /hard && ln -s /x /soft && chmod u+s /x && mkfifo /f\n"},
    {"heredoc", "FROM base\nCOPY <<end /file\ntext\nend\nRUN <<end\necho $(cat /file) > /b\nend\n"},
    {"metadata", "FROM base\nENV A=b\nLABEL c=d\nCMD [\"/bin/sh\"]\n"},
    {"scratch", "FROM scratch\nCOPY tool.sh /\nENTRYPOINT [\"/tool.sh\"]\n"},
};

class ReproducibleTest : public testing::Test {
 protected:
  // As another person's checkout has it: other times, another place.
  static void WriteContext(const ScratchDir& context, const Case& c) {
    context.Write("Dockerfile", c.dockerfile);
    context.Write("a.txt", "a\n");
    context.Write("tool.sh", "#!/bin/sh\n", 0755);
    context.Write("tree/b", "b\n");
    context.Write("tree/c/d", "d\n");
    const CommandResult packed = RunShell(
        "mkdir x && echo y > x/y && tar --sort=name --mtime=@1600000000 --owner=0 --group=0"
        " -cf archive.tar x && rm -r x",
        {.dir = context.path()});
    ASSERT_EQ(packed.exit_code, 0) << packed.all();
  }

  // The image's digest.
  static std::string Build(const LocalFarmUnderTest& farm, const ScratchDir& context,
                           const std::string& rewrite, const CommandOptions& options) {
    farm.FarmOk({"build", "--progress=plain", "--build-arg", kEpoch, "--output",
                 absl::StrCat("type=oci,dest=", context / "image.tar", rewrite), context.path()},
                options);
    const CommandResult index = RunShell("tar -xOf image.tar index.json", {.dir = context.path()});
    EXPECT_EQ(index.exit_code, 0) << index.all();
    const size_t at = index.out.find("sha256:");
    return at == std::string::npos ? "" : index.out.substr(at, 71);
  }

  // Waits until what is made from now on has another time than what was made until now.
  static void WaitForAnotherSecond() {
    const int64_t now = absl::ToUnixSeconds(absl::Now());
    ASSERT_TRUE(WaitUntil([now] { return absl::ToUnixSeconds(absl::Now()) > now; }));
  }
};

TEST_F(ReproducibleTest, TwoFarmsMakeTheSameImage) {
  std::map<std::string, std::string> first, second, first_plain, second_plain;
  {
    const LocalFarmUnderTest farm;
    farm.FarmOk({"import", BusyboxRootTar(), "base"});
    for (const Case& c : kCases) {
      const ScratchDir context;
      WriteContext(context, c);
      first[c.name] = Build(farm, context, ",rewrite-timestamp=true", {.env = {{"TZ", "UTC"}}});
      first_plain[c.name] = Build(farm, context, "", {});
    }
  }
  WaitForAnotherSecond();
  const mode_t mask = umask(0077);
  {
    const LocalFarmUnderTest farm;
    if (HasProgram("crun")) farm.ConfigureWorker("runtime: crun\n");
    farm.FarmOk({"import", BusyboxRootTar(), "base"});
    for (const Case& c : kCases) {
      const ScratchDir context;
      umask(mask);  // Modes of the context's files are content.
      WriteContext(context, c);
      umask(0077);
      const CommandOptions options{.env = {{"TZ", "Asia/Tokyo"}, {"LANG", "de_DE.UTF-8"}}};
      second[c.name] = Build(farm, context, ",rewrite-timestamp=true", options);
      second_plain[c.name] = Build(farm, context, "", options);
    }
  }
  umask(mask);
  EXPECT_EQ(first, second);
  // Without it times differ, so that there was something to rewrite.
  EXPECT_NE(first_plain["run"], second_plain["run"]);
  EXPECT_NE(first_plain["copy"], second_plain["copy"]);
}

TEST_F(ReproducibleTest, WithoutATimeItIsRefusedBeforeAnythingRuns) {
  const LocalFarmUnderTest farm;
  const ScratchDir context;
  context.Write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
  const CommandResult refused = farm.Farm(
      {"build", "--progress=plain", "--output",
       absl::StrCat("type=oci,dest=", context / "x.tar,rewrite-timestamp=true"), context.path()});
  EXPECT_EQ(refused.exit_code, 1) << refused.all();
  EXPECT_THAT(refused.err, HasSubstr("needs a time: give --build-arg SOURCE_DATE_EPOCH=SECONDS"));
}

}  // namespace
}  // namespace farm
