#ifndef FARM_TESTS_TESTING_IMAGE_TEXT_H_
#define FARM_TESTS_TESTING_IMAGE_TEXT_H_

#include <string>

namespace farm {

enum class Times {
  kCompared,
  kIgnored,  // The change is one of times, which are in no key: a hit keeps those from before.
};

// Everything of an OCI archive that does not depend on when it was made: two images that say the
// same are equal to whoever runs them.
std::string DescribeImage(const std::string& archive_path, Times times);

}  // namespace farm

#endif  // FARM_TESTS_TESTING_IMAGE_TEXT_H_
