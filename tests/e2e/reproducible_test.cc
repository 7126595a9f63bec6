// Two farms that have nothing in common but their version make the same image, bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/testing/debian_root.h"
#include "tests/testing/farm_under_test.h"

namespace farm {
namespace {

using ::testing::HasSubstr;

constexpr char kEpoch[] = "SOURCE_DATE_EPOCH=1700000000";

struct Case {
  const char* name;
  const char* dockerfile;
};
using Cases = std::vector<Case>;

// Files of the context: `a.txt`, `hello.c`, `tool.sh` (executable), `tree/...`, `archive.tar`.
const Cases kCases = {
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

// On Debian, whose packages come from a mirror. What tells when or by whom something was installed
// is not left behind: logs, and ldconfig's notes of inodes and times.
const Cases kDebianCases = {
    {"apt", R"(FROM base
RUN --mount=type=cache,target=/var/cache/apt apt-get update && \
    apt-get install -y --no-install-recommends jq && \
    rm -rf /var/lib/apt/lists/* /var/log/* /var/cache/ldconfig/aux-cache
RUN echo '{"a": "b"}' | jq -r .a > /answer
)"},
    {"compile", R"(FROM base AS build
RUN --mount=type=cache,target=/var/cache/apt apt-get update && \
    apt-get install -y --no-install-recommends gcc libc6-dev
COPY hello.c .
ARG SOURCE_DATE_EPOCH
RUN gcc -g -O2 -Wl,--build-id -o /hello hello.c && /hello
FROM base
COPY --from=build /hello /usr/bin/
)"},
};
constexpr char kHelloSource[] =
    "#include <stdio.h>\n"
    "int main(void) { return puts(\"hello of \" __DATE__ \", \" __TIME__ \", \" __FILE__) < 0; }\n";

// Digests of the images, by case.
struct Images {
  std::map<std::string, std::string> rewritten;  // with rewrite-timestamp
  std::map<std::string, std::string> plain;
};

class ScopedUmask {
 public:
  explicit ScopedUmask(mode_t mask) : before_(umask(mask)) {}
  ~ScopedUmask() { umask(before_); }
  ScopedUmask(const ScopedUmask&) = delete;
  ScopedUmask& operator=(const ScopedUmask&) = delete;

 private:
  const mode_t before_;
};

class ReproducibleTest : public testing::Test {
 protected:
  // As another person's checkout has it: other times, another place.
  static void WriteContext(const ScratchDir& context, const Case& c) {
    context.Write("Dockerfile", c.dockerfile);
    context.Write("a.txt", "a\n");
    context.Write("hello.c", kHelloSource);
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
                           const std::string& rewrite, CommandOptions options) {
    options.timeout = absl::Minutes(15);  // A slow mirror is not what is tested.
    farm.FarmOk({"build", "--progress=plain", "--build-arg", kEpoch, "--output",
                 absl::StrCat("type=oci,dest=", context / "image.tar", rewrite), context.path()},
                options);
    const CommandResult index = RunShell("tar -xOf image.tar index.json", {.dir = context.path()});
    EXPECT_EQ(index.exit_code, 0) << index.all();
    const size_t at = index.out.find("sha256:");
    return at == std::string::npos ? "" : index.out.substr(at, 71);
  }

  static Images Build(const LocalFarmUnderTest& farm, const std::string& base_tar,
                      const Cases& cases, const CommandOptions& rewriting,
                      const CommandOptions& plain) {
    farm.FarmOk({"import", base_tar, "base"});
    Images images;
    for (const Case& c : cases) {
      const ScratchDir context;
      {
        const ScopedUmask content(0022);  // Modes of the context's files are content.
        WriteContext(context, c);
      }
      images.rewritten[c.name] = Build(farm, context, ",rewrite-timestamp=true", rewriting);
      images.plain[c.name] = Build(farm, context, "", plain);
    }
    return images;
  }
  static Images BuildHere(const std::string& base_tar, const Cases& cases) {
    const LocalFarmUnderTest farm;
    return Build(farm, base_tar, cases, {.env = {{"TZ", "UTC"}}}, {});
  }
  // With another umask, runtime, time zone and language.
  static Images BuildElsewhere(const std::string& base_tar, const Cases& cases) {
    const ScopedUmask mask(0077);
    const LocalFarmUnderTest farm;
    if (HasProgram("crun")) farm.ConfigureWorker("runtime: crun\n");
    const CommandOptions options{.env = {{"TZ", "Asia/Tokyo"}, {"LANG", "de_DE.UTF-8"}}};
    return Build(farm, base_tar, cases, options, options);
  }

  // Waits until what is made from now on has another time than what was made until now.
  static void WaitForAnotherSecond() {
    const int64_t now = absl::ToUnixSeconds(absl::Now());
    ASSERT_TRUE(WaitUntil([now] { return absl::ToUnixSeconds(absl::Now()) > now; }));
  }
};

TEST_F(ReproducibleTest, TwoFarmsMakeTheSameImage) {
  const Images first = BuildHere(BusyboxRootTar(), kCases);
  WaitForAnotherSecond();
  const Images second = BuildElsewhere(BusyboxRootTar(), kCases);
  EXPECT_EQ(first.rewritten, second.rewritten);
  // Without it times differ, so that there was something to rewrite.
  EXPECT_NE(first.plain.at("run"), second.plain.at("run"));
  EXPECT_NE(first.plain.at("copy"), second.plain.at("copy"));
}

TEST_F(ReproducibleTest, TwoFarmsInstallAndCompileTheSame) {
  const absl::StatusOr<std::string> debian = DebianRootTar();
  if (absl::IsNotFound(debian.status()) || absl::IsUnavailable(debian.status())) {
    GTEST_SKIP() << debian.status().message();
  }
  ASSERT_TRUE(debian.ok()) << debian.status();
  const Images first = BuildHere(*debian, kDebianCases);
  const Images second = BuildElsewhere(*debian, kDebianCases);
  EXPECT_EQ(first.rewritten, second.rewritten);
  EXPECT_NE(first.plain.at("apt"), second.plain.at("apt"));
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
