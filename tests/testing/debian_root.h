#ifndef FARM_TESTS_TESTING_DEBIAN_ROOT_H_
#define FARM_TESTS_TESTING_DEBIAN_ROOT_H_

#include <string>

#include "absl/status/statusor.h"

namespace farm {

// A tar of a small Debian 12 with apt, made by mmdebstrap once for each test program: about 75 MB,
// a minute of two cores. Its apt has the host's mirrors and settings, so that a RUN can install
// what the host could.
//   NOT_FOUND    mmdebstrap is not installed
//   UNAVAILABLE  no mirror can be reached
absl::StatusOr<std::string> DebianRootTar();

}  // namespace farm

#endif  // FARM_TESTS_TESTING_DEBIAN_ROOT_H_
