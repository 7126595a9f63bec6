#include "cli/build_output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/byte_stream.h"
#include "base/digest_proto.h"
#include "base/testing/status_matchers.h"
#include "cli/exit_code.h"
#include "cli/testing/command_test_base.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(BuildOutputTest, ADirectoryAloneIsLocalAndADashATar) {
  ASSERT_OK_AND_ASSIGN(BuildOutput output, ParseBuildOutput("out"));
  EXPECT_EQ(output.type, BuildOutput::Type::kLocal);
  EXPECT_EQ(output.dest, "out");
  ASSERT_OK_AND_ASSIGN(output, ParseBuildOutput("-"));
  EXPECT_EQ(output.type, BuildOutput::Type::kTar);
}

TEST(BuildOutputTest, ArchivesGoToStandardOutputUnlessTheyHaveAPlace) {
  for (const char *text : {"type=tar", "type=oci", "type=docker"}) {
    ASSERT_OK_AND_ASSIGN(const BuildOutput output, ParseBuildOutput(text));
    EXPECT_EQ(output.dest, "-") << text;
  }
}

TEST(BuildOutputTest, FieldsMayBeQuoted) {
  ASSERT_OK_AND_ASSIGN(const BuildOutput output,
                       ParseBuildOutput("type=image,\"name=a:1,b:2\",push=true,compression=zstd"));
  EXPECT_EQ(output.type, BuildOutput::Type::kRegistry);
  EXPECT_THAT(output.names, ElementsAre("a:1", "b:2"));
  EXPECT_EQ(ExportOf(output).compression(), "zstd");
}

TEST(BuildOutputTest, WrongOutputsAreRefused) {
  for (const char *text :
       {"", "dest=x", "type=zip,dest=x", "type=oci,tar=false", "type=local", "type=local,dest=-",
        "type=image,push=maybe", "type=oci,dest=x,foo=1", "type=oci,dest=x,compression=lzma"}) {
    EXPECT_THAT(ParseBuildOutput(text), StatusIs(absl::StatusCode::kInvalidArgument)) << text;
  }
  EXPECT_THAT(ParseBuildOutput("type=dokcer"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("did you mean docker?")));
}

TEST_F(CommandTest, WhatIsUnpackedBelongsToTheCallerWithItsModes) {
  TarEntry entry;
  entry.name = "tool";
  entry.mode = 04755;
  entry.uid = 1234;
  entry.gid = 1234;
  v1::BuiltImage image;
  ASSERT_OK_AND_ASSIGN(const Digest tar,
                       PutBytes(farm_.blobs(), TarBuilder().Add(entry, "x").Build()));
  *image.mutable_flattened() = DigestToProto(tar);
  ASSERT_OK_AND_ASSIGN(const BuildOutput output, ParseBuildOutput((dir_ / "out").string()));
  ASSERT_OK(WriteBuildOutput(output, 0, image, {}, farm_));
  struct stat info {};
  ASSERT_EQ(stat((dir_ / "out/tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, geteuid());
  EXPECT_EQ(info.st_gid, getegid());
  EXPECT_EQ(info.st_mode & 0777, 0755u);
  // A tar that is not there is the farm's fault, a file in the way is not.
  image.mutable_flattened()->set_hash(std::string(64, '0'));
  EXPECT_FALSE(
      WriteBuildOutput(output, 0, image, {}, farm_).GetPayload(kLocalErrorPayload).has_value());
  *image.mutable_flattened() = DigestToProto(tar);
  ASSERT_OK_AND_ASSIGN(const BuildOutput file, ParseBuildOutput((dir_ / "out/tool").string()));
  EXPECT_EQ(ExitCodeFor(WriteBuildOutput(file, 0, image, {}, farm_)), kExitFailed);
}

TEST_F(CommandTest, WhatDockerLoadSaysIsToldIfItFails) {
  v1::BuiltImage image;
  ASSERT_NO_FATAL_FAILURE(StoreImage(farm_, image));
  const std::string path = getenv("PATH");
  setenv("PATH", absl::StrCat(dir_.string(), ":", path).c_str(), 1);
  const BuildOutput output = {.type = BuildOutput::Type::kDocker};
  const auto load = [&](const std::string &script) {
    EXPECT_OK(WriteFileAtomically(dir_ / "docker", "#!/bin/sh\n" + script, 0755));
    return WriteBuildOutput(output, 0, image, {"app:1"}, farm_);
  };
  EXPECT_OK(load("test $1 = load && cat > /dev/null && echo Loaded image: app:1"));
  const absl::Status failed = load("cat > /dev/null; echo no space left >&2; exit 3");
  EXPECT_EQ(ExitCodeFor(failed), kExitFailed);
  EXPECT_THAT(failed.message(), AllOf(HasSubstr("status 3"), HasSubstr("no space left")));
  setenv("PATH", path.c_str(), 1);
}

TEST_F(CommandTest, AnOutputFileAppearsOnlyWhole) {
  const std::string path = dir_ / "out.tar";
  EXPECT_THAT(WriteOutputFile(path,
                              [](ByteSink &sink) {
                                EXPECT_OK(sink.Write("half"));
                                return absl::DataLossError("broken");
                              }),
              StatusIs(absl::StatusCode::kDataLoss));
  EXPECT_FALSE(fs::exists(path));
  EXPECT_OK(WriteOutputFile(path, [](ByteSink &sink) { return sink.Write("whole"); }));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("whole"));
  EXPECT_THAT(std::distance(fs::directory_iterator(dir_), fs::directory_iterator()), 2);
}

}  // namespace
}  // namespace farm
