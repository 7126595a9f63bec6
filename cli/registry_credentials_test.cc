#include "cli/registry_credentials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace farm {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RegistryHostsTest, AreThoseOfFromCopyAndMounts) {
  EXPECT_THAT(
      RegistryHostsOf("Dockerfile",
                      "FROM a.example/x AS s\n"
                      "FROM scratch\n"
                      "COPY --from=b.example/x / /\n"
                      "COPY --from=s / /\n"
                      "RUN --mount=from=c.example/x,target=/x --mount=type=tmpfs,target=/t y\n",
                      {}),
      ElementsAre("a.example", "b.example", "c.example"));
}

TEST(RegistryHostsTest, AFileThatCanNotBeParsedNamesNone) {
  EXPECT_THAT(RegistryHostsOf("Dockerfile", "FROM a.example/x\nRUNN\n", {}), IsEmpty());
}

}  // namespace
}  // namespace farm
