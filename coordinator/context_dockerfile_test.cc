#include "coordinator/context_dockerfile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "base/sha256.h"
#include "base/testing/fake_clock.h"
#include "base/testing/status_matchers.h"
#include "cas/memory_blob_store.h"
#include "dockerfile/source.h"
#include "layer/testing/table_builders.h"
#include "layer/testing/tar_builder.h"

namespace farm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Table Files(const std::vector<std::string>& paths, std::vector<TableEntry> more = {}) {
  for (const std::string& path : paths) more.push_back(FileEntry(path, path));
  return *Table::FromEntries(std::move(more));
}

class FindDockerfileTest : public testing::Test {
 protected:
  absl::StatusOr<DockerfilePaths> Find(const Table& tree, const std::string& path = "Dockerfile") {
    return FindDockerfile(tree, path, cancel_);
  }
  CancelToken cancel_;
};

TEST_F(FindDockerfileTest, ItsOwnIgnoreFileGoesBeforeThatOfTheTree) {
  const Table tree =
      Files({"Dockerfile", ".dockerignore", "a/Dockerfile", "a/Dockerfile.dockerignore"});
  ASSERT_OK_AND_ASSIGN(DockerfilePaths paths, Find(tree));
  EXPECT_EQ(paths.dockerfile, "Dockerfile");
  EXPECT_EQ(paths.ignore, ".dockerignore");
  ASSERT_OK_AND_ASSIGN(paths, Find(tree, "./a/Dockerfile"));
  EXPECT_EQ(paths.dockerfile, "a/Dockerfile");
  EXPECT_EQ(paths.ignore, "a/Dockerfile.dockerignore");
  ASSERT_OK_AND_ASSIGN(paths, Find(Files({"Dockerfile"})));
  EXPECT_EQ(paths.ignore, "");
}

TEST_F(FindDockerfileTest, WithoutADockerfileThereIsStillAnIgnoreFile) {
  ASSERT_OK_AND_ASSIGN(const DockerfilePaths paths, Find(Files({"a", ".dockerignore"}), ""));
  EXPECT_EQ(paths.dockerfile, "");
  EXPECT_EQ(paths.ignore, ".dockerignore");
}

TEST_F(FindDockerfileTest, LinksLeadWithinTheTree) {
  ASSERT_OK_AND_ASSIGN(const DockerfilePaths paths,
                       Find(Files({"etc/x"}, {SymlinkEntry("Dockerfile", "/../../etc/x")})));
  EXPECT_EQ(paths.dockerfile, "Dockerfile");
  EXPECT_THAT(Find(Files({"a"}, {SymlinkEntry("Dockerfile", "/etc/passwd")})),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FindDockerfileTest, AMissingOneIsNamedWithTheOneThatMayBeMeant) {
  EXPECT_THAT(Find(Files({"a/b/Containerfile", "docker/dockerfile"})),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("open Dockerfile: no such file or directory"),
                             HasSubstr("there is docker/dockerfile: use -f docker/dockerfile"))));
  EXPECT_THAT(Find(Files({"a"}), "../x"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("open ../x:")));
}

TEST_F(FindDockerfileTest, WithoutADockerfileThatOfLowerCaseIsTaken) {
  ASSERT_OK_AND_ASSIGN(DockerfilePaths paths,
                       Find(Files({"a/dockerfile", "a/dockerfile.dockerignore"}), "a/Dockerfile"));
  EXPECT_EQ(paths.dockerfile, "a/dockerfile");
  EXPECT_EQ(paths.ignore, "a/dockerfile.dockerignore");
  ASSERT_OK_AND_ASSIGN(paths, Find(Files({"Dockerfile", "dockerfile"})));
  EXPECT_EQ(paths.dockerfile, "Dockerfile");
  EXPECT_THAT(Find(Files({"app"}), "App"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FindDockerfileTest, ItMustBeAFileOfASizeThatIsRead) {
  EXPECT_THAT(Find(Files({"Dockerfile/x"})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a directory")));
  TableEntry large = FileEntry("Dockerfile", "");
  large.content = Digest(large.content.hash(), kDockerfileBytesMax + 1);
  EXPECT_THAT(Find(Files({}, {large})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than the limit")));
}

TEST(ReadDockerfileLayerTest, BothAreReadByTheirNames) {
  FakeClock clock;
  MemoryBlobStore blobs(clock);
  ASSERT_OK_AND_ASSIGN(
      const Digest layer,
      PutBytes(blobs,
               TarBuilder().File("app.Dockerfile", "FROM a").File(".dockerignore", "x").Build()));
  ASSERT_OK_AND_ASSIGN(ContextDockerfile read,
                       ReadDockerfileLayer(blobs, layer, {"d/app.Dockerfile", ".dockerignore"}));
  EXPECT_EQ(read.dockerfile, "FROM a");
  EXPECT_EQ(read.ignore_name, ".dockerignore");
  EXPECT_EQ(read.ignore, "x");
  ASSERT_OK_AND_ASSIGN(read, ReadDockerfileLayer(blobs, layer, {"", ".dockerignore"}));
  EXPECT_EQ(read.dockerfile, "");
  EXPECT_THAT(ReadDockerfileLayer(blobs, layer, {"other", ""}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(ReadDockerfileLayer(blobs, DigestOf("gone"), {"other", ""}),
              StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace farm
