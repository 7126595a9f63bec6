#ifndef FARM_TESTS_CONTRACT_TEMP_DIR_H_
#define FARM_TESTS_CONTRACT_TEMP_DIR_H_

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace farm {

// A new directory of a test's own, removed with it.
class TempDir {
 public:
  TempDir() : path_(testing::TempDir() + "/farm.XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) std::abort();
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace farm

#endif  // FARM_TESTS_CONTRACT_TEMP_DIR_H_
