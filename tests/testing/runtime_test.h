#ifndef FARM_TESTS_TESTING_RUNTIME_TEST_H_
#define FARM_TESTS_TESTING_RUNTIME_TEST_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "tests/testing/farm_under_test.h"

namespace farm {

// A test that is run under the farm's own sandbox and under an OCI runtime, each with a local farm
// for the whole program, which has busybox as the image "base". Fails if anything is left of a
// step, but for caches.
//   RUNTIME_TEST_SUITE(FooTest);
class RuntimeTest : public testing::TestWithParam<const char*> {
 protected:
  static void TearDownTestSuite() { farms_.clear(); }

  // One that overrides it leaves if IsSkipped() after this.
  void SetUp() override;
  void TearDown() override;

  LocalFarmUnderTest* farm_ = nullptr;
  ScratchDir context_;

 private:
  static std::map<std::string, std::unique_ptr<LocalFarmUnderTest>> farms_;  // by runtime
};

#define RUNTIME_TEST_SUITE(suite)                                                  \
  INSTANTIATE_TEST_SUITE_P(Runtimes, suite, testing::Values("namespaces", "crun"), \
                           [](const auto& info) { return std::string(info.param); })

}  // namespace farm

#endif  // FARM_TESTS_TESTING_RUNTIME_TEST_H_
